"""Squared Euclidean distances between embeddings and centroids."""

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
