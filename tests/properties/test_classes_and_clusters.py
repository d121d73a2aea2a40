import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from luss_mm.functional.class_aware_loss import (
    class_aware_cross_entropy,
    restricted_argmax,
)
from luss_mm.functional.kmeans import assign_to_centroids, two_nearest_distances

IMAGES, CLASSES, SIDE, IGNORED = 2, 4, 5, 1000
LOGITS = arrays.arrays(
    np.float32, (IMAGES, CLASSES, SIDE, SIDE), elements=st.floats(-9, 9, width=32)
).map(torch.from_numpy)
LABELS = arrays.arrays(
    np.int64, (IMAGES, SIDE, SIDE), elements=st.sampled_from([*range(CLASSES), IGNORED])
).map(torch.from_numpy)
TAGS = (
    arrays.arrays(np.bool_, (IMAGES, CLASSES))
    .filter(lambda tags: tags.any(axis=1).all())
    .map(torch.from_numpy)
)
POINTS = st.integers(-8, 8).map(lambda n: n / 4)  # exact in every dtype, so that ties are ties


@given(LOGITS, LABELS, TAGS)
def test_with_some_classes_it_is_the_cross_entropy_of_those(logits, labels, tags):
    losses = []
    for image, truth, has in zip(logits, labels, tags, strict=True):
        for y, x in np.ndindex(SIDE, SIDE):
            label = int(truth[y, x])
            if label != IGNORED and has[label]:
                own = image[:, y, x].double()
                losses.append(float(own[has].logsumexp(0) - own[label]))
    loss = class_aware_cross_entropy(logits, tags, labels, IGNORED)
    assert loss.item() == pytest.approx(np.mean(losses) if losses else 0, rel=1e-5, abs=1e-5)


@given(LOGITS, TAGS)
def test_only_an_images_own_classes_are_predicted(logits, tags):
    found = restricted_argmax(logits, tags, (SIDE, SIDE))
    for image, has, labels in zip(logits, tags, found, strict=True):
        assert has[labels].all()
        best = image.masked_fill(~has[:, None, None], -torch.inf).amax(dim=0)
        assert torch.equal(image.gather(0, labels[None])[0], best)


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 4), st.data())
def test_nearest_centroids_are_those_of_trying_all(rows, num_centroids, channels, data):
    embeddings = data.draw(arrays.arrays(np.float32, (rows, channels), elements=POINTS))
    centroids = data.draw(arrays.arrays(np.float32, (num_centroids, channels), elements=POINTS))
    differences = embeddings[:, None].astype(float) - centroids[None].astype(float)
    distances = (differences**2).sum(-1)
    chunk = data.draw(st.integers(1, rows))
    assignment, squared = assign_to_centroids(embeddings, centroids, chunk)
    np.testing.assert_array_equal(assignment, distances.argmin(axis=1))
    np.testing.assert_array_equal(squared, distances.min(axis=1).astype(np.float32))
    nearest, d1, d2 = two_nearest_distances(embeddings, centroids, chunk)
    np.testing.assert_array_equal(nearest, assignment)
    np.testing.assert_array_equal(d1, squared)
    second = np.sort(distances, axis=1)[:, 1] if num_centroids > 1 else np.full(rows, np.inf)
    np.testing.assert_array_equal(d2, second.astype(np.float32))
