"""What colour alone achieves: categories from mean colours, foreground from pseudo labels.

An image's category is the cluster of its mean colour (centroids from the training images), its
foreground that of the pseudo labels that a method made for the validation images. A method is worth
something if its mean IoU is well above this. Masks are used for matching and scoring only.

    python tools/colour_baseline.py DATA_ROOT PSEUDO_LABELS_DIR

reads DATA_ROOT/{train,validation,validation-segmentation}/<category>/* and
PSEUDO_LABELS_DIR/<category>/<name>.png and prints one line of JSON.
"""

import argparse
import json
from pathlib import Path

from luss_mm.datasets.image_index import scan_images
from luss_mm.datasets.mask_files import read_label_map
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.functional.kmeans import assign_to_centroids, fit_kmeans
from luss_mm.functional.matching import image_presence, match_clusters, presence_counts
from luss_mm.functional.scores import iou_per_class, joint_counts, rename_rows

import cv2
import numpy as np
import torch

IGNORE_INDEX = 1000  # ImageNet-S
ITERATIONS, RESTARTS = 20, 30  # of k-means, as PASS clusters its embeddings


def list_images(folder: Path) -> list[Path]:
    """Images in the category folders of a split, sorted.

    Args:
        folder: Holds one folder a category.

    Raises:
        FileNotFoundError: If there is no image.
    """
    names = scan_images(folder) if folder.is_dir() else ()
    paths = [folder / name for name in names if name.count('/') == 1]
    if not paths:
        raise FileNotFoundError(f'{folder}: no images in category folders. Is it a data root?')
    return paths


def mean_colours(paths: list[Path]) -> np.ndarray:
    """Mean RGB colour of every image, float32 in [0, 1]. Shape (N, 3).

    Raises:
        ValueError: If an image cannot be read.
    """
    colours = np.empty((len(paths), 3), np.float32)
    for row, path in zip(colours, paths, strict=True):
        image = cv2.imread(str(path))
        if image is None:
            raise ValueError(f'{path}: cannot be decoded. Delete or replace it.')
        row[:] = cv2.mean(image)[2::-1]
    return colours / 255


def score_colour_baseline(data_root: Path, pseudo_labels: Path, seed: int = 0) -> dict:
    """Score clusters of mean colours on the foreground of pseudo labels.

    Args:
        data_root: Data set in the ImageNet-S layout.
        pseudo_labels: Label maps of the validation images; only whether an id is 0 counts.
        seed: Of k-means.

    Returns:
        Mean IoU over the K foreground classes (`miou_foreground`) and over all K + 1 (`miou`), in
        [0, 1], and how many images and categories there were.

    Raises:
        FileNotFoundError: If images, masks or pseudo labels are missing.
        ValueError: If a file cannot be read, or a pseudo label and its mask differ in size.
    """
    num_categories = sum(entry.is_dir() for entry in (data_root / 'train').glob('*'))
    paths = list_images(data_root / 'validation')
    fit = fit_kmeans(
        mean_colours(list_images(data_root / 'train')), num_categories, ITERATIONS, RESTARTS, seed
    )
    clusters, _ = assign_to_centroids(mean_colours(paths), fit.centroids)  # (N,)

    num_ids = num_categories + 1
    counts = torch.zeros(num_ids, num_ids, dtype=torch.int64)
    presence = torch.zeros(num_categories, num_categories, dtype=torch.int64)
    for path, cluster in zip(paths, clusters.tolist(), strict=True):
        name = Path(path.parent.name) / f'{path.stem}.png'
        truth = torch.from_numpy(read_label_map(data_root / 'validation-segmentation' / name))
        foreground = torch.from_numpy(read_label_map(pseudo_labels / name) > 0)
        if foreground.shape != truth.shape:
            raise ValueError(
                f'{pseudo_labels / name}: {tuple(foreground.shape)}, its mask has '
                f'{tuple(truth.shape)} (height, width)'
            )
        known = truth != IGNORE_INDEX
        predicted, truth = foreground[known].int() * (cluster + 1), truth[known]
        counts += joint_counts(predicted, truth, num_ids, num_ids)
        presence += presence_counts(
            image_presence(predicted, num_ids)[None], image_presence(truth, num_ids)[None]
        )

    matched = rename_rows(counts, match_clusters(presence.numpy()), num_categories)
    iou = iou_per_class(matched.diagonal(), matched.sum(1), matched.sum(0))
    return {
        'miou_foreground': iou[1:].mean().item(),
        'miou': iou.mean().item(),
        'num_categories': num_categories,
        'num_images': len(paths),
    }


@one_line_stops()
def main() -> None:
    """Read the command line and print the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', type=Path)
    parser.add_argument('pseudo_labels', type=Path)
    parser.add_argument('--seed', type=int, default=0, help='of k-means (default: 0)')
    args = parser.parse_args()
    print(json.dumps(score_colour_baseline(args.data_root, args.pseudo_labels, args.seed)))


if __name__ == '__main__':
    main()
