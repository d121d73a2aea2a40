"""One run of Lloyd's algorithm by faiss, and the initial centroids that it draws."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np

INITIALIZATIONS = {
    'random': faiss.ClusteringInitMethod_RANDOM,
    'k-means++': faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
}
# Below this many multiplications an iteration (some 10 ms), OpenMP's threads gain little, and they
# cost 50 ms as soon as another process wants the cores, because they spin at every barrier.
SMALL_WORK = 200_000_000


class FaissKMeans:
    """k-means on all points by faiss, on all GPUs that faiss has.

    Args:
        embeddings: float32, C-contiguous, finite; read in place. Shape (N, C).
        num_clusters: K, from 1 to N.
        iterations: Lloyd iterations of a run.
        spherical: Keep the centroids on the unit sphere.
        initialization: A key of `INITIALIZATIONS`.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        num_clusters: int,
        iterations: int,
        spherical: bool,
        initialization: str,
    ) -> None:
        self.embeddings = embeddings
        self.num_clusters = num_clusters
        index = (faiss.IndexFlatIP if spherical else faiss.IndexFlatL2)(embeddings.shape[1])
        self.index = faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() > 0 else index
        self.parameters = faiss.ClusteringParameters()
        self.parameters.niter = iterations
        self.parameters.spherical = spherical
        self.parameters.init_method = INITIALIZATIONS[initialization]
        # Fewer points than faiss likes are no reason to warn, and more none to sub-sample.
        self.parameters.min_points_per_centroid = 1
        self.parameters.max_points_per_centroid = len(embeddings)
        self.parameters.check_input_data_for_NaNs = False  # checked once, not once a run

    def run(self, seed: int) -> tuple[float, np.ndarray, bool]:
        """One run from its own initial centroids.

        Args:
            seed: From 0 to 2^31 - 1.

        Returns:
            Cost of the final centroids (lower is better), the centroids, float32 (K, C), and
            whether the last iteration split a cluster in two nearly equal ones.
        """
        with _one_thread_if(self.embeddings.size * self.num_clusters < SMALL_WORK):
            return self._run(seed)

    def _run(self, seed: int) -> tuple[float, np.ndarray, bool]:
        self.parameters.seed = seed
        spherical = self.parameters.spherical
        channels = self.embeddings.shape[1]
        clustering = faiss.Clustering(channels, self.num_clusters, self.parameters)
        clustering.train(self.embeddings, self.index)

        centroids = faiss.vector_to_array(clustering.centroids).reshape(self.num_clusters, -1)
        if spherical:  # faiss skips this where N = K
            centroids = normalized(centroids.astype(np.float64)).astype(np.float32)
        # faiss's own statistics end before the last update; one more search judges what comes out.
        values, _ = self.index.search(self.embeddings, 1)
        total = float(values.sum(dtype=np.float64))
        last = clustering.iteration_stats.at(clustering.iteration_stats.size() - 1)
        return (-total if spherical else total), centroids, last.nsplit > 0


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Rows on the unit sphere; a row of zeros stays. Shape (K, C)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


@contextmanager
def _one_thread_if(condition: bool) -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if condition else threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
