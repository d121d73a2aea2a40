import itertools

import cv2
import numpy as np
import pytest
from mmseg.registry import TASK_UTILS
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment

from luss_mm.functional.label_codec import decode_label_map
from luss_mm.pipeline.rendered_images import CATEGORIES, RenderTinyShapes

NUM = len(CATEGORIES)


@pytest.fixture(scope='module')
def images_and_labels():
    render = RenderTinyShapes(0, 0)
    return [render.render('train', i) for i in range(60 * NUM)]


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

    def test_seeds_splits_and_indices_give_different_images(self):
        images = [
            RenderTinyShapes(0, 0, seed=seed).render(split, index)[0].tobytes()
            for seed, split, index in itertools.product(
                (0, 1), ('train', 'validation'), (0, NUM, 2 * NUM)
            )
        ]
        assert len(set(images)) == len(images)


def clustering_accuracy(features):
    """Share of images in the right k-means cluster after the best renaming."""
    points = (features - features.mean(0)) / features.std(0)
    runs = [kmeans2(points, NUM, minit='++', seed=seed, iter=30) for seed in range(10)]
    costs = [((points - centroids[clusters]) ** 2).sum() for centroids, clusters in runs]
    clusters = runs[int(np.argmin(costs))][1]
    counts = np.zeros((NUM, NUM), int)
    np.add.at(counts, (clusters, np.arange(len(points)) % NUM), 1)
    return counts[linear_sum_assignment(counts, maximize=True)].sum() / len(points)


def mean_colour(rgb, labels):
    return rgb.reshape(-1, 3).mean(0)


def mean_colour_of_object(rgb, labels):
    return rgb[labels > 0].mean(0)


def mean_colour_of_background(rgb, labels):
    return rgb[labels == 0].mean(0)


def area_of_object(rgb, labels):
    return np.array([(labels > 0).mean()])


@pytest.mark.parametrize(
    'feature',
    [mean_colour, mean_colour_of_object, mean_colour_of_background, area_of_object],
)
def test_colour_and_size_do_not_tell_the_category(images_and_labels, feature):
    features = np.stack([feature(*pair) for pair in images_and_labels])
    # the best of 7! renamings lifts even random clusters a little over 1 / NUM
    assert clustering_accuracy(features) < 1.6 / NUM


@pytest.mark.parametrize(
    'arguments, message',
    [((-1, 0), 'num_train -1'), ((0, -2), 'num_validation -2'), ((1, 1, 16), 'image_size 16')],
)
def test_impossible_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RenderTinyShapes(*arguments)
