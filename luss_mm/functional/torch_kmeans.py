"""Runs of Lloyd's algorithm on a torch device, for GPUs that faiss cannot use."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.faiss_kmeans import draw_initial_centroids

CHUNK_ROWS = 16384  # at K = 919 60 MB of scores and as much of memberships
RESIDENT_SHARE = 0.7  # of the free memory of a GPU that the embeddings may fill


class TorchKMeans:
    """k-means on all points by matrix products, with the interface of `FaissKMeans`.

    A run starts from the same points as a run of faiss with the same seed, bit for bit. Scores are
    float32 (never TF32), and of equal ones the lowest index wins. Sums over members are float32
    products with a one-hot matrix within a chunk and float64 over chunks; without atomic additions,
    the same inputs give the same bits on the same device and number of threads. Where faiss would
    split a large cluster because another one is empty, the empty one takes the point farthest from
    its centroid. A run ends early where an iteration changes no bit of the centroids, as all later
    ones would not either.

    The embeddings are copied to a GPU once if they fill at most `RESIDENT_SHARE` of its free
    memory; otherwise, and on the CPU, they are read by chunks in every iteration. Both give the
    same bits.

    Args:
        embeddings: float32, C-contiguous, finite; may be a read-only memory map. Shape (N, C).
        num_clusters: K, from 1 to N.
        iterations: Lloyd iterations of a run, at most.
        spherical: Keep the centroids on the unit sphere.
        initialization: `random` or `k-means++`; drawn on the CPU.
        device: Where to compute.

    Raises:
        ValueError: If the device is a GPU that torch does not have.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        num_clusters: int,
        iterations: int,
        spherical: bool,
        initialization: str,
        device: str | torch.device,
    ) -> None:
        self.embeddings = embeddings
        self.num_clusters = num_clusters
        self.iterations = iterations
        self.spherical = spherical
        self.initialization = initialization
        self.device = torch.device(device)
        if self.device.type == 'cuda' and not torch.cuda.is_available():
            raise ValueError(f"device='{device}': torch has no GPU here. Leave device=None")
        self.resident = self._copy_to_device() if self._fits_on_device() else None

    def run(self, seed: int) -> tuple[float, np.ndarray, bool]:
        """One run from its own initial centroids.

        Args:
            seed: From 0 to 2^31 - 1.

        Returns:
            Cost of the final centroids (lower is better), the centroids, float32 (K, C), and
            whether the last iteration put a centroid on a single point.
        """
        start = draw_initial_centroids(
            self.embeddings, self.num_clusters, self.initialization, seed
        )
        centroids = torch.from_numpy(start).to(self.device)
        with _exact_products():
            for _ in range(self.iterations):
                updated, empty = self._update(centroids)
                if empty.any():
                    updated[empty] = self._farthest_points(updated[~empty], int(empty.sum()))
                if torch.equal(updated, centroids):
                    break
                centroids = updated
            cost = -2 * float(self._best_scores(centroids).sum(dtype=torch.float64))
        return cost, centroids.cpu().numpy(), bool(empty.any())

    def _update(self, centroids: Tensor) -> tuple[Tensor, Tensor]:
        """A Lloyd step: means of the members (K, C), and which clusters are empty (K,)."""
        sums = torch.zeros_like(centroids, dtype=torch.float64)
        counts = torch.zeros(len(centroids), 1, dtype=torch.float64, device=self.device)
        for rows in self._chunks():
            scores = self._scores(rows, centroids)
            nearest = scores.argmax(dim=1, keepdim=True)  # (n, 1), the first of equals
            members = scores.zero_().scatter_(1, nearest, 1)  # (n, K), one 1 a row
            sums += members.T @ rows
            counts += members.sum(dim=0)[:, None]
        means = F.normalize(sums) if self.spherical else sums / counts
        return means.float(), counts[:, 0] == 0

    def _farthest_points(self, centroids: Tensor, count: int) -> Tensor:
        """The embeddings that are the farthest from the nearest of some centroids. (count, C)."""
        squares = torch.cat([rows.square().sum(dim=1) for rows in self._chunks()])
        distances = squares - 2 * self._best_scores(centroids)
        order = distances.argsort(descending=True, stable=True)  # the first of equals
        points = self.embeddings[order[:count].cpu().numpy()]
        return torch.from_numpy(points).to(self.device)

    def _best_scores(self, centroids: Tensor) -> Tensor:
        """Of every embedding. Shape (N,)."""
        return torch.cat([self._scores(rows, centroids).amax(dim=1) for rows in self._chunks()])

    def _scores(self, rows: Tensor, centroids: Tensor) -> Tensor:
        """x.c - |c|^2 / 2, the largest at the nearest centroid. Shape (n, K)."""
        scores = rows @ centroids.T
        return scores if self.spherical else scores.sub_(0.5 * centroids.square().sum(dim=1))

    def _chunks(self) -> Iterator[Tensor]:
        """All embeddings on the device. Yields (n, C)."""
        if self.resident is not None:
            yield from self.resident.split(CHUNK_ROWS)
        else:
            yield from (rows.to(self.device) for rows in self._read_chunks())

    def _read_chunks(self) -> Iterator[Tensor]:
        """All embeddings in host memory. Yields (n, C)."""
        for start in range(0, len(self.embeddings), CHUNK_ROWS):
            # A copy: torch warns about arrays that it may not write to.
            yield torch.from_numpy(np.array(self.embeddings[start : start + CHUNK_ROWS]))

    def _fits_on_device(self) -> bool:
        if self.device.type != 'cuda':
            return False
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.embeddings.nbytes <= RESIDENT_SHARE * free

    def _copy_to_device(self) -> Tensor:
        resident = torch.empty(self.embeddings.shape, dtype=torch.float32, device=self.device)
        for target, rows in zip(resident.split(CHUNK_ROWS), self._read_chunks(), strict=True):
            target.copy_(rows)
        return resident


@contextmanager
def _exact_products() -> Iterator[None]:
    """Float32 matrix products without TF32 or bfloat16, whatever the training chose."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = 'ieee'
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
