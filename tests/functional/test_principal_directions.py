import numpy as np
import pytest

from luss_mm.functional.kmeans import CHUNK_ROWS, fit_kmeans, principal_directions, project_rows


def unit_rows(rng, shape):
    rows = rng.normal(size=shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize('rows', [5, CHUNK_ROWS + 3])
def test_same_subspace_as_a_singular_value_decomposition(rows):
    rng = np.random.default_rng(0)
    embeddings = (unit_rows(rng, (rows, 8)) * np.geomspace(1, 0.1, 8)).astype(np.float32)
    directions = principal_directions(embeddings, 3)
    expected = np.linalg.svd(embeddings.astype(np.float64), full_matrices=False)[2][:3].T
    np.testing.assert_allclose(np.abs((directions * expected).sum(0)), 1, atol=1e-9)
    assert (np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0) > 0).all()
    projected = project_rows(embeddings, directions)
    slow = [row @ directions / np.linalg.norm(row @ directions) for row in embeddings]
    np.testing.assert_allclose(projected, slow, atol=1e-6)


@pytest.mark.parametrize('components', [0, 9])
def test_components_out_of_range(components):
    with pytest.raises(ValueError, match='1 to 8 exist'):
        principal_directions(np.eye(8, dtype=np.float32), components)


def test_all_components_are_no_projection():
    embeddings = unit_rows(np.random.default_rng(2), (30, 6))
    plain, projected = fit_kmeans(embeddings, 3), fit_kmeans(embeddings, 3, components=6)
    np.testing.assert_array_equal(plain.centroids, projected.centroids)
