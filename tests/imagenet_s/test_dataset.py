import csv
import os
from pathlib import Path

import pytest
from mmseg.registry import DATASETS

from luss_mm.functional.palette import category_palette
from luss_mm.imagenet_s.categories import imagenet_s_categories
from luss_mm.imagenet_s.dataset import ImageNetSDataset

pytestmark = pytest.mark.usefixtures('mmseg_scope')

# Five ImageNet classes that ImageNet-S merges into others: source -> target.
MERGED = {
    'n04356056': 'n04355933',
    'n04493381': 'n02808440',
    'n03642806': 'n03832673',
    'n04008634': 'n03773504',
    'n03887697': 'n15075141',
}


@pytest.mark.parametrize('subset', [50, 300, 919])
def test_ids_are_ranks_of_the_sorted_wordnet_ids(subset):
    wnids = [wnid for wnid, _ in imagenet_s_categories(subset)]
    assert len(set(wnids)) == subset and wnids == sorted(wnids)
    assert set(wnids) <= {wnid for wnid, _ in imagenet_s_categories(919)}
    assert all(name == name.strip() != '' for _, name in imagenet_s_categories(subset))


def test_merged_classes_are_gone_and_their_targets_there():
    wnids = {wnid for wnid, _ in imagenet_s_categories(919)}
    assert not wnids & set(MERGED) and set(MERGED.values()) <= wnids
    assert imagenet_s_categories(50)[0] == ('n01443537', 'goldfish')


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


def test_an_id_has_one_colour_in_all_subsets():
    palette = category_palette(920)
    assert palette[0].tolist() == [0, 0, 0]
    for subset in (50, 300):
        assert (category_palette(subset + 1) == palette[: subset + 1]).all()


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


def test_other_subsets_are_refused(data_root):
    with pytest.raises(ValueError, match=r'\(50, 300, 919\), not 100'):
        ImageNetSDataset(100, data_root=data_root)
