"""PASS pretraining: image-level, deep-to-shallow and pixel-to-pixel alignment without labels."""

from collections.abc import Sequence
from itertools import groupby

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor

from luss_mm.functional.alignment import overlap_grids, pixel_to_pixel_loss, sample_points
from luss_mm.functional.swapped_prediction import deep_to_shallow_loss, swapped_prediction_loss
from luss_mm.models.balanced_assignment import FeatureQueue, assign_global_views
from luss_mm.models.cpu_speed import use_channels_last

NUM_GLOBAL_VIEWS = 2


class ViewsPretrainer(BaseModel):
    """A backbone and a head on the pooled features of views; what derives from it adds the loss.

    Args:
        backbone: Config of an mmseg or mmpretrain backbone with a tuple of maps as output.
        head: Config of the head.
        in_index: Which backbone output is the deep map F.
        data_preprocessor: Config, normally `ViewsPreprocessor`.
        init_cfg: mmengine initialisation.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        in_index: int = -1,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(head)
        self.in_index = in_index

    def forward(
        self,
        inputs: list[Tensor] | Tensor,
        crops: Tensor | None = None,
        mode: str = 'tensor',
        **_: object,
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Losses of a batch of views, or the backbone's maps of plain images.

        Args:
            inputs: A batch (B, 3, s, s) for each view, the two global views first; for
                `mode='tensor'` one batch of images.
            crops: Crop rectangle and flip of each view. Shape (B, V, 5).
            mode: 'loss' or 'tensor'.
        """
        if mode == 'tensor':
            return self.backbone(inputs)
        if mode == 'loss':
            return self.loss(inputs, crops)
        raise ValueError(f'{type(self).__name__} has the modes loss and tensor, not {mode!r}')

    def _extract(self, views: list[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Maps of the global views and pooled deep features (V * B, C) of all, view by view.

        Neighbouring local views of one size go through the backbone together.
        """
        features = self.backbone(torch.cat(views[:NUM_GLOBAL_VIEWS]))
        pooled = [features[self.in_index].mean(dim=(2, 3))]
        for _, group in groupby(views[NUM_GLOBAL_VIEWS:], key=lambda view: view.shape[2:]):
            local = self.backbone(torch.cat(list(group)))[self.in_index]
            pooled.append(local.mean(dim=(2, 3)))
        return features, torch.cat(pooled)


@MODELS.register_module()
class PASSPretrainer(ViewsPretrainer):
    """Self-supervised pretraining of PASS for any backbone that yields feature maps.

    Args:
        backbone: Config of an mmseg or mmpretrain backbone with a tuple of maps as output.
        head: Config of the `PrototypeHead`.
        in_index: Which backbone output is the deep map F.
        queue_length: Rows of the feature queue of each global view, over all ranks.
        deep_to_shallow: Configs of `DeepToShallowHead`s, one for each shallow stage; may be empty.
        pixel_to_pixel: Config of the `PixelToPixelHead`; None leaves this loss out.
        image_weight: Weight w0 of the image-level loss.
        deep_to_shallow_weights: Weight of each shallow stage; default 1 each.
        temperature: Temperature of the softmax over prototypes.
        epsilon: Epsilon of Sinkhorn.
        sinkhorn_iterations: Iterations of Sinkhorn.
        freeze_backbone: Train only the heads. The backbone is in eval mode then, so its statistics
            of batch norm stay as they are too.
        data_preprocessor: Config, normally `ViewsPreprocessor`.
        init_cfg: mmengine initialisation.

    Source: Gao et al. 2022 (PASS): total = (w0 L_image + sum_s w_s L_d2s) / sum w + L_p2p.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        in_index: int = -1,
        queue_length: int = 0,
        deep_to_shallow: Sequence[dict] = (),
        pixel_to_pixel: dict | None = None,
        image_weight: float = 1.0,
        deep_to_shallow_weights: Sequence[float] | None = None,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        sinkhorn_iterations: int = 3,
        freeze_backbone: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone, head, in_index, data_preprocessor, init_cfg)
        self.queue = FeatureQueue(queue_length, self.head.embedding_channels, NUM_GLOBAL_VIEWS)
        self.shallow_heads = torch.nn.ModuleList(MODELS.build(cfg) for cfg in deep_to_shallow)
        self.pixel_head = MODELS.build(pixel_to_pixel) if pixel_to_pixel else None
        weights = deep_to_shallow_weights or [1.0] * len(self.shallow_heads)
        if len(weights) != len(self.shallow_heads):
            raise ValueError(
                f'deep_to_shallow_weights has {len(weights)} values for '
                f'{len(self.shallow_heads)} deep_to_shallow heads'
            )
        indices = [head.in_index for head in self.shallow_heads]
        if len(set(indices)) < len(indices):
            raise ValueError(f'two deep_to_shallow heads read the same map: in_index {indices}')
        self.weights = [image_weight, *weights]
        self.temperature = temperature
        self.sinkhorn_settings = dict(epsilon=epsilon, iterations=sinkhorn_iterations)
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.backbone.requires_grad_(False)
        use_channels_last(self)

    def train(self, mode: bool = True) -> 'PASSPretrainer':
        """Set training mode, but of a frozen backbone."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self

    def loss(self, views: list[Tensor], crops: Tensor | None) -> dict[str, Tensor]:
        """The three losses, already weighted so that their sum is the total."""
        features, pooled = self._extract(views)
        embeddings = list(self.head.embed(pooled).split(views[0].shape[0]))  # V of (B, D)
        scores = [self.head.score(e) for e in embeddings]
        assignments = assign_global_views(
            self.head, self.queue, embeddings[:NUM_GLOBAL_VIEWS], scores, **self.sinkhorn_settings
        )
        total_weight = sum(self.weights)
        image_loss = self.head.mean_over_sets(
            swapped_prediction_loss, assignments, scores, self.temperature
        )
        losses = {'loss_image': image_loss * self.weights[0] / total_weight}
        for head, weight in zip(self.shallow_heads, self.weights[1:], strict=True):
            shallow = head(features).split(views[0].shape[0])
            loss = self.head.mean_over_sets(
                deep_to_shallow_loss,
                assignments,
                [self.head.score_frozen(e) for e in shallow],
                self.temperature,
            )
            losses[f'loss_d2s_{head.in_index}'] = loss * weight / total_weight
        if self.pixel_head is not None:
            losses['loss_p2p'] = self._pixel_loss(features[self.in_index], crops)
        return losses

    def _pixel_loss(self, deep: Tensor, crops: Tensor | None) -> Tensor:
        if crops is None:
            raise ValueError('pixel-to-pixel alignment needs the crops of the views (MultiCrop)')
        head = self.pixel_head
        grid_a, grid_b, overlaps = overlap_grids(
            crops[:, 0], crops[:, 1], head.points, head.placement
        )
        grids = torch.cat([grid_a, grid_b])
        projected = sample_points(head.projector(deep), grids, head.padding)  # (2B, D, p, p)
        target_a, target_b = projected.chunk(2)
        predicted_a, predicted_b = head.predictor(projected).chunk(2)
        return pixel_to_pixel_loss(predicted_a, target_a, predicted_b, target_b, overlaps)
