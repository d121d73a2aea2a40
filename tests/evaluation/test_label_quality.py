"""What label maps lose to each half, against doing it image by image with the slow toolbox."""

import cv2
import numpy as np
import pytest

from luss_mm.evaluation.label_quality import TRUE_CATEGORIES, TRUE_FOREGROUND, where_lost
from luss_mm.functional.label_codec import encode_label_map
from luss_mm.functional.label_health import with_true_categories, with_true_foreground
from tests.evaluation.slow_toolbox import made_up_images, slow_figures, slow_matching

K, IGNORED = 5, 1000


def write(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), encode_label_map(labels)[..., ::-1])


def test_equals_the_slow_toolbox_on_changed_maps(tmp_path):
    images, named = [], []
    for predicted, truth in made_up_images(24, K, K):
        if shown := sorted({*np.unique(truth)} - {0, IGNORED}):
            # One cluster an image, so that no two matchings are equally good.
            main = 1 + int(shown[len(images) % len(shown)]) % K
            images.append((np.where(predicted > 0, main, 0), truth))
            named.append(np.full_like(truth, main))
    images[0] = images[0][0] * 0, images[0][1]
    images[1] = named[1], images[1][1]
    fixed_foreground, fixed_categories, overlaps = [], [], []
    for index, (labels, truth) in enumerate(images):
        categories = named[index]
        maps = dict(labels=labels, categories=categories, masks=truth)
        for folder, content in maps.items():
            write(tmp_path / folder / f'a/{index}.png', content)
        ideal = with_true_foreground(labels, categories, truth, IGNORED)
        fixed_foreground.append((ideal, truth))
        fixed_categories.append((with_true_categories(labels, truth, IGNORED), truth))
        known = truth != IGNORED
        found, shown = labels[known] > 0, truth[known] > 0
        overlaps.append((found & shown).sum() / (found | shown).sum())
    folders = (tmp_path / name for name in ('labels', 'categories', 'masks'))
    figures = where_lost(*folders, K, IGNORED, 1)
    match = slow_matching(fixed_foreground, K, K)
    expected = slow_figures(fixed_foreground, match, K)[0]['mIoU']
    assert figures[TRUE_FOREGROUND] == pytest.approx(expected)
    same = {category: category for category in range(K + 1)}
    expected = slow_figures(fixed_categories, same, K)[0]['mIoU']
    assert figures[TRUE_CATEGORIES] == pytest.approx(expected)
    shares = [(labels > 0).mean() for labels, _ in images]
    assert figures['foreground IoU'] == pytest.approx(100 * np.mean(overlaps))
    for figure, share in (('no foreground', 0), ('no background', 1)):
        assert shares.count(share) > 0
        assert figures[figure] == pytest.approx(100 * shares.count(share) / len(images))
    assert figures['median foreground'] == pytest.approx(100 * np.median(shares))


def test_a_missing_map_of_categories_is_named(tmp_path):
    labels = np.ones((4, 4), int)
    for folder in ('labels', 'masks'):
        write(tmp_path / folder / 'a/0.png', labels)
    write(tmp_path / 'categories/a/1.png', labels)
    folders = (tmp_path / name for name in ('labels', 'categories', 'masks'))
    with pytest.raises(FileNotFoundError, match='categories: 1 of 1 images are missing: a/0.png'):
        where_lost(*folders, K, IGNORED, 1)
