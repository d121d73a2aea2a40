"""k-means on all embeddings, and which centroid is nearest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import faiss
import numpy as np
from scipy import sparse


def squared_distances(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """All squared distances of a batch, from |x - c|^2 = |x|^2 - 2 x.c + |c|^2 in float64.

    Args:
        embeddings: Any float dtype. Shape (N, C).
        centroids: Any float dtype. Shape (K, C).

    Returns:
        float32 >= 0. Shape (N, K).
    """
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
    """
    wide = centroids.astype(np.float64)
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
    """
    wide = centroids.astype(np.float64)
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


def neighbourhood_means(points: np.ndarray, neighbours: int, rounds: int = 2) -> np.ndarray:
    """Replace each point by the mean of it and its nearest neighbours, at length 1, repeatedly.

    An image between two categories moves towards the one that images like it belong to, so that
    k-means depends less on how many images a category has and how alike they are. Few neighbours
    and several rounds follow a category's shape and leave small categories alone. Time grows with
    N^2. Memory: two copies of the points.

    Args:
        points: Unit rows, float32, C-contiguous. Shape (N, n).
        neighbours: Other points in each mean, those of the largest cosine; at most N - 1 are taken.
        rounds: How often; every round finds the neighbours of the points that the last one left.

    Returns:
        float32, C-contiguous, unit rows. Shape (N, n).

    Source: the propagation of SGC (Wu et al., ICML 2019), without learning, on the graph of nearest
    neighbours, every edge of weight 1.
    """
    taken = min(neighbours, len(points) - 1)
    for _ in range(rounds):
        index = _on_all_gpus(faiss.IndexFlatIP(points.shape[1]))
        index.add(points)
        means = np.empty_like(points)
        for start in range(0, len(points), CHUNK_ROWS):
            rows = np.arange(start, min(start + CHUNK_ROWS, len(points)))
            found = index.search(points[rows], taken + 1)[1]  # (n, taken + 1)
            # The point itself is the nearest but for rounding and copies of it.
            own = found == rows[:, None]
            own[~own.any(axis=1), -1] = True
            others = found[~own].reshape(len(rows), taken)
            means[rows] = normalized(points[rows] + points[others].sum(axis=1))
        points = means
    return points


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
        initialization: A key of `INITIALIZATIONS`.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        num_clusters: int,
        iterations: int,
        initialization: str,
    ) -> None:
        self.embeddings = embeddings
        self.num_clusters = num_clusters
        self.index = _on_all_gpus(faiss.IndexFlatL2(embeddings.shape[1]))
        self.parameters = faiss.ClusteringParameters()
        self.parameters.niter = iterations
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
        self.parameters.seed = seed
        channels = self.embeddings.shape[1]
        clustering = faiss.Clustering(channels, self.num_clusters, self.parameters)
        with _one_thread_if(self.embeddings.size * self.num_clusters < SMALL_WORK):
            clustering.train(self.embeddings, self.index)
            # faiss's own statistics end before the last update; one more search judges what
            # comes out.
            values, _ = self.index.search(self.embeddings, 1)
        centroids = faiss.vector_to_array(clustering.centroids).reshape(self.num_clusters, -1)
        last = clustering.iteration_stats.at(clustering.iteration_stats.size() - 1)
        return float(values.sum(dtype=np.float64)), centroids, last.nsplit > 0


def _on_all_gpus(index: faiss.Index) -> faiss.Index:
    """The index on all GPUs that faiss has; itself where there are none."""
    return faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() > 0 else index


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


MAX_REPAIR_ROUNDS = 100
FEWER = 'Form fewer clusters (num_categories of a recipe) or check the features'


@dataclass(frozen=True, eq=False)
class KMeansResult:
    """Centroids and the exact assignment of every embedding to its nearest one.

    Attributes:
        centroids: float32. Shape (K, C).
        assignment: Index of the nearest centroid, int32 in [0, K), each occurs. Shape (N,).
        squared_distances: Squared Euclidean distance to that centroid, float32. Shape (N,).
        objective: Sum of the squared distances.
        repaired: How often an empty cluster was re-seeded after the best restart.
    """

    centroids: np.ndarray
    assignment: np.ndarray
    squared_distances: np.ndarray
    objective: float
    repaired: int


def fit_kmeans(
    embeddings: np.ndarray,
    num_clusters: int,
    iterations: int = 20,
    restarts: int = 30,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    initialization: str = 'random',
    components: int | None = None,
    neighbours: int = 0,
) -> KMeansResult:
    """Cluster all embeddings with k-means and keep the best of several restarts.

    Every restart draws its initial centroids with its own seed and is judged by the objective of
    its final centroids; of equals the first wins. Nothing is sub-sampled, and the same inputs give
    the same bits on the same machine. faiss runs on all GPUs that it has. Clusters that are empty
    in the best restart are re-seeded from the point farthest from its centroid (among clusters with
    two or more points), followed by a Lloyd step. faiss's own repair (one centroid becomes two
    nearly equal ones) also gets a Lloyd step where it came last.

    Args:
        embeddings: float32, C-contiguous, finite; may be a read-only memory map (it is read in
            place, by chunks). Shape (N, C).
        num_clusters: K, from 1 to N.
        iterations: Lloyd iterations of a restart.
        restarts: Number of runs from other initial centroids.
        seed: Seed of all randomness.
        progress: Called as `progress(finished_restarts, restarts)` after each restart.
        initialization: First centroids: `random` points (as PASS does) or `k-means++`, which finds
            many well separated clusters far more reliably and costs about an iteration on a CPU.
        components: None clusters the embeddings themselves. A number clusters their projections,
            at length 1, onto that many principal directions (see `principal_directions`); it needs
            (N, components) floats of memory. The centroids are then unit vectors of the
            embeddings' own space, so that directions are compared with them as ever, and the
            assignment and the objective are those of the projections. As many as there are
            channels, or more, project onto nothing less than everything: as None.
        neighbours: 0 clusters every point where it lies, as PASS does. A number clusters
            `neighbourhood_means` of the projections, or of the embeddings at length 1. The
            assignment and the objective are then those of the means.

    Returns:
        The best restart, see `KMeansResult`.

    Raises:
        ValueError: If N < K, an embedding is not finite, or fewer points than K are distinct.
            Or if there is no such initialization.
        FloatingPointError: If a centroid is not finite or longer than every embedding.

    Source: PASS (Gao et al., TPAMI 2022): faiss, 20 iterations, 30 restarts, all points.
    """
    largest_norm = _check_embeddings(embeddings, num_clusters)
    channels = embeddings.shape[1]
    projects = components is not None and components < channels
    if projects or neighbours:
        directions = principal_directions(embeddings, components) if projects else np.eye(channels)
        points = project_rows(embeddings, directions)  # (N, components or C)
        result = fit_kmeans(
            neighbourhood_means(points, neighbours) if neighbours else points,
            num_clusters,
            iterations,
            restarts,
            seed,
            progress,
            initialization,
        )
        centroids = (normalized(result.centroids) @ directions.T).astype(np.float32)
        return replace(result, centroids=centroids)
    if min(iterations, restarts) < 1:
        raise ValueError(f'{iterations} iterations and {restarts} restarts: both must be >= 1')
    if initialization not in INITIALIZATIONS:
        raise ValueError(f"initialization is 'random' or 'k-means++', got {initialization!r}")
    kmeans = FaissKMeans(embeddings, num_clusters, iterations, initialization)
    best_cost = np.inf
    for restart in range(restarts):
        cost, candidate, ends_on_split = kmeans.run(_restart_seed(seed, restart))
        if restart == 0 or cost < best_cost:
            best_cost, centroids, was_split = cost, candidate, ends_on_split
        if progress is not None:
            progress(restart + 1, restarts)

    assignment, distances = assign_to_centroids(embeddings, centroids)
    if was_split:
        centroids = _mean_of_members(embeddings, assignment, centroids)
        assignment, distances = assign_to_centroids(embeddings, centroids)

    repaired = 0
    for _ in range(MAX_REPAIR_ROUNDS):
        num_empty = num_clusters - np.unique(assignment).size
        if num_empty == 0:
            break
        repaired += num_empty
        centroids, assignment = _reseed_empty(embeddings, centroids, assignment, distances)
        centroids = _mean_of_members(embeddings, assignment, centroids)
        assignment, distances = assign_to_centroids(embeddings, centroids)
    else:
        raise ValueError(
            f'{num_empty} of {num_clusters} clusters are still empty after {MAX_REPAIR_ROUNDS} '
            f'repairs: the embeddings are nearly all alike. {FEWER}'
        )

    _check_centroids(centroids, largest_norm)
    objective = float(distances.sum(dtype=np.float64))
    return KMeansResult(centroids, assignment, distances, objective, repaired)


def _check_embeddings(embeddings: np.ndarray, num_clusters: int) -> float:
    if not 1 <= num_clusters <= len(embeddings):
        raise ValueError(
            f'{len(embeddings)} embeddings cannot form {num_clusters} clusters: '
            f'num_clusters must be from 1 to {len(embeddings)}'
        )
    largest = 0.0
    for rows, values in wide_chunks(embeddings, CHUNK_ROWS):
        lengths = np.sqrt(np.einsum('nc,nc->n', values, values))
        if not np.isfinite(lengths).all():
            bad = rows.start + int(np.flatnonzero(~np.isfinite(lengths))[0])
            raise ValueError(f'embedding {bad} of {len(embeddings)} has NaN or infinite values')
        largest = max(largest, float(lengths.max()))
    return largest


def _check_centroids(centroids: np.ndarray, largest_norm: float) -> None:
    lengths = np.linalg.norm(centroids.astype(np.float64), axis=1)  # (K,)
    # A mean is never longer than its longest member; written so that NaN fails too.
    wrong = np.flatnonzero(~(lengths <= largest_norm * (1 + 1e-5) + 1e-3))
    if wrong.size:
        raise FloatingPointError(
            f'centroid {wrong[0]} has norm {lengths[wrong[0]]:.4g}, the longest embedding has '
            f'{largest_norm:.4g}: the clustering went wrong and is not kept'
        )


def _restart_seed(seed: int, restart: int) -> int:
    return int(np.random.SeedSequence((seed, restart)).generate_state(1)[0]) & 0x7FFFFFFF


def _mean_of_members(
    embeddings: np.ndarray, assignment: np.ndarray, centroids: np.ndarray
) -> np.ndarray:
    """The update half of a Lloyd step in float64; empty clusters keep their centroid."""
    sums = np.zeros(centroids.shape)
    for rows, values in wide_chunks(embeddings, CHUNK_ROWS):
        ones, ends = np.ones(len(values)), np.arange(len(values) + 1)
        members = sparse.csr_matrix((ones, assignment[rows], ends), (len(values), len(centroids)))
        sums += members.T @ values  # (K, C)
    counts = np.bincount(assignment, minlength=len(centroids))[:, None]
    return np.where(counts > 0, sums / np.maximum(counts, 1), centroids).astype(np.float32)


def _reseed_empty(
    embeddings: np.ndarray, centroids: np.ndarray, assignment: np.ndarray, distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Start every empty cluster again from the worst represented point; inputs stay as they are."""
    centroids, assignment, distances = centroids.copy(), assignment.copy(), distances.copy()
    longest_square = float(np.square(centroids.astype(np.float64)).sum(axis=1).max())
    for cluster in np.flatnonzero(np.bincount(assignment, minlength=len(centroids)) == 0):
        movable = np.bincount(assignment, minlength=len(centroids))[assignment] > 1  # (N,)
        farthest = int(np.where(movable, distances, -1).argmax())
        seed_point = embeddings[farthest].astype(np.float64)
        same_point = 8 * TIE_TOLERANCE * max(longest_square, float(seed_point @ seed_point))
        if not movable[farthest] or distances[farthest] <= same_point:
            raise ValueError(
                f'{len(centroids)} clusters need as many distinct embeddings, but there are only '
                f'{np.unique(assignment).size}. {FEWER}'
            )
        centroids[cluster] = seed_point
        for rows, values in wide_chunks(embeddings, CHUNK_ROWS):
            values -= seed_point
            to_seed = np.einsum('nc,nc->n', values, values)
            nearer = to_seed < distances[rows]
            assignment[rows][nearer] = cluster
            distances[rows][nearer] = to_seed[nearer]
    return centroids, assignment
