"""Matched points of two crops and the P2P loss, point by point in float64."""

import math


def slow_points(crop_a, crop_b, points, placement='edge'):
    """Image coordinates (x, y) of the matched points, row by row; None without overlap."""
    left, top = max(crop_a[0], crop_b[0]), max(crop_a[1], crop_b[1])
    right = min(crop_a[0] + crop_a[2], crop_b[0] + crop_b[2])
    bottom = min(crop_a[1] + crop_a[3], crop_b[1] + crop_b[3])
    if right <= left or bottom <= top:
        return None
    if placement == 'edge':
        shares = [i / (points - 1) for i in range(points)]
    else:
        shares = [(i + 0.5) / points for i in range(points)]
    return [
        [(left + across * (right - left), top + down * (bottom - top)) for across in shares]
        for down in shares
    ]


def slow_grid(crop, image_points):
    """Where image points lie in a crop, -1 at its left or top border and 1 at the others."""
    left, top, width, height, flipped = crop
    return [
        ((-1 if flipped else 1) * (2 * (x - left) / width - 1), 2 * (y - top) / height - 1)
        for row in image_points
        for x, y in row
    ]


def slow_sample(features, grid, padding='zeros'):
    """Bilinear at grid points (-1 and 1 are the borders), in a map with a ring of zeros or of its
    outer cells; (p * p, C).
    """
    values = [[[0.0, *row, 0.0] for row in channel] for channel in features.tolist()]
    columns, rows = len(values[0][0]) - 2, len(values[0])
    for channel in values:
        channel[:] = [[0.0] * (columns + 2), *channel, [0.0] * (columns + 2)]
        if padding == 'border':
            for row in channel[1:-1]:
                row[0], row[-1] = row[1], row[-2]
            channel[0], channel[-1] = list(channel[1]), list(channel[-2])
    sampled = []
    for x, y in grid:
        # rounding may put a point of the very border outside
        u = min(max((x + 1) / 2, 0), 1) * columns + 0.5
        v = min(max((y + 1) / 2, 0), 1) * rows + 0.5
        left, top = math.floor(u), math.floor(v)
        right, bottom = left + 1, top + 1
        u, v = u - left, v - top
        sampled.append(
            [
                (c[top][left] * (1 - u) + c[top][right] * u) * (1 - v)
                + (c[bottom][left] * (1 - u) + c[bottom][right] * u) * v
                for c in values
            ]
        )
    return sampled


def slow_loss(predicted_a, target_a, predicted_b, target_b, overlaps):
    """Point by point in float64; the mean over the points of overlapping pairs."""

    def cosine(p, z):
        dot = math.fsum(x * y for x, y in zip(p, z, strict=True))
        return dot / math.sqrt(math.fsum(x * x for x in p) * math.fsum(y * y for y in z))

    terms = []
    for i, overlap in enumerate(overlaps.tolist()):
        if not overlap:
            continue
        maps = [m[i].flatten(1).T.tolist() for m in (predicted_a, target_a, predicted_b, target_b)]
        for p_a, z_a, p_b, z_b in zip(*maps, strict=True):
            terms.append(-(cosine(p_a, z_b) + cosine(p_b, z_a)) / 2)
    return math.fsum(terms) / len(terms) if terms else 0.0
