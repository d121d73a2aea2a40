"""Matching and scores, for data sets of a few small label maps."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from luss_mm.evaluation.cluster_matching import MatchingByRule
from luss_mm.evaluation.segmentation_counts import SegmentationCounts
from luss_mm.functional.image_tally import tally_image
from luss_mm.functional.matching import MATCHING_RULES

NUM_IDS = 3
IGNORED = 1000
SHAPE = (2, 4, 5)  # images, height, width
LABELS = arrays.arrays(np.int64, SHAPE, elements=st.integers(0, NUM_IDS))
MASKS = arrays.arrays(np.int64, SHAPE, elements=st.sampled_from([*range(NUM_IDS + 1), IGNORED]))
SIZES = st.integers(1, 4)
RULES = st.sampled_from(sorted(MATCHING_RULES))
EVERY_ID = np.arange(20).reshape(1, 4, 5) % (NUM_IDS + 1)


def counts_of(predicted, truth, rule='image_hungarian'):
    matching = MatchingByRule(rule, NUM_IDS, NUM_IDS)
    counts = SegmentationCounts(matching.layout)
    for prediction, mask in zip(predicted, truth, strict=True):
        pair = torch.from_numpy(prediction), torch.from_numpy(mask)
        counts.add(matching.entries(tally_image(*pair, NUM_IDS, NUM_IDS, IGNORED, 1)))
    return matching, counts


def figures(scores):
    """Everything but the mapping."""
    sizes = [*scores.size_iou.values(), *scores.size_boundary_iou.values()]
    means = [float(scores.iou.mean()), float(scores.boundary_iou.mean())]
    return [*means, *sizes, scores.image_accuracy, scores.f_beta]


def totals(counts):
    """Matched count of every one-to-one match, by trying all."""
    rows, columns = counts.shape
    short, long = sorted(counts.shape)
    wide = counts if rows <= columns else counts.T
    return [
        sum(int(wide[i, j]) for i, j in zip(range(short), chosen, strict=True))
        for chosen in itertools.permutations(range(long), short)
    ]


@given(LABELS, MASKS, RULES, st.permutations(range(1, NUM_IDS + 1)))
def test_renaming_clusters_leaves_all_scores(predicted, truth, rule, names):
    matching, counts = counts_of(predicted, truth, rule)
    if rule != 'majority':  # of several best matches the order of the clusters decides
        source = dict(
            image_hungarian=counts.presence[1:, 1:], pixel_hungarian=counts.joint[0, 1:, 1:]
        )
        found = totals(source[rule].numpy())
        assume(found.count(max(found)) == 1)
    renamed, renamed_counts = counts_of(np.array([0, *names])[predicted], truth, rule)
    ours, theirs = matching.scores(counts), renamed.scores(renamed_counts)
    assert figures(ours) == pytest.approx(figures(theirs), abs=1e-12)


@given(LABELS, MASKS, RULES)
def test_scores_are_shares(predicted, truth, rule):
    matching, counts = counts_of(predicted, truth, rule)
    scores = matching.scores(counts)
    assert all(figure is None or 0 <= figure <= 1 for figure in figures(scores))
    for iou in (scores.iou, scores.boundary_iou):
        assert ((iou >= 0) & (iou <= 1)).all()


@given(LABELS, st.permutations(range(1, NUM_IDS + 1)))
def test_the_masks_themselves_score_everything(truth, names):
    truth = np.concatenate([truth, EVERY_ID])
    truth[:, 0, 0] = 1  # an image without foreground earns nothing, whatever is predicted
    predicted = np.array([0, *names])[truth]
    # without ties in the counts of images, which another match could also have
    matching, counts = counts_of(predicted, truth, 'pixel_hungarian')
    scores = matching.scores(counts)
    assert figures(scores)[0] == pytest.approx(1) and figures(scores)[1] == pytest.approx(1)
    assert scores.image_accuracy == 1 and scores.f_beta == pytest.approx(1)


@given(LABELS, LABELS, MASKS, RULES)
def test_ignored_pixels_count_nowhere(predicted, others, truth, rule):
    """Bands are left out: an ignored region has a boundary, as in the official toolbox."""
    ignored = truth == IGNORED
    matching, counts = counts_of(predicted, truth, rule)
    changed, changed_counts = counts_of(np.where(ignored, others, predicted), truth, rule)
    for name in ('joint', 'presence', 'f_beta', 'images'):
        assert torch.equal(getattr(counts, name), getattr(changed_counts, name)), name
    ours, theirs = matching.scores(counts), changed.scores(changed_counts)
    assert torch.equal(ours.iou, theirs.iou) and ours.f_beta == theirs.f_beta
    assert ours.image_accuracy == theirs.image_accuracy and ours.size_iou == theirs.size_iou
