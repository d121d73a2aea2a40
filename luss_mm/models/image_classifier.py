"""The classifiers of PDSO's denoising-based feature fine-tuning (DFF)."""

from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from luss_mm.models.attended_backbone import AttendedBackbone


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Global average pooling and a linear layer: the classifiers f and g.

    Args:
        backbone: Config of the backbone.
        channels: C of the deep map.
        num_classes: K, the clusters that are told apart.
        in_index: Which backbone output is the deep map F.
        data_preprocessor: Config, normally `ViewsPreprocessor`.
        init_cfg: mmengine initialisation.

    Source: PDSO, denoising-based feature fine-tuning.
    """

    def __init__(
        self,
        backbone: dict,
        channels: int,
        num_classes: int,
        in_index: int = -1,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.classifier = nn.Linear(channels, num_classes)
        self.in_index = in_index

    def forward(
        self, inputs: Tensor, class_label: Tensor | None = None, mode: str = 'tensor', **_: object
    ) -> dict[str, Tensor] | Tensor:
        """Cross-entropy against class labels, or logits.

        Args:
            inputs: Normalised images. Shape (B, 3, H, W).
            class_label: Cluster of each image, int64 in [0, K); read by mode loss. Shape (B,).
            mode: loss or tensor.

        Returns:
            `loss_class`, or logits (B, K).
        """
        logits = self.classifier(self.backbone(inputs)[self.in_index].mean(dim=(2, 3)))
        if mode == 'loss':
            return {'loss_class': F.cross_entropy(logits, class_label)}
        if mode == 'tensor':
            return logits
        raise ValueError(f'ImageClassifier has the modes loss and tensor, not {mode!r}')


@MODELS.register_module()
class AttendedClassifier(AttendedBackbone):
    """A linear layer on the attention-pooled embedding: the classifier h.

    Once trained, its backbone and attention are the features that are clustered and labelled.

    Args:
        num_classes: K, the clusters that are told apart.
        **kwargs: As `AttendedBackbone`.

    Source: PDSO, denoising-based feature fine-tuning. Whether the embedding was normalised before
    the linear layer is not published; here it is not, as under any linear classifier.
    """

    pretrained_parts = ('backbone', 'attention')  # what its starting point must hold

    def __init__(self, *, num_classes: int, channels: int, **kwargs: object) -> None:
        super().__init__(channels=channels, **kwargs)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(
        self, inputs: Tensor, class_label: Tensor | None = None, mode: str = 'tensor', **_: object
    ) -> dict[str, Tensor] | tuple[Tensor, Tensor]:
        """Cross-entropy against class labels, or embeddings and foreground scores.

        Args:
            inputs: Normalised images. Shape (B, 3, H, W).
            class_label: Cluster of each image, int64 in [0, K); read by mode loss. Shape (B,).
            mode: loss or tensor.
        """
        if mode == 'loss':
            logits = self.classifier(self.pooling.embedding(*self.attend(inputs)))
            return {'loss_class': F.cross_entropy(logits, class_label)}
        if mode == 'tensor':
            return self.embed(inputs)
        raise ValueError(f'AttendedClassifier has the modes loss and tensor, not {mode!r}')
