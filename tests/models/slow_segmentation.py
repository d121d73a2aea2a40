"""Full-size logits in float64, and what is decided and lost on them."""

import math

import torch

IGNORED = 1000


def bilinear_weights(wanted, length):
    """Row i: the share of each cell in pixel i, by the definition; float64 (wanted, length)."""
    weights = torch.zeros(wanted, length, dtype=torch.float64)
    for i in range(wanted):
        position = min(max((i + 0.5) * length / wanted - 0.5, 0), length - 1)
        low = math.floor(position)
        weights[i, low] += 1 - (position - low)
        weights[i, min(low + 1, length - 1)] += position - low
    return weights


def slow_maps(logits, size, align_corners=False):
    """All K + 1 maps of one image (K + 1, h, w) at full size, float64."""
    weights = aligned_weights if align_corners else bilinear_weights
    rows, columns = (weights(*pair) for pair in zip(size, logits.shape[1:], strict=True))
    return rows @ logits.double() @ columns.T


def aligned_weights(size, cells):
    """Weight of each cell in each of `size` positions, the first and last of which are cells."""
    weights = torch.zeros(size, cells, dtype=torch.float64)
    for i in range(size):
        position = i * (cells - 1) / (size - 1)
        low = min(int(position), cells - 2)
        weights[i, low], weights[i, low + 1] = 1 - (position - low), position - low
    return weights


def slow_nearest(labels, size):
    rows = [i * labels.shape[0] // size[0] for i in range(size[0])]
    columns = [i * labels.shape[1] // size[1] for i in range(size[1])]
    return labels[rows][:, columns]


def slow_cross_entropy(logits, labels, stride):
    """Pixel by pixel over every stride-th one; logits at the size of the thinned label map."""
    terms = []
    for image_logits, image_labels in zip(logits, labels, strict=True):
        thin = image_labels[::stride, ::stride]
        maps = slow_maps(image_logits, thin.shape)
        for y in range(thin.shape[0]):
            for x in range(thin.shape[1]):
                if thin[y, x] != IGNORED:
                    scores = maps[:, y, x].tolist()
                    highest = max(scores)
                    total = math.fsum(math.exp(s - highest) for s in scores)
                    terms.append(highest + math.log(total) - scores[int(thin[y, x])])
    return math.fsum(terms) / len(terms) if terms else 0.0


def wrong_pixels(labels, maps):
    """Share of pixels whose label is not the largest, ties within float32's rounding aside."""
    best = maps.max(dim=0).values
    chosen = maps.gather(0, labels[None])[0]
    return (chosen < best - 1e-4).double().mean().item()
