"""Pixel attention: a gate per channel and pixel that finds the object without labels."""

import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from luss_mm.functional.pixel_attention import gated_embedding
from luss_mm.functional.swapped_prediction import swapped_prediction_loss
from luss_mm.models.attended_backbone import AttendedBackbone
from luss_mm.models.balanced_assignment import FeatureQueue, assign_global_views


@MODELS.register_module()
class PixelAttentionModel(AttendedBackbone):
    """Trains the attention head and the prototypes on a frozen pretrained network.

    Args:
        head: Config of the `PrototypeHead` of pretraining.
        queue_length: Rows of the feature queue of each view.
        temperature: Temperature of the softmax over prototypes.
        epsilon: Epsilon of Sinkhorn.
        sinkhorn_iterations: Iterations of Sinkhorn.
        frozen_norm_eval: Keep the frozen BN layers in eval mode. The authors train with batch
            statistics (False).
        **kwargs: As `AttendedBackbone`, without `foreground`, which is learnt.

    Source: Gao et al. 2022 (PASS), pixel attention.
    """

    # What its starting point must hold: gates learn nothing through a random projection.
    pretrained_parts = ('backbone', 'head')

    def __init__(
        self,
        *,
        head: dict,
        queue_length: int = 0,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        sinkhorn_iterations: int = 3,
        frozen_norm_eval: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.head = MODELS.build(head)
        self.queue = FeatureQueue(queue_length, self.head.embedding_channels)
        self.temperature = temperature
        self.sinkhorn_settings = dict(epsilon=epsilon, iterations=sinkhorn_iterations)
        self.frozen_norm_eval = frozen_norm_eval
        for frozen in (self.backbone, self.head.projection):
            frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> 'PixelAttentionModel':
        """Set training mode; of the frozen parts only BN layers follow, if so configured."""
        super().train(mode)
        for frozen in (self.backbone, self.head.projection):
            frozen.eval()  # without drop path or dropout: nothing there learns to live with it
            for module in frozen.modules():
                if isinstance(module, _BatchNorm) and not self.frozen_norm_eval:
                    module.train(mode)
        return self

    def loss(self, views: list[Tensor], **_: object) -> dict[str, Tensor]:
        """SwAV loss on the attention-pooled embedding of two global views."""
        features, gates = self.attend(torch.cat(views))
        pooled = gated_embedding(F.normalize(features, dim=1), gates)
        embeddings = list(self.head.embed(pooled).split(views[0].shape[0]))
        scores = [self.head.score(e) for e in embeddings]
        assignments = assign_global_views(
            self.head, self.queue, embeddings, scores, **self.sinkhorn_settings
        )
        loss = self.head.mean_over_sets(
            swapped_prediction_loss, assignments, scores, self.temperature
        )
        return {'loss_attention': loss}
