"""What bfloat16 changes in embeddings, clusters and label maps of a finished run.

    python tools/benchmarks/label_rounding.py RUN --out rounding.json --stage attention

RUN is the work directory of a run. Its images are embedded and labelled twice by the network of a
stage, in float32 and in bfloat16: with the same centroids and threshold, so that rounding alone
differs, and with clusters of their own. Clusters of another seed say how much of that is chance.
"""

import argparse
import json
from pathlib import Path

from luss_mm.functional.clustering_scores import contingency, normalized_mutual_information
from luss_mm.functional.distances import squared_distances
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.functional.pixel_assignment import assign_pixels
from luss_mm.functional.pixel_attention import upsample_features
from luss_mm.functional.thresholds import otsu_threshold
from luss_mm.inference.feature_source import FeatureSource
from luss_mm.models.attended_inference import PRECISIONS
from luss_mm.pipeline.features import SCORE_BINS
from luss_mm.pipeline.image_batches import stack_images
from luss_mm.work_dir.atomic_files import write_atomically

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

SEEDS = (0, 1000)


def main() -> None:
    """Measure, write the JSON file and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('run', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--stage', default='attention', help='attention or dff_h')
    parser.add_argument('--restarts', type=int, default=30, help='of k-means')
    arguments = parser.parse_args()
    with DefaultScope.overwrite_default_scope('mmseg'), torch.inference_mode():
        report = compare(arguments.run, arguments.stage, arguments.restarts)
    text = json.dumps(report, indent=1)
    write_atomically(arguments.out, text.encode())
    print(text)


def compare(run: Path, stage: str, restarts: int) -> dict:
    """How far the two precisions are apart."""
    hooks = {h.type: h for h in Config.fromfile(run / 'finetune' / 'config.py').custom_hooks}
    clustering = hooks.get('CSDHook') or hooks['ClusterHook']
    labels = hooks['PseudoLabelHook']
    where = dict(config=str(run / stage / 'config.py'), checkpoint=str(run / stage / 'final.pth'))
    sources = {
        precision: FeatureSource(**dict(labels.source, **where, precision=precision))
        for precision in PRECISIONS
    }
    exact, rounded = (embed(source) for source in sources.values())
    cosine = (exact[0] * rounded[0]).sum(axis=1, dtype=np.float64)
    clusters = [
        fit_kmeans(embeddings, clustering.num_clusters, restarts=restarts, seed=seed)
        for embeddings, seed in ((exact[0], SEEDS[0]), (rounded[0], SEEDS[0]), (exact[0], SEEDS[1]))
    ]
    centroids = clusters[0].centroids
    nearest = [squared_distances(e, centroids).argmin(axis=1) for e, _ in (exact, rounded)]
    threshold = otsu_threshold(exact[1])
    changed = changed_pixels(sources, dict(labels.label_dataset), centroids, threshold)
    return dict(
        images=len(cosine),
        num_clusters=clustering.num_clusters,
        cosine_mean=float(cosine.mean()),
        cosine_least=float(cosine.min()),
        threshold=[threshold, otsu_threshold(rounded[1])],
        images_of_another_cluster_at_equal_centroids=float((nearest[0] != nearest[1]).mean()),
        nmi_of_clusters=agreement(clusters[0].assignment, clusters[1].assignment),
        nmi_of_clusters_of_another_seed=agreement(clusters[0].assignment, clusters[2].assignment),
        pixels_of_another_label=float(np.average(changed[:, 0], weights=changed[:, 1])),
        pixels_of_another_label_in_the_worst_image=float(changed[:, 0].max()),
    )


def embed(source: FeatureSource) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings, float32 (N, C), and counts of the foreground scores."""
    batches = source.batches(source.dataset)
    embeddings: list[np.ndarray] = [np.empty(0)] * len(batches.dataset)
    counts = np.zeros(SCORE_BINS, dtype=np.int64)
    for _, shard in batches.iterate(set(), 'embeddings'):
        for batch in shard:
            images = source.model.data_preprocessor.normalize(stack_images(batch, 'cpu'))
            rows, scores = source.model(images)
            for sample, row in zip(batch, rows.numpy(), strict=True):
                embeddings[sample['index']] = row
            counts += np.histogram(scores.numpy(), SCORE_BINS, (0, 1))[0]
    return np.stack(embeddings), counts


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Normalised mutual information of two clusterings."""
    clusters = int(max(first.max(), second.max())) + 1
    return normalized_mutual_information(contingency(first, second, clusters, clusters))


def changed_pixels(
    sources: dict[str, FeatureSource], dataset: dict, centroids: np.ndarray, threshold: float
) -> np.ndarray:
    """Share of pixels with another label, and pixels, of every image. Shape (N, 2)."""
    pipeline = [step for step in dataset['pipeline'] if step['type'] != 'KeepLoadedImage']
    first = next(iter(sources.values()))
    changed = []
    for _, shard in first.batches(dict(dataset, pipeline=pipeline)).iterate(set(), 'labels'):
        for batch in shard:
            maps = []
            for source in sources.values():
                model = source.model
                images = model.data_preprocessor.normalize(stack_images(batch, 'cpu'))
                features, scores = model.score_pixels(images)
                enlarged = upsample_features(features, model.upsample)
                maps.append((enlarged, scores))
            for i, sample in enumerate(batch):
                one, other = (
                    assign_pixels(
                        enlarged[i : i + 1],
                        torch.from_numpy(centroids),
                        scores[i : i + 1],
                        threshold,
                        tuple(sample['ori_shape']),
                    )
                    for enlarged, scores in maps
                )
                changed.append(((one != other).float().mean().item(), one.numel()))
    return np.array(changed)


if __name__ == '__main__':
    main()
