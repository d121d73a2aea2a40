"""The official evaluation written out slowly, and made-up images to run it on."""

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import permutations, product
from math import ceil

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


def slow_matching(images, num_clusters, num_categories, rule='image_hungarian'):
    """Best matching by trying all where that is possible, else by scipy on counts made by hand."""
    together, pixels = Counter(), Counter()
    for predicted, truth in images:
        known = truth != IGNORED
        for cluster in set(predicted[known]) - {0}:
            for category in set(truth[known]) - {0}:
                together[int(cluster), int(category)] += 1
        pixels.update(zip(predicted[known].tolist(), truth[known].tolist(), strict=True))
    clusters, categories = range(1, num_clusters + 1), range(1, num_categories + 1)
    unmatched = num_categories + 1
    if rule == 'majority':
        match = {0: 0}
        for cluster in clusters:
            best = max(categories, key=lambda category: (pixels[cluster, category], -category))
            match[cluster] = best if pixels[cluster, best] else unmatched
        return match
    shared = together if rule == 'image_hungarian' else pixels
    if max(num_clusters, num_categories) > 6:
        matrix = np.array([[shared[g, c] for c in categories] for g in clusters])
        pairs = zip(*linear_sum_assignment(-matrix), strict=True)
        return (
            {0: 0} | dict.fromkeys(clusters, unmatched) | {int(g) + 1: int(c) + 1 for g, c in pairs}
        )
    places = list(categories) + [unmatched] * max(0, num_clusters - num_categories)
    totals = {
        choice: sum(shared[pair] for pair in zip(clusters, choice, strict=True))
        for choice in permutations(places, num_clusters)
    }
    best = max(totals, key=totals.get)
    assert list(totals.values()).count(totals[best]) == 1, 'take data without ties'
    return {0: 0} | dict(zip(clusters, best, strict=True))


def slow_size(area, image_area):
    """Which bucket an instance of so many pixels is in, in exact fractions."""
    percent = ceil(Fraction(100 * int(area), int(image_area)))
    return 'S' if percent <= 5 else 'MS' if percent <= 25 else 'ML' if percent <= 50 else 'L'


def slow_figures(images, match, num_categories):
    """The toolbox's evaluation after a match, image by image and class by class.

    Returns the twelve figures in percent, and IoU and boundary IoU of each class (2, C + 1).
    """
    # key: (bucket or 'all', band or not); value: TP, T, P by class
    areas = defaultdict(lambda: np.zeros((3, num_categories + 1), dtype=np.int64))
    hits, f_sum = 0, 0.0
    for predicted, truth in images:
        known = truth != IGNORED
        predicted_bands, true_bands = slow_bands(predicted)[known], slow_bands(truth)[known]
        predicted, truth = predicted[known], truth[known]
        renamed = np.array([match[int(g)] for g in predicted], dtype=np.int64)
        members = defaultdict(set)
        for category in set(truth.tolist()) - {0}:
            members[slow_size((truth == category).sum(), len(truth))].add(category)
        selections = {'all': np.ones(len(truth), dtype=bool)} | {
            size: np.isin(truth, [0, *own]) for size, own in members.items()
        }
        there = set(truth.tolist()) | set(renamed.tolist()) - {num_categories + 1}
        for (size, selected), category in product(selections.items(), there):
            for band, (p, t) in enumerate(
                [
                    (renamed == category, truth == category),
                    ((renamed == category) & (predicted_bands > 0), true_bands == category + 1),
                ]
            ):
                p, t = p & selected, t & selected
                areas[size, band][:, category] += (p & t).sum(), t.sum(), p.sum()
        sizes = Counter(renamed[renamed > 0].tolist())
        if sizes:
            dominant = min(sizes, key=lambda category: (-sizes[category], category))
            hits += dominant in truth
        both = ((renamed > 0) & (truth > 0)).sum()
        if both:
            precision, recall = both / (renamed > 0).sum(), both / (truth > 0).sum()
            f_sum += 1.3 * precision * recall / (0.3 * precision + recall)

    def ious(size, band):
        true_positive, true, positive = areas[size, band]
        return 100 * true_positive / (true + positive - true_positive + 1e-10)

    figures = {
        'Acc': 100 * hits / len(images),
        'mIoU': ious('all', 0).mean(),
        'mBIoU': ious('all', 1).mean(),
        'FMeasure': 100 * f_sum / len(images),
    }
    for (band, start), size in product(enumerate(['', 'B']), ['S', 'MS', 'ML', 'L']):
        present = areas[size, band][1] > 0
        figures[start + size] = ious(size, band)[present].mean() if present.any() else None
    return figures, np.stack([ious('all', 0), ious('all', 1)])


def slow_scores(images, num_clusters, num_categories, rule='image_hungarian'):
    """What the metric returns: matched and rounded; the match; the IoUs (2, C + 1)."""
    match = slow_matching(images, num_clusters, num_categories, rule)
    figures, ious = slow_figures(images, match, num_categories)
    ours = {'Acc': 'ImgAcc', 'mBIoU': 'b-mIoU', 'FMeasure': 'F-beta'}
    rounded = {
        ours.get(name, name): round(float(value), 2)
        for name, value in figures.items()
        if value is not None
    }
    return rounded, match, ious


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
