"""Two segmentors that teach each other from few masks and many image tags (CCE + PCT)."""

from collections.abc import Mapping, Sequence

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from luss_mm.functional.class_aware_loss import (
    class_aware_cross_entropy,
    class_pixels,
    decayed_sum,
    image_tag_loss,
    progressive_weights,
    recent_iou,
    restricted_argmax,
    share_outside_tags,
)
from luss_mm.models.student_teacher import (
    SemiSegmentor,
    build_segmentor,
    logits_of_all_heads,
    refuse_views,
    stack_labels,
    stack_tags,
)

VIEWS = ('labelled', 'tagged')


@MODELS.register_module()
class PCTSegmentor(SemiSegmentor):
    """HybridNet H and PseudoNet P: class-aware cross entropy and progressive cross training.

    With S the images of the view 'labelled', W those of 'tagged' and C(x) an image's tags:

        L1 `loss_labelled`  CCE(H(S), masks)
        L2 `loss_pseudo`    CCE(P(W), argmax of H(W) over C(x))
        L3 `loss_tags`      multi-label soft margin on the largest logits of H, S and W
        L4 `loss_cross`     CCE(H(W), argmax of P(W) over C(x)), each image weighted by
                            (min_{c in C(x)} IoU_c)^power

    A tagged image that has a mask is taught by the mask instead of an argmax. IoU_c comes from
    running pixel counts (buffer `class_pixels`, saved with the checkpoint) of P's predictions on S:
    like the pseudo-labels, which they stand for, those are an argmax over C(x) of the forward pass
    that is made anyway (training mode, S and W in one batch), counted before the weights of the
    iteration are taken. P learns nothing from S.

    Auxiliary heads learn L1 and L4 (of H) and L2 (of P). The loss modules and samplers of the heads
    are not used. Batch norm sees S and W together, so both views need one size.

    Args:
        segmentor: Config of an mmseg EncoderDecoder, of which two are built, with one decode head
            of two or more classes. Its `test_cfg` may be whole or slide; it needs no preprocessor.
        ignore_index: Label of padding and of void pixels, which count in no loss.
        has_background: Whether id 0 is background; L3 leaves it out.
        loss_stride: Losses are taken at every loss_stride-th pixel of the label map.
        loss_weights: Weights of L1 to L4.
        auxiliary_weight: Weight of an auxiliary head's losses.
        decay: Decay of the running pixel counts, an iteration.
        power: Power of the progressive weights.
        predict_with: 'hybrid' or 'pseudo', whose label map is `pred_sem_seg`.
        **kwargs: As `SemiSegmentor`.

    Raises:
        ValueError: If the segmentor or a setting cannot be used.

    Source: Wang et al., Learning pseudo labels for semi-and-weakly supervised semantic segmentation
    (Pattern Recognition 2022).
    """

    network_names = ('hybrid', 'pseudo')

    def __init__(
        self,
        segmentor: dict,
        ignore_index: int = 1000,
        has_background: bool = True,
        loss_stride: int = 1,
        loss_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        auxiliary_weight: float = 0.4,
        decay: float = 0.99,
        power: float = 8.0,
        predict_with: str = 'hybrid',
        **kwargs: object,
    ) -> None:
        super().__init__(predict_with, **kwargs)
        if len(loss_weights) != 4:
            raise ValueError(f'loss_weights needs the weights of L1 to L4, got {loss_weights}')
        for name in self.network_names:
            self.add_module(name, build_segmentor(segmentor))
        self.num_classes = self.hybrid.out_channels
        self.ignore_index = ignore_index
        self.first_foreground = int(has_background)
        self.loss_stride = loss_stride
        self.loss_weights = tuple(loss_weights)
        self.auxiliary_weight = auxiliary_weight
        self.decay = decay
        self.power = power
        # float64: counts of pixels over thousands of iterations, and a resumed run goes on exactly
        counts = torch.zeros(3, self.num_classes, dtype=torch.float64)
        self.register_buffer('class_pixels', counts)

    def loss(
        self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list[SegDataSample]]
    ) -> dict[str, Tensor]:
        """The four losses, already weighted, and how the training goes.

        Args:
            inputs: Views 'labelled' and 'tagged', normalised images. Each (B, 3, H, W).
            data_samples: Data samples of each view, with gt_sem_seg and the metainfo has_mask and
                image_tags.

        Returns:
            `loss_labelled`, `loss_pseudo`, `loss_tags`, `loss_cross`; without 'loss' in their name,
            and so not part of the sum: `progressive_weight`, the mean over W, `class_iou`, the mean
            of IoU_c over all classes, `outside_tags`, the share of labelled pixels whose class is
            not among the image's tags and which L1 therefore leaves out.

        Raises:
            ValueError: If the views differ in size, a labelled image has no mask, an image has no
                tag, or a label is out of range.
        """
        refuse_views(inputs, VIEWS, data_samples['labelled'])
        samples = [*data_samples['labelled'], *data_samples['tagged']]
        images = torch.cat([inputs[view] for view in VIEWS])
        hybrid, pseudo = (
            logits_of_all_heads(self.get_submodule(name), images) for name in self.network_names
        )
        tags = stack_tags(samples, self.num_classes).to(images.device)
        truth = stack_labels(samples)[:, :: self.loss_stride, :: self.loss_stride]
        has_mask = [bool(sample.metainfo['has_mask']) for sample in samples]
        keeps_truth = torch.tensor(has_mask, device=truth.device)[:, None, None]
        keeps_truth = keeps_truth | (truth == self.ignore_index)
        hybrid_labels, pseudo_labels = (
            restricted_argmax(maps[0], tags, truth.shape[1:], self.align_corners)
            for maps in (hybrid, pseudo)
        )

        split = len(data_samples['labelled'])
        labelled, tagged = slice(0, split), slice(split, None)
        self._count_pixels(pseudo_labels[labelled], truth[labelled])
        iou = recent_iou(self.class_pixels)
        weights = progressive_weights(iou, tags[tagged], self.power)
        hybrid_labels = torch.where(keeps_truth, truth, hybrid_labels)[tagged]
        pseudo_labels = torch.where(keeps_truth, truth, pseudo_labels)[tagged]
        losses = dict(
            loss_labelled=self._pixel_loss(hybrid, labelled, tags, truth[labelled]),
            loss_pseudo=self._pixel_loss(pseudo, tagged, tags, hybrid_labels),
            loss_tags=image_tag_loss(
                hybrid[0][:, self.first_foreground :],
                tags[:, self.first_foreground :],
                truth != self.ignore_index,
            ),
            loss_cross=self._pixel_loss(hybrid, tagged, tags, pseudo_labels, weights),
        )
        weighted = zip(losses.items(), self.loss_weights, strict=True)
        return dict(
            {name: weight * loss for (name, loss), weight in weighted},
            progressive_weight=weights.mean(),
            class_iou=iou.mean(),
            outside_tags=share_outside_tags(truth[labelled], tags[labelled], self.ignore_index),
        )

    def _count_pixels(self, predicted: Tensor, truth: Tensor) -> None:
        """Let a batch with masks into the running counts of all ranks."""
        counts = class_pixels(predicted, truth, self.num_classes, self.ignore_index)
        self.class_pixels.copy_(decayed_sum(self.class_pixels, counts, self.decay))

    def _pixel_loss(
        self,
        maps: list[Tensor],
        rows: slice,
        tags: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Class-aware cross entropy of a network's decode head and auxiliary heads."""
        main, *auxiliary = (
            class_aware_cross_entropy(
                m[rows],
                tags[rows],
                labels,
                self.ignore_index,
                weights,
                self.align_corners,
            )
            for m in maps
        )
        return main + self.auxiliary_weight * sum(auxiliary)
