import numpy as np
import pytest
from mmseg.registry import DATASETS

from luss_mm.datasets.mask_files import read_label_map
from luss_mm.pipeline.rendered_images import make_collages
from tests.tiny_layout import write_image, write_label_map

COLOURS = dict(ant=(250, 0, 0), bee=(0, 250, 0), cat=(0, 0, 250))
HUNDREDS = (100, 500, 900)  # ids above 255 need both channels of a mask


@pytest.fixture
def root(tmp_path):
    """Plain photographs in the colour of their category, with an object in the middle."""
    rng = np.random.default_rng(0)
    for number, (category, colour) in zip(HUNDREDS, COLOURS.items(), strict=True):
        for i in range(2):
            height, width = rng.integers(24, 60, 2)
            labels = np.zeros((height, width), int)
            labels[6:-6, 6:-6] = number
            labels[0] = 1000
            place = f'{category}/{i}'
            image = np.full((height, width, 3), colour)
            write_image(tmp_path / 'data' / 'validation' / f'{place}.JPEG', image)
            write_label_map(tmp_path / 'data' / 'validation-segmentation' / f'{place}.png', labels)
    return tmp_path / 'data'


def collages_of(folder):
    dataset = DATASETS.build(
        dict(
            type='LUSSDataset',
            data_root=str(folder),
            data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
            categories='folders',
            pipeline=[dict(type='LoadBoundedImage'), dict(type='LoadLabelMap')],
        )
    )
    assert dataset.metainfo['classes'][1:] == tuple(COLOURS)
    return [dataset[i] for i in range(len(dataset))]


def test_halves_have_the_colour_and_the_id_of_two_categories(root, tmp_path, mmseg_scope):
    make_collages(root, tmp_path / 'out', pairs=7)
    found = collages_of(tmp_path / 'out')
    assert len(found) == 7
    sources = [read_label_map(path) for path in (root / 'validation-segmentation').glob('*/*')]
    heights = {len(source) for source in sources}
    for sample in found:
        image, mask = sample['img'].astype(int), sample['gt_seg_map']
        left, right = (image[:, column].mean(axis=0) for column in (0, -1))
        ids = [HUNDREDS[int(np.argmax(colour))] for colour in (left, right)]
        assert ids[0] != ids[1] and set(np.unique(mask)) == {0, 1000, *ids}
        assert f'/{list(COLOURS)[HUNDREDS.index(ids[0])]}/' in sample['img_path']
        columns = [np.flatnonzero((mask == number).any(axis=0)) for number in ids]
        assert columns[0].max() < columns[1].min()
        shown = np.argmax(image, axis=2)  # the colour under every object is that of its id
        assert all((shown[mask == n] == HUNDREDS.index(n)).all() for n in ids)
        assert len(mask) in heights


def test_what_makes_no_collages_is_named(root, tmp_path):
    with pytest.raises(ValueError, match='2 pairs of 3 categories'):
        make_collages(root, tmp_path / 'out', pairs=2)
    with pytest.raises(FileExistsError, match='validation'):
        make_collages(root, root, pairs=3)
    with pytest.raises(FileNotFoundError, match='no such folder'):
        make_collages(tmp_path / 'gone', tmp_path / 'out', pairs=4)
    assert not (tmp_path / 'out').exists()
