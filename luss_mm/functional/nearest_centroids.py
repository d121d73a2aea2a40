"""Distances to centroids, and the nearest of them, exactly."""

from collections.abc import Iterator

import numpy as np


def squared_distances(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """All squared distances of a batch, from |x - c|^2 = |x|^2 - 2 x.c + |c|^2 in float64.

    Args:
        embeddings: Any float dtype. Shape (N, C).
        centroids: Any float dtype. Shape (K, C).

    Returns:
        float32 >= 0. Shape (N, K).

    Raises:
        ValueError: If the shapes do not fit.
    """
    if embeddings.ndim != 2 or centroids.ndim != 2 or embeddings.shape[1] != centroids.shape[1]:
        raise ValueError(f'embeddings {embeddings.shape} do not fit centroids {centroids.shape}')
    rows, columns = embeddings.astype(np.float64), centroids.astype(np.float64)
    distances = -2 * rows @ columns.T
    distances += np.einsum('nc,nc->n', rows, rows)[:, None]
    distances += np.einsum('kc,kc->k', columns, columns)
    return np.maximum(distances, 0).astype(np.float32)


# Squared distances closer than this, relative to the squared norms, are rounding of float64 sums
# over a few thousand channels: such distances are ties, such points are the same point.
TIE_TOLERANCE = 1e-12
CHUNK_ROWS = 4096  # at C = 2048, K = 919 about 0.3 GB of float64 work space


def assign_to_centroids(
    embeddings: np.ndarray, centroids: np.ndarray, chunk: int = CHUNK_ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest centroid of every embedding, exactly.

    Scores are float64, so the result depends neither on the BLAS nor on the chunk. Centroids whose
    distances agree to rounding (1e-12 of the squared norms) are ties: the lowest index wins.

    Args:
        embeddings: Any float dtype; may be a memory map. Shape (N, C).
        centroids: Any float dtype. Shape (K, C).
        chunk: Rows at a time; the work space is about chunk x (C + K) x 16 bytes.

    Returns:
        Assignment, int32 in [0, K), and squared Euclidean distance to that centroid, float32,
        summed from differences in float64 (a point on its centroid has 0). Both of shape (N,).

    Raises:
        ValueError: If the shapes do not fit.
    """
    wide = _checked_centroids(embeddings, centroids)
    assignment = np.empty(len(embeddings), dtype=np.int32)
    distances = np.empty(len(embeddings), dtype=np.float32)
    for rows, values, scores, slack in _scored_chunks(embeddings, wide, chunk):
        nearest = _first_best(scores, slack)
        assignment[rows] = nearest
        distances[rows] = _squared_distances(values, wide[nearest])
    return assignment, distances


def two_nearest_distances(
    embeddings: np.ndarray, centroids: np.ndarray, chunk: int = CHUNK_ROWS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest centroid of every embedding and how far the second nearest one is.

    Args:
        embeddings: As `assign_to_centroids`. Shape (N, C).
        centroids: As `assign_to_centroids`. Shape (K, C).
        chunk: Rows at a time; the work space is about chunk x (C + K) x 16 bytes.

    Returns:
        Assignment and d1, the same as from `assign_to_centroids`, and d2 >= d1, the squared
        Euclidean distance to the second nearest centroid, float32; infinite where K = 1. All of
        shape (N,).

    Raises:
        ValueError: If the shapes do not fit.
    """
    wide = _checked_centroids(embeddings, centroids)
    assignment = np.empty(len(embeddings), dtype=np.int32)
    d1 = np.empty(len(embeddings), dtype=np.float32)
    d2 = np.full(len(embeddings), np.inf, dtype=np.float32)
    for rows, values, scores, slack in _scored_chunks(embeddings, wide, chunk):
        nearest = _first_best(scores, slack)
        assignment[rows] = nearest
        d1[rows] = _squared_distances(values, wide[nearest])
        if len(wide) > 1:
            np.put_along_axis(scores, nearest[:, None], -np.inf, axis=1)
            d2[rows] = _squared_distances(values, wide[_first_best(scores, slack)])
    return assignment, d1, np.maximum(d1, d2)  # a tie within rounding may be the nearer one


def wide_chunks(embeddings: np.ndarray, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of a large array a chunk at a time, as float64 copies. Yields slices and (n, C)."""
    for start in range(0, len(embeddings), size):
        rows = slice(start, min(start + size, len(embeddings)))
        yield rows, np.asarray(embeddings[rows]).astype(np.float64)


def _checked_centroids(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    if embeddings.ndim != 2 or centroids.ndim != 2 or embeddings.shape[1] != centroids.shape[1]:
        raise ValueError(f'embeddings {embeddings.shape} do not fit centroids {centroids.shape}')
    return centroids.astype(np.float64)


def _scored_chunks(
    embeddings: np.ndarray, centroids: np.ndarray, size: int
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, their values (n, C), a score for each centroid (n, K), and which differences are ties.

    |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2): the score is the bracket, the largest is the nearest.
    """
    half_squares = 0.5 * np.einsum('kc,kc->k', centroids, centroids)
    longest = np.sqrt(2 * half_squares.max())
    for rows, values in wide_chunks(embeddings, size):
        scores = values @ centroids.T
        scores -= half_squares
        lengths = np.sqrt(np.einsum('nc,nc->n', values, values))
        yield rows, values, scores, TIE_TOLERANCE * longest * (lengths + longest)


def _first_best(scores: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """Lowest index of the scores that are the largest but for rounding. Shape (n,)."""
    return (scores >= (scores.max(axis=1) - slack)[:, None]).argmax(axis=1)


def _squared_distances(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Row by row; `others` is overwritten, which saves a third array of that size."""
    others -= values
    return np.einsum('nc,nc->n', others, others)
