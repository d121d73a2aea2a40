"""Compare numbers of categories on the embeddings of a run, without any label.

    python tools/suggest_categories.py WORK_DIR
    python tools/suggest_categories.py WORK_DIR --smallest 5 --largest 40 --features dff_features

Clusters the embeddings for a range of K, prints each clustering's silhouette and draws the curve.
Large sets are sub-sampled. Run the recipe again with num_categories=K: what comes before the
clustering is kept (with use_dff=True not its classifiers and their features, which learn the
clusters). docs/own_folder.md says how far such a suggestion can be trusted.
"""

import argparse
import json
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

import numpy as np

DFF_IS_REPEATED = ' DFF learns the clusters: its classifiers and features are made again.'
PREFERRED = ('features', 'dff_features')  # the first have seen no number of categories
CHOICE = 'category_numbers'


@one_line_stops()
def main() -> None:
    """Print a table and the suggestion; write both and a curve."""
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('--features', help='folder; default: features, else dff_features')
    parser.add_argument('--smallest', type=int, default=2)
    parser.add_argument('--largest', type=int, default=100)
    parser.add_argument('--images', type=int, default=20_000, help='clustered at most')
    parser.add_argument('--sample', type=int, default=3_000, help='of them, for the silhouette')
    parser.add_argument('--restarts', type=int, default=10, help='of k-means for each K')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()

    from luss_mm.functional.clustering_scores import candidate_numbers, suggest_number
    from luss_mm.work_dir.atomic_files import refuse_unwritable

    embeddings = draw_embeddings(arguments)
    refuse_unwritable(arguments.work_dir / f'{CHOICE}.json')
    largest = min(arguments.largest, len(embeddings) // 2)
    if largest < arguments.smallest:
        raise ValueError(
            f'{len(embeddings)} images are too few for {arguments.smallest} categories'
        )
    numbers, rows = candidate_numbers(arguments.smallest, largest), []
    print(f'{"K":>5}  {"silhouette":>10}  {"distance":>8}  smallest and largest cluster')
    for number in numbers:
        rows.append(judge(embeddings, number, arguments))
        print(
            f'{number:>5}  {rows[-1]["silhouette"]:>10.4f}  {rows[-1]["distance"]:>8.4f}  '
            f'{rows[-1]["smallest"]} {rows[-1]["largest"]}',
            flush=True,
        )
    silhouettes = [row['silhouette'] for row in rows]
    best = numbers[int(np.argmax(silhouettes))]
    suggested = suggest_number(numbers, silhouettes)
    report(arguments.work_dir, rows, best, suggested)


def draw_embeddings(arguments: argparse.Namespace) -> np.ndarray:
    """All embeddings, or some of them in their order. float32 (N, C)."""
    from luss_mm.work_dir.run_folder import has_features, load_features

    names = [arguments.features] if arguments.features else PREFERRED
    found = [n for n in names if has_features(arguments.work_dir / n)]
    if not found:
        raise FileNotFoundError(
            f'{arguments.work_dir}: no finished features ({", ".join(names)}). They are made when '
            'the recipe first clusters, after its stage attention.'
        )
    embeddings = load_features(arguments.work_dir / found[0]).embeddings
    total = len(embeddings)
    if total > arguments.images:
        rng = np.random.default_rng(arguments.seed)
        embeddings = embeddings[np.sort(rng.choice(total, arguments.images, replace=False))]
    print(f'{len(embeddings)} of {total} embeddings in {arguments.work_dir / found[0]}')
    return np.ascontiguousarray(embeddings)


def judge(embeddings: np.ndarray, number: int, arguments: argparse.Namespace) -> dict:
    """Silhouette of a clustering into so many, its mean squared distance and its sizes."""
    from luss_mm.functional.clustering_scores import mean_silhouette
    from luss_mm.functional.kmeans import fit_kmeans

    import torch

    found = fit_kmeans(embeddings, number, restarts=arguments.restarts, seed=arguments.seed)
    rng = np.random.default_rng(arguments.seed)  # the same images for every number
    size = min(arguments.sample, len(embeddings))
    rows = rng.choice(len(embeddings), size, replace=False)
    sizes = np.bincount(found.assignment)
    return dict(
        categories=number,
        silhouette=mean_silhouette(
            torch.from_numpy(embeddings[rows]), torch.from_numpy(found.assignment[rows]).long()
        ),
        distance=found.objective / len(embeddings),
        smallest=int(sizes.min()),
        largest=int(sizes.max()),
    )


def report(work_dir: Path, rows: list[dict], best: int, suggested: int) -> None:
    """Print and write what came out."""
    from luss_mm.functional.clustering_scores import NONE
    from luss_mm.visualization.run_pictures import draw_curves, save_figure
    from luss_mm.work_dir.atomic_files import write_atomically
    from luss_mm.work_dir.run_folder import has_features

    numbers, silhouettes = zip(*((r['categories'], r['silhouette']) for r in rows), strict=True)
    figure = draw_curves(
        {'silhouette': (numbers, silhouettes)},
        f'Silhouette by number of categories; suggested: {suggested}',
        'number of categories K',
        'mean silhouette',
        vertical_line=suggested,
    )
    save_figure(figure, work_dir / f'{CHOICE}.png')
    written = dict(suggested=suggested, best_silhouette=best, numbers=rows)
    write_atomically(work_dir / f'{CHOICE}.json', json.dumps(written, indent=1).encode())
    print(
        f'suggested: {suggested} (best silhouette: {best}), see {work_dir / CHOICE}.png\n'
        f'The same command of the recipe with num_categories={suggested} keeps pretraining, '
        'attention and features.'
        + (DFF_IS_REPEATED if has_features(work_dir / 'dff_features') else '')
    )
    if max(silhouettes) <= NONE:
        print(
            f'No silhouette is above {NONE}: these images show no clear groups, and any number '
            'is a guess.'
        )


if __name__ == '__main__':
    main()
