"""How well the features of a frozen backbone follow the category folders of images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DefaultScope
from torch import Tensor

from luss_mm.datasets.category_folders import category_names
from luss_mm.evaluation.plain_baseline import embed_images
from luss_mm.functional.clustering_scores import (
    clustering_accuracy,
    contingency,
    normalized_mutual_information,
)
from luss_mm.functional.distance_matching import vote_of_neighbours
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.inference.frozen_backbone import FrozenBackbone
from luss_mm.pipeline.reference_features import PixelFeatures

NEIGHBOURS = 20
GROUND_TRUTH = 'category folders of the images: these figures'
HELD_OUT_EVERY = 5


def score_features(
    backbone: FrozenBackbone,
    references: str | Path,
    queries: str | Path | None = None,
    neighbours: int = NEIGHBOURS,
) -> dict[str, Any]:
    """k-NN accuracy and NMI of mean feature vectors. Looks at category folders.

    An image's category is the vote of its most similar references with weights exp(cos / .07). NMI
    and cluster accuracy are those of k-means on the queries, with as many clusters as they have
    categories (10 starts of k-means++, 50 iterations).

    Args:
        backbone: The network and how it sees images.
        references: Folder of category folders.
        queries: Another such folder. None takes every fifth image of the references.
        neighbours: How many references vote.

    Returns:
        JSON-like; knn, nmi and accuracy in percent.

    Raises:
        ValueError: If the folders have no categories, or the queries others than the references.

    Source: Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination: weighted k-NN with temperature .07.
    """
    names = category_names([Path(references)])
    if not names:
        raise ValueError(f'{references}: no category folders with images, which these figures need')
    with DefaultScope.overwrite_default_scope('mmseg'):
        extractor = backbone.extractor()
        known, of_known = _embed(backbone, extractor, references, names)
        if queries is None:
            held_out = torch.arange(len(known)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
            asked, of_asked = known[held_out], of_known[held_out]
            known, of_known = known[~held_out], of_known[~held_out]
        else:
            asked, of_asked = _embed(backbone, extractor, queries, names)
    found = vote_of_neighbours(asked[:, :, None, None], known, of_known, neighbours).flatten()
    present, categories = np.unique(of_asked, return_inverse=True)
    fit = fit_kmeans(asked.numpy(), len(present), 50, 10, initialization='k-means++')
    counts = contingency(fit.assignment, categories, len(present), len(present))
    return dict(
        knn=_percent((found == of_asked).float().mean()),
        nmi=_percent(normalized_mutual_information(counts)),
        accuracy=_percent(clustering_accuracy(counts)),
        references=len(known),
        queries=len(asked),
        categories=len(names),
        neighbours=neighbours,
        ground_truth_use=GROUND_TRUTH,
        **backbone.facts(),
    )


def _embed(
    backbone: FrozenBackbone, extractor: PixelFeatures, folder: str | Path, names: list[str]
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, C) of a folder's images and the categories (N,) whose folders they lie in."""
    prefix = dict(img_path=str(Path(folder).absolute()))
    batches = backbone.batches(dict(type='LUSSDataset', data_prefix=prefix))
    paths = map(batches.dataset.relative_path, range(len(batches.dataset)))
    folders = [Path(path).parts[0] for path in paths]
    if unknown := sorted(set(folders) - set(names)):
        raise ValueError(
            f'{folder}: {unknown[0]} is none of the {len(names)} category folders of the references'
        )
    embeddings = embed_images(extractor, batches, f'images of {folder}').embeddings
    return torch.from_numpy(embeddings), torch.tensor([names.index(name) for name in folders])


def _percent(share: float) -> float:
    return round(100 * float(share), 2)
