"""Contrastive pretraining: an image's views attract each other and repel other images."""

import torch
from mmseg.registry import MODELS
from torch import Tensor

from luss_mm.functional.contrastive import info_nce_loss
from luss_mm.models.cpu_speed import use_channels_last
from luss_mm.models.pass_pretrainer import ViewsPretrainer


@MODELS.register_module()
class ContrastivePretrainer(ViewsPretrainer):
    """Self-supervised pretraining of whole images in the place of `PASSPretrainer`.

    On few small photographs and an hour of a CPU core it learns faster than swapped prediction
    (docs/results.md). It trains no attention and no prototypes.

    Args:
        backbone: Config of an mmseg or mmpretrain backbone with a tuple of maps as output.
        head: Config of the `ProjectionHead`.
        in_index: Which backbone output is pooled.
        temperature: By which cosines are divided.
        data_preprocessor: Config, normally `ViewsPreprocessor`.
        init_cfg: mmengine initialisation.

    Source: Chen et al., SimCLR (ICML 2020), with the local views of SwAV.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        in_index: int = -1,
        temperature: float = 0.2,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(backbone, head, in_index, data_preprocessor, init_cfg)
        self.temperature = temperature
        use_channels_last(self)

    def loss(self, views: list[Tensor], crops: Tensor | None = None) -> dict[str, Tensor]:
        """The contrastive loss of all views of a batch, wherever they were cropped."""
        _, pooled = self._extract(views)
        embeddings = torch.stack(self.head.embed(pooled).split(len(views[0])))  # (V, B, D)
        return {'loss_image': info_nce_loss(embeddings, self.temperature)}
