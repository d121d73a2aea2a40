"""The losses of PASS, one view, image and point at a time."""

import torch

from tests.functional.slow_alignment import slow_grid, slow_loss, slow_points, slow_sample
from tests.functional.test_sinkhorn import slow_sinkhorn
from tests.functional.test_swapped_prediction import slow_cross_entropy, slow_swapped_prediction


def slow_unit(vectors):
    vectors = vectors.double()
    return vectors / vectors.pow(2).sum(dim=1, keepdim=True).sqrt()


def slow_pixel_loss(model, maps, crops):
    """Image by image and point by point; BN without batch statistics."""
    per_image, points_per_axis = [], model.pixel_head.points
    for i, crop in enumerate(crops[:, :2].tolist()):
        points = slow_points(*crop, points_per_axis, model.pixel_head.placement)
        if points is None:
            continue
        sides = []
        for view in range(2):
            projected = model.pixel_head.projector(maps[view][i : i + 1])[0]
            padding = 'zeros' if model.pixel_head.placement == 'edge' else 'border'
            sampled = torch.tensor(slow_sample(projected, slow_grid(crop[view], points), padding))
            target = sampled.T.reshape(1, -1, points_per_axis, points_per_axis)
            sides += [model.pixel_head.predictor(target), target]
        per_image.append(slow_loss(*sides, torch.tensor([True])))
    return sum(per_image) / len(per_image) if per_image else 0


def slow_losses(model, views, crops, shallow=(2,)):
    """All losses without weights: one view at a time through the backbone."""
    maps = [model.backbone(view) for view in views]
    prototypes = model.head.prototypes.weight.double()

    def score(embeddings):
        return slow_unit(embeddings) @ prototypes.T

    scores = [score(model.head.projection(m[-1].mean(dim=(2, 3)))) for m in maps]
    assignments = []
    for view in range(2):
        queued = model.queue.rows[view, : model.queue.filled if model.queue.usable else 0]
        rows = torch.cat([queued.double() @ prototypes.T, scores[view]])
        assignments.append(slow_sinkhorn(rows)[len(queued) :])
    losses = {'loss_image': slow_swapped_prediction(assignments, scores)}
    for head, stage in zip(model.shallow_heads, shallow, strict=True):
        terms = []
        for view in range(2):
            pooled = head.adapter(maps[view][stage]).mean(dim=(2, 3))
            shallow_scores = score(head.projection(pooled))
            terms.append(slow_cross_entropy(assignments[1 - view], shallow_scores))
        losses[f'loss_d2s_{stage}'] = sum(terms) / 2
    if model.pixel_head is not None:
        losses['loss_p2p'] = slow_pixel_loss(model, [m[-1] for m in maps[:2]], crops)
    return losses
