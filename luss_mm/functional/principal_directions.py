"""The few directions in which embeddings differ most, found without a copy of the embeddings."""

import numpy as np

from luss_mm.functional.faiss_kmeans import normalized
from luss_mm.functional.nearest_centroids import CHUNK_ROWS, wide_chunks


def principal_directions(embeddings: np.ndarray, components: int) -> np.ndarray:
    """Leading eigenvectors of the second moments E^T E.

    Nothing is subtracted, so that a direction of the projections is a direction of the embeddings:
    for z = V^T e and a centroid c of the projections, z . c = e . (V c).

    Args:
        embeddings: Any float dtype, finite; may be a memory map. Shape (N, C).
        components: n, from 1 to C.

    Returns:
        V: orthonormal columns, the leading one first, the largest entry of each positive. float64.
        Shape (C, n).

    Raises:
        ValueError: If n is out of its range.
    """
    channels = embeddings.shape[1]
    if not 1 <= components <= channels:
        raise ValueError(f'{components} components of {channels} channels: 1 to {channels} exist')
    moments = np.zeros((channels, channels))
    for _, values in wide_chunks(embeddings, CHUNK_ROWS):
        moments += values.T @ values
    directions = np.linalg.eigh(moments)[1][:, : -components - 1 : -1]  # ascending eigenvalues
    largest = np.abs(directions).argmax(axis=0)
    return directions * np.sign(directions[largest, np.arange(components)])


def project_rows(embeddings: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Projections of embeddings at length 1, a chunk of rows at a time.

    Args:
        embeddings: Any float dtype; may be a memory map. Shape (N, C).
        directions: V of `principal_directions`. Shape (C, n).

    Returns:
        float32, C-contiguous, unit rows; a row that no direction reaches stays 0. Shape (N, n).
    """
    projected = np.empty((len(embeddings), directions.shape[1]), dtype=np.float32)
    for rows, values in wide_chunks(embeddings, CHUNK_ROWS):
        projected[rows] = normalized(values @ directions)
    return projected
