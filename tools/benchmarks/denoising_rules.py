"""What the rules of sample denoising (CSD) do to clusters with planted noise.

Unit embeddings of 50 categories of very unequal sizes and widths, in groups of similar ones; a
share of the samples is noise: a third lies between two categories, a third anywhere on the sphere,
a third looks like another category than its own (which no rule can see). Every rule filters the
same k-means clusters, then k-means starts anew on what is left and all samples are assigned.

    python tools/benchmarks/denoising_rules.py [--seeds 5] [--json FILE]

prints a Markdown table, mean +- standard deviation over the seeds, in per cent:

kept                  samples that the second k-means sees
emptied               clusters that keep less than a tenth of their samples
purity of kept        kept samples of their (first) cluster's most frequent category
accuracy of kept      kept samples of the category that their (first) cluster is matched to
purity, accuracy      the same of all samples in the clusters of the second k-means

The seed of both k-means is the same, so `all` is the first one again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from luss_mm.functional.clustering_scores import clustering_accuracy, contingency
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.functional.nearest_centroids import assign_to_centroids, two_nearest_distances
from luss_mm.functional.sample_selection import balance_clusters, filter_noise, sample_quality
from luss_mm.work_dir.atomic_files import write_atomically

import numpy as np

CHANNELS = 64
GROUP_SIZE = 5  # categories that share half of their direction
LARGEST_TO_SMALLEST = 12.0  # sizes of categories, log-uniform
WIDTHS = (0.5, 0.9)  # length of the deviation from a category's unit direction
ITERATIONS = 20
NEARLY_EMPTY = 0.1
COLUMNS = ('kept', 'emptied', 'purity of kept', 'accuracy of kept', 'purity', 'accuracy')


class Setting(NamedTuple):
    """Arguments of `filter_noise` and `balance_clusters`."""

    rule: str
    keep_fraction: float
    cap: float | None = None
    floor: float | None = None

    @property
    def name(self) -> str:
        """For the table."""
        parts = [f'{self.rule} {self.keep_fraction:g}' if self.keep_fraction < 1 else 'all']
        parts += [f'cap {self.cap:g}'] if self.cap else []
        parts += [f'floor {self.floor:g}'] if self.floor else []
        return ', '.join(parts)


SETTINGS = (
    Setting('margin', 1),
    Setting('margin', 1, 1.5, 1),
    Setting('distance', 0.665),
    Setting('ratio', 0.665),
    Setting('margin', 0.665),
    Setting('margin', 0.665, cap=2),
    Setting('margin', 0.665, floor=0.5),
    Setting('margin', 0.665, 2, 0.5),
    Setting('margin', 0.665, 1.5, 0.7),
    Setting('margin', 0.665, 1.5, 1),
    Setting('margin', 0.665, 1, 1),
    Setting('distance', 0.85),
    Setting('ratio', 0.85),
    Setting('margin', 0.85),
    Setting('margin', 0.85, 2, 0.5),
    Setting('margin', 0.85, 1.5, 1),
)
DEFAULT = SETTINGS[7]  # what configs/_base_/pdso_stages.py sets


def generate_embeddings(
    num_samples: int, num_categories: int, noise_share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings with planted noise.

    Args:
        num_samples: N.
        num_categories: K.
        noise_share: Share of the samples that is noise, in [0, 1].
        seed: Of everything.

    Returns:
        Unit rows, float32 (N, C), and the category of each, int64 (N,).
    """
    rng = np.random.default_rng(seed)
    groups = _unit(rng.normal(size=(-(-num_categories // GROUP_SIZE), CHANNELS)))
    own = _unit(rng.normal(size=(num_categories, CHANNELS)))
    directions = _unit(groups[np.arange(num_categories) // GROUP_SIZE] + own)  # (K, C)
    shares = LARGEST_TO_SMALLEST ** rng.random(num_categories)
    widths = rng.uniform(*WIDTHS, num_categories)

    categories = rng.choice(num_categories, num_samples, p=shares / shares.sum())
    noise = np.where(rng.random(num_samples) < noise_share, rng.integers(1, 4, num_samples), 0)
    others = rng.integers(0, num_categories, num_samples)
    looks = np.where(noise == 3, others, categories)
    points = directions[looks]
    between = noise == 1
    mixing = rng.uniform(0.3, 0.7, (between.sum(), 1))
    points[between] += mixing / (1 - mixing) * directions[others[between]]
    points = _unit(points)
    points += widths[looks, None] * rng.normal(size=points.shape) / CHANNELS**0.5
    points[noise == 2] = rng.normal(size=((noise == 2).sum(), CHANNELS))
    return _unit(points).astype(np.float32), categories


def measure_rules(
    num_samples: int,
    num_categories: int,
    noise_share: float,
    seed: int,
    restarts: int,
    initialization: str,
) -> list[list[float]]:
    """One row of COLUMNS, in per cent, for each of SETTINGS.

    Args:
        num_samples: N.
        num_categories: K, also of the clusters.
        noise_share: See `generate_embeddings`.
        seed: Of samples, k-means and draws.
        restarts: Of every k-means.
        initialization: Of every k-means, see `fit_kmeans`.
    """
    embeddings, categories = generate_embeddings(num_samples, num_categories, noise_share, seed)
    kmeans = dict(
        iterations=ITERATIONS, restarts=restarts, seed=seed, initialization=initialization
    )
    first = fit_kmeans(embeddings, num_categories, **kmeans)
    assignment, d1, d2 = two_nearest_distances(embeddings, first.centroids)
    rows = []
    for rule, keep_fraction, cap, floor in SETTINGS:
        clean = filter_noise(d1, d2, rule, keep_fraction)
        quality = sample_quality(d1, d2, rule)
        taken = balance_clusters(assignment, quality, clean, num_categories, cap, floor, seed)
        second = fit_kmeans(embeddings[taken], num_categories, **kmeans)
        final, _ = assign_to_centroids(embeddings, second.centroids)

        kept = np.unique(taken)
        sizes, kept_sizes = (
            np.bincount(clusters, minlength=num_categories)
            for clusters in (assignment, assignment[kept])
        )
        before = contingency(assignment[kept], categories[kept], num_categories, num_categories)
        after = contingency(final, categories, num_categories, num_categories)
        shares = [len(kept) / num_samples, (kept_sizes < NEARLY_EMPTY * sizes).mean()]
        for counts in (before, after):
            shares += [counts.max(axis=1).sum() / counts.sum(), clustering_accuracy(counts)]
        rows.append([100 * float(share) for share in shares])
    return rows


def markdown_table(results: np.ndarray) -> str:
    """Table of the results, (seeds, settings, columns)."""
    header = ['kept samples', *COLUMNS]
    lines = [f'| {" | ".join(header)} |', '|---' * len(header) + '|']
    for setting, means, deviations in zip(
        SETTINGS, results.mean(axis=0), results.std(axis=0), strict=True
    ):
        cells = [f'{m:.1f} +- {s:.1f}' for m, s in zip(means, deviations, strict=True)]
        lines.append(f'| {" | ".join([setting.name, *cells])} |')
    return '\n'.join(lines)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seeds', type=int, default=5, help='how many (default: %(default)s)')
    parser.add_argument('--samples', type=int, default=20_000, help='default: %(default)s')
    parser.add_argument('--categories', type=int, default=50, help='default: %(default)s')
    parser.add_argument('--noise', type=float, default=0.25, help='share (default: %(default)s)')
    parser.add_argument('--restarts', type=int, default=3, help='default: %(default)s')
    parser.add_argument(
        '--initialization', choices=['random', 'k-means++'], default='random', help='of k-means'
    )
    parser.add_argument('--json', type=Path, help='file for the value of every seed')
    args = parser.parse_args(arguments)
    results = [
        measure_rules(
            args.samples, args.categories, args.noise, seed, args.restarts, args.initialization
        )
        for seed in range(args.seeds)
    ]
    print(markdown_table(np.array(results)))
    if args.json:
        seeds = [
            {
                setting.name: dict(zip(COLUMNS, row, strict=True))
                for setting, row in zip(SETTINGS, rows, strict=True)
            }
            for rows in results
        ]
        options = {key: value for key, value in vars(args).items() if key != 'json'}
        accuracy = {
            setting.name: round(float(row[COLUMNS.index('accuracy')]), 1)
            for setting, row in zip(SETTINGS, np.mean(results, axis=0), strict=True)
        }
        comparisons = {  # as in comparison.py
            f'accuracy of clusters after the noise filter ({DEFAULT.name})': dict(
                ours=accuracy[DEFAULT.name],
                alternative=accuracy[SETTINGS[0].name],
                ratio=round(accuracy[DEFAULT.name] / accuracy[SETTINGS[0].name], 3),
                unit='%',
                against='no filter',
            )
        }
        content = json.dumps(dict(options=options, seeds=seeds, comparisons=comparisons), indent=2)
        write_atomically(args.json, content.encode())


if __name__ == '__main__':
    main()
