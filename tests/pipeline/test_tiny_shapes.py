import cv2
import numpy as np
import pytest
from mmseg.registry import TASK_UTILS

from luss_mm.functional.label_codec import decode_label_map
from luss_mm.pipeline.rendered_images import CATEGORIES, RenderTinyShapes


def read_rgb(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]


class TestLayout:
    @pytest.fixture(scope='class')
    def root(self, tmp_path_factory):
        root = tmp_path_factory.mktemp('tiny')
        config = dict(type='RenderTinyShapes', num_train=20, num_validation=9, image_size=48)
        TASK_UTILS.build(config)(root)
        return root

    def test_every_split_has_every_category_and_only_validation_has_masks(self, root):
        splits = {'train', 'validation', 'validation-segmentation'}
        assert {folder.name for folder in root.iterdir()} == splits
        for split in splits:
            assert sorted(f.name for f in (root / split).iterdir()) == list(CATEGORIES)
        assert len(list(root.glob('train/*/*.JPEG'))) == 20
        images = {p.relative_to(root / 'validation') for p in root.glob('validation/*/*.JPEG')}
        folder = root / 'validation-segmentation'
        masks = {p.relative_to(folder).with_suffix('.JPEG') for p in folder.glob('*/*.png')}
        assert images == masks and len(images) == 9

    def test_ids_are_the_ranks_of_the_sorted_folder_names(self, root):
        folders = sorted((root / 'validation-segmentation').iterdir())
        for rank, folder in enumerate(folders, start=1):
            for path in folder.iterdir():
                labels = decode_label_map(read_rgb(path))
                assert labels.shape == (48, 48)
                assert set(np.unique(labels)) == {0, rank}


class TestDeterminism:
    def test_an_image_does_not_depend_on_the_others(self, tmp_path):
        RenderTinyShapes(3, 2)(tmp_path / 'few')
        RenderTinyShapes(8, 5)(tmp_path / 'many')
        few = [path for path in (tmp_path / 'few').rglob('*') if path.is_file()]
        assert len(few) == 3 + 2 + 2
        for path in few:
            other = tmp_path / 'many' / path.relative_to(tmp_path / 'few')
            assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    'arguments, message',
    [((-1, 0), 'num_train -1'), ((0, -2), 'num_validation -2'), ((1, 1, 16), 'image_size 16')],
)
def test_impossible_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RenderTinyShapes(*arguments)
