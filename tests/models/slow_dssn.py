"""DSSN's selection and losses, pixel by pixel from their definitions in float64."""

import math

import torch


def slow_probabilities(maps):
    """Probabilities of one image (K, H, W), as nested lists [y][x][k]."""
    result = []
    for y in range(maps.shape[1]):
        row = []
        for x in range(maps.shape[2]):
            scores = maps[:, y, x].tolist()
            highest = max(scores)
            powers = [math.exp(s - highest) for s in scores]
            row.append([power / math.fsum(powers) for power in powers])
        result.append(row)
    return result


def slow_selection(maps, valid, certain=0.92, fraction=0.96):
    """Set of (y, x) of one image."""
    probabilities = slow_probabilities(maps)
    pixels = [(y, x) for y, x in valid.nonzero().tolist()]
    thresholds = []
    for k in range(len(maps)):
        largest = max((probabilities[y][x][k] for y, x in pixels), default=0)
        thresholds.append(fraction * largest if largest > certain else largest)
    return {
        (y, x)
        for y, x in pixels
        if any(p > t for p, t in zip(probabilities[y][x], thresholds, strict=True))
    }


def slow_selected_cross_entropy(maps, labels, selected, valid):
    """Loss of a batch: logits, label maps, sets of selected pixels and masks of each image."""
    terms, count = [], 0
    for image_maps, image_labels, pixels, image_valid in zip(
        maps, labels, selected, valid, strict=True
    ):
        count += int(image_valid.sum())
        for y, x in pixels:
            scores = image_maps[:, y, x].tolist()
            highest = max(scores)
            total = math.fsum(math.exp(s - highest) for s in scores)
            terms.append(highest + math.log(total) - scores[int(image_labels[y, x])])
    return math.fsum(terms) / max(1, count)


def slow_alignment(first, second, valid, eps=1e-5):
    """Loss of a batch."""
    terms = []
    for one, other, image_valid in zip(first, second, valid, strict=True):
        for y, x in image_valid.nonzero().tolist():
            pair = []
            for maps in (one, other):
                scores = maps[:, y, x].tolist()
                mean = math.fsum(scores) / len(scores)
                variance = math.fsum((s - mean) ** 2 for s in scores) / (len(scores) - 1)
                pair.append([(s - mean) / math.sqrt(variance + eps) for s in scores])
            terms += [(a - b) ** 2 for a, b in zip(*pair, strict=True)]
    return math.fsum(terms) / len(terms) if terms else 0.0


def as_mask(pixels, size):
    mask = torch.zeros(size, dtype=torch.bool)
    for place in pixels:
        mask[place] = True
    return mask
