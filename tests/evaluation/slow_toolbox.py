"""The official evaluation written out slowly, and made-up images to run it on."""

from collections import Counter
from itertools import permutations

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

IGNORED = 1000


def slow_bands(labels):
    """Label map + 1 inside of its class's band, 0 elsewhere: class by class, erosion by erosion."""
    height, width = labels.shape
    radius = max(1, round(0.03 * np.sqrt(height**2 + width**2)))
    bands = np.zeros_like(labels)
    for label in np.unique(labels):
        mask = np.pad((labels == label).astype(np.uint8), 1)
        eroded = mask
        for _ in range(radius):
            eroded = cv2.erode(np.pad(eroded[1:-1, 1:-1], 1), np.ones((3, 3), np.uint8))
        bands[(mask - eroded)[1:-1, 1:-1] > 0] = label + 1
    return bands


def slow_matching(images, num_clusters, num_categories):
    """Best matching by trying all where that is possible, else by scipy on counts made by hand."""
    together = Counter()
    for predicted, truth in images:
        known = truth != IGNORED
        for cluster in set(predicted[known]) - {0}:
            for category in set(truth[known]) - {0}:
                together[int(cluster), int(category)] += 1
    clusters, categories = range(1, num_clusters + 1), range(1, num_categories + 1)
    if max(num_clusters, num_categories) > 6:
        matrix = np.array([[together[g, c] for c in categories] for g in clusters])
        pairs = zip(*linear_sum_assignment(-matrix), strict=True)
        return dict.fromkeys(range(num_clusters + 1), 0) | {
            int(g) + 1: int(c) + 1 for g, c in pairs
        }
    places = list(categories) + [0] * max(0, num_clusters - num_categories)
    totals = {
        choice: sum(together[pair] for pair in zip(clusters, choice, strict=True))
        for choice in permutations(places, num_clusters)
    }
    best = max(totals, key=totals.get)
    assert list(totals.values()).count(totals[best]) == 1, 'take data without ties'
    return {0: 0} | dict(zip(clusters, best, strict=True))


def slow_scores(images, num_clusters, num_categories):
    """The toolbox's evaluation, image by image and class by class, in percent."""
    match = slow_matching(images, num_clusters, num_categories)
    areas = np.zeros((2, 3, num_categories + 1), dtype=np.int64)  # whole or band; TP, T, P; class
    hits, f_sum = 0, 0.0
    for predicted, truth in images:
        known = truth != IGNORED
        predicted_bands, true_bands = slow_bands(predicted)[known], slow_bands(truth)[known]
        predicted, truth = predicted[known], truth[known]
        renamed = np.array([match[int(g)] for g in predicted], dtype=np.int64)
        for category in range(num_categories + 1):
            for kind, (p, t) in enumerate(
                [
                    (renamed == category, truth == category),
                    ((renamed == category) & (predicted_bands > 0), true_bands == category + 1),
                ]
            ):
                areas[kind, :, category] += (p & t).sum(), t.sum(), p.sum()
        sizes = Counter(predicted[predicted > 0].tolist())
        if sizes:
            dominant = min(sizes, key=lambda cluster: (-sizes[cluster], cluster))
            hits += match[dominant] > 0 and match[dominant] in truth
        both = ((predicted > 0) & (truth > 0)).sum()
        if both:
            precision, recall = both / (predicted > 0).sum(), both / (truth > 0).sum()
            f_sum += 1.3 * precision * recall / (0.3 * precision + recall)
    true_positive, true, positive = areas.swapaxes(0, 1)
    ious = true_positive / (true + positive - true_positive + 1e-10)
    figures = [*ious.mean(axis=1), hits / len(images), f_sum / len(images)]
    names = ['mIoU', 'b-mIoU', 'ImgAcc', 'F-beta']
    rounded = {name: round(100 * float(value), 2) for name, value in zip(names, figures)}  # noqa: B905
    return rounded, match, 100 * ious


def made_up_images(num_images, num_clusters, num_categories, seed=0, ignored=0.05):
    """Masks of a few regions, predictions that mostly follow a fixed renaming of them."""
    random = np.random.default_rng(seed)
    renaming = random.permutation(num_clusters) + 1
    images = []
    for _ in range(num_images):
        height, width = random.integers(30, 70, 2)
        few = random.choice(num_categories + 1, min(3, num_categories + 1), replace=False)
        coarse = random.choice(few, (4, 5)).astype(np.float32)
        truth = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_NEAREST)
        truth = truth.astype(np.int64)
        predicted = np.where(truth > 0, renaming[(truth - 1) % num_clusters], 0)
        predicted = np.roll(predicted, random.integers(-4, 5, 2), axis=(0, 1))
        top, left = random.integers(0, 20, 2)
        predicted[top : top + 12, left : left + 9] = random.integers(0, num_clusters + 1)
        truth[random.random(truth.shape) < ignored] = IGNORED
        truth[: random.integers(0, 4)] = IGNORED
        images.append((predicted, truth))
    return images
