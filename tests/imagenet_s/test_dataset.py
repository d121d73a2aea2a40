import csv
import os
from pathlib import Path

import pytest
from mmseg.registry import DATASETS

from luss_mm.imagenet_s.lists import imagenet_s_categories

pytestmark = pytest.mark.usefixtures('mmseg_scope')


@pytest.mark.parametrize('subset', [50, 300, 919])
def test_ids_are_ranks_of_the_sorted_wordnet_ids(subset):
    wnids = [wnid for wnid, _ in imagenet_s_categories(subset)]
    assert len(set(wnids)) == subset and wnids == sorted(wnids)
    assert set(wnids) <= {wnid for wnid, _ in imagenet_s_categories(919)}
    assert all(name == name.strip() != '' for _, name in imagenet_s_categories(subset))


@pytest.mark.parametrize('subset', [50, 300, 919])
def test_metainfo_is_in_the_order_of_the_ids(data_root, subset):
    prefix = dict(img_path='validation', seg_map_path='validation-segmentation')
    dataset = DATASETS.build(
        dict(
            type='ImageNetSDataset',
            subset=subset,
            data_root=str(data_root),
            data_prefix=prefix,
            pipeline=[],
        )
    )
    meta = dataset.metainfo
    assert meta['classes'] == ('others', *(name for _, name in imagenet_s_categories(subset)))
    assert meta['wnids'] == tuple(wnid for wnid, _ in imagenet_s_categories(subset))
    assert len(meta['palette']) == subset + 1
    assert len({tuple(colour) for colour in meta['palette']}) == subset + 1
    assert dataset.ignore_index == 1000 and dataset.label_map is None


def test_equals_the_table_of_the_authors():
    """LUSS_FACTS names a folder with the table made from the authors' own lists."""
    table = Path(os.environ.get('LUSS_FACTS', ''), 'imagenet_s_categories.csv')
    if 'LUSS_FACTS' not in os.environ or not table.is_file():
        pytest.skip('LUSS_FACTS is not set')
    with table.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50 + 300 + 919
    for row in rows:
        categories = imagenet_s_categories(int(row['subset']))
        assert categories[int(row['id']) - 1] == (row['wnid'], row['name'])
