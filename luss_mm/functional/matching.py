"""Matching of generated clusters to categories: by images, by pixels, or many to one.

A cluster that gets no category becomes id C + 1, which no mask has: it is never right, and never
"others" either. Its pixels are missed pixels of the classes that they hide and false pixels of no
class; it is foreground for F-beta, and an image that it dominates is a miss.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

HUNGARIAN_TIES = (
    'ties as scipy.optimize.linear_sum_assignment breaks them, with clusters and categories in the '
    'order of their ids'
)
UNMATCHED_RULE = 'a cluster without a category becomes id K + 1: never right, never background'
MATCHING_RULES = {
    'image_hungarian': (
        'one to one, Hungarian maximum of the number of images whose prediction contains the '
        'cluster and whose mask contains the category, outside of ignored pixels (official); '
        f'{HUNGARIAN_TIES}; {UNMATCHED_RULE}'
    ),
    'pixel_hungarian': (
        'one to one, Hungarian maximum of the number of pixels shared with the category, outside '
        f'of ignored pixels; {HUNGARIAN_TIES}; {UNMATCHED_RULE}'
    ),
    'majority': (
        'many to one, every cluster takes the foreground category that it shares most pixels '
        'with, outside of ignored pixels; ties to the lowest category id; a cluster that shares '
        f'none stays without; {UNMATCHED_RULE}'
    ),
}
GIVEN_RULE = 'a given match, not computed from these masks'


def image_presence(labels: Tensor, num_ids: int) -> Tensor:
    """Which ids occur in a label map.

    Args:
        labels: Ids in [0, num_ids), any integer dtype and shape. Ignored pixels are dropped before.
        num_ids: Number of ids, 0 ("others") included.

    Returns:
        True where the id occurs, bool. Shape (num_ids,).
    """
    if labels.numel() == 0:
        return torch.zeros(num_ids, dtype=torch.bool, device=labels.device)
    return torch.bincount(labels.flatten(), minlength=num_ids) > 0


def match_by_rule(rule: str, images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Match clusters to categories by a named rule of `MATCHING_RULES`.

    Args:
        rule: 'image_hungarian', 'pixel_hungarian' or 'majority'.
        images: Images in which cluster g + 1 and category c + 1 occur together, integer, >= 0.
            Shape (G, C).
        pixels: Pixels that they share, integer, >= 0. Shape (G, C).

    Returns:
        Category id of each generated id, int64, entry 0 is 0, unmatched ones C + 1. Shape (G + 1,).

    Raises:
        ValueError: If there is no such rule.
    """
    check_rule(rule)
    if rule == 'majority':
        return match_majority(pixels)
    return match_clusters(images if rule == 'image_hungarian' else pixels)


def check_rule(rule: str) -> None:
    """Check that a matching rule exists.

    Raises:
        ValueError: If it does not; the message names those that do.
    """
    if rule not in MATCHING_RULES:
        raise ValueError(f'no matching rule {rule!r}. Take one of {", ".join(MATCHING_RULES)}.')


def match_clusters(counts: np.ndarray) -> np.ndarray:
    """Match clusters one to one to categories so that the sum of matched counts is greatest.

    Every cluster gets a category while there are some left, also one that it never meets. With more
    clusters than categories (G > C) the clusters left over become C + 1. With fewer, the categories
    left over get no cluster.

    Ties: which of several equally good matchings is taken follows from the order of rows and
    columns, as scipy's `linear_sum_assignment` works through them. The same matrix always gives the
    same answer (float64 is exact on counts); renumbered clusters may get another of the best.

    Args:
        counts: Images in which cluster g + 1 and category c + 1 occur together (official),
            or pixels that they share; integer, >= 0. Shape (G, C).

    Returns:
        Category id of each generated id, int64, entry 0 is 0. Shape (G + 1,).

    Source: ImageNet-S evaluation toolbox (which solves the same problem with munkres).
    """
    from scipy.optimize import linear_sum_assignment  # .4 s, which counting processes do not need

    mapping = _unmatched(counts)
    clusters, categories = linear_sum_assignment(counts, maximize=True)
    mapping[clusters + 1] = categories + 1
    return mapping


def match_majority(pixels: np.ndarray) -> np.ndarray:
    """Match every cluster to the foreground category that it shares most pixels with.

    Many clusters may take one category, so this is for over-clustering (G > C): with enough
    clusters it scores any prediction well, and its scores compare only with those of the same G.
    Ties go to the lowest category id; a cluster that shares no pixel becomes C + 1.

    Args:
        pixels: Pixels that cluster g + 1 and category c + 1 share, integer, >= 0. Shape (G, C).

    Returns:
        Category id of each generated id, int64, entry 0 is 0. Shape (G + 1,).
    """
    mapping = _unmatched(pixels)
    met = pixels.any(axis=1)
    if met.any():
        mapping[1:][met] = pixels[met].argmax(axis=1) + 1  # the first of equals
    return mapping


def given_mapping(
    match: Mapping[str | int, int],
    num_clusters: int,
    num_categories: int,
    background: int | None = 0,
) -> np.ndarray:
    """Check a given match, for instance what match.json holds, and make it a mapping.

    Args:
        match: Category id in [0, C] of each generated id, C + 1 for unmatched. Many clusters may
            share a category or be 0 ("others"). The entry of 0, which is 0, may be missing.
        num_clusters: G.
        num_categories: C.
        background: 0 if id 0 is "others". None if there are none: generated ids are then 0 to
            G - 1, category ids 0 to C - 1, and C is for unmatched.

    Returns:
        Category id of each generated id, int64; without background all of them raised by one, with
        0 at 0. Shape (G + 1,).

    Raises:
        ValueError: If an entry is no number, out of range or missing, or 0 is not matched to 0.
    """
    try:
        pairs = {int(cluster): int(category) for cluster, category in match.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f'a match maps generated ids to category ids: {error}') from error
    if background == 0 and pairs.setdefault(0, 0) != 0:
        raise ValueError(f'a match keeps 0 ("others") at 0, not {pairs[0]}')
    shift = 0 if background == 0 else 1
    clusters, unmatched = range(num_clusters + 1 - shift), num_categories + 1 - shift
    if unknown := sorted(pairs.keys() - set(clusters)):
        raise ValueError(
            f'the match has generated id {unknown[0]}, outside of [0, {clusters[-1]}] '
            f'({num_clusters} clusters)'
        )
    if missing := sorted(set(clusters) - pairs.keys()):
        raise ValueError(
            f'the match has no category for generated id {missing[0]} ({len(missing)} of '
            f'{num_clusters} are missing). Match those that are never right to {unmatched}.'
        )
    for cluster, category in pairs.items():
        if not 0 <= category <= unmatched:
            raise ValueError(
                f'the match gives generated id {cluster} category {category}, outside of '
                f'[0, {unmatched - 1}] ({unmatched} for unmatched)'
            )
    return np.array([0] * shift + [pairs[cluster] + shift for cluster in clusters], dtype=np.int64)


def _unmatched(counts: np.ndarray) -> np.ndarray:
    mapping = np.full(len(counts) + 1, counts.shape[1] + 1, dtype=np.int64)
    mapping[0] = 0
    return mapping
