"""A student and its averaged teacher, with strong views and perturbed features (DSSN)."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.consistency import (
    alignment_loss,
    box_masks,
    paste_boxes,
    perturb_features,
    select_all,
    select_class_aware,
    selected_cross_entropy,
)
from luss_mm.models.student_teacher import (
    StudentTeacher,
    network_logits,
    refuse_views,
    stack_boxes,
    stack_labels,
)

STRONG_VIEWS = ('strong1', 'strong2')
VIEWS = ('labelled', 'weak', *STRONG_VIEWS)
SELECTIONS = dict(class_aware=select_class_aware, all=select_all)


@MODELS.register_module()
class DSSNSegmentor(StudentTeacher):
    """Dual-level Siamese training: image-level strong views and feature-level perturbations.

    Labelled images x; unlabelled ones in a weak view w and two strong views s1, s2. The second half
    of each unlabelled view holds partners, other images, of which CutMix boxes are pasted into the
    first half. f and F are two decodings of w's perturbed features.

        L = total_weight x (L_x + unlabelled_weight (L_s1 + L_s2 + L_f + L_F)
                            + alignment_weight (MSE(s1, s2) + MSE(f, F)))

    L_x is what the heads themselves ask for (loss modules, samplers, auxiliary heads). L_s1 and
    L_s2 learn the labels of the teacher, whose logits of w and partners are mixed with the same
    boxes; L_f and L_F learn the labels of the student's clean decoding of w. Only selected pixels
    teach, and padding counts nowhere: validity is mixed with the boxes, too. MSE(s1, s2) counts
    pixels that are valid in both, whether their boxes agree or not.

    Batch norm sees: x and w together in the backbone; x, w, f and F in the decode head; x alone in
    auxiliary heads; then s1 and s2 together; in the teacher w and partners together. (The authors'
    code also decodes perturbed features of x, and runs the teacher twice.) Each forward pass
    updates the running statistics. The teacher works in training mode, as the authors' does;
    `TeacherHook` builds it and averages its parameters and buffers after each step.

    Args:
        *args: As `StudentTeacher`: the config of the student.
        selection: 'class_aware' (VOC, COCO) or 'all' (Cityscapes).
        certain: As in `select_class_aware`.
        fraction: As in `select_class_aware`.
        unlabelled_weight: Weight of L_s1, L_s2, L_f and L_F.
        alignment_weight: Weight of both MSE.
        total_weight: Weight of the whole loss.
        dropout: Rate of the feature perturbation.
        perturbed_levels: Indices of the perturbed feature levels; None for all.
        strong_from_epoch: First epoch (from 0) with L_s1 and L_s2; before it the teacher is a plain
            copy of the student (Cityscapes: 5).
        strong_from_iteration: The same in iterations of the whole training (from 0); the later of
            the two counts (VOC: 1).
        ignore_index: Label of padding and of void pixels.
        loss_stride: Losses are taken at every loss_stride-th pixel of the label map.
        **kwargs: As `StudentTeacher`.

    Raises:
        ValueError: If the segmentor or a setting cannot be used.

    Source: Tian et al., Improving semi-supervised semantic segmentation with dual-level Siamese
    structure network (ACM Multimedia 2023).
    """

    def __init__(
        self,
        *args: object,
        selection: str = 'class_aware',
        certain: float = 0.92,
        fraction: float = 0.96,
        unlabelled_weight: float = 0.25,
        alignment_weight: float = 0.01,
        total_weight: float = 0.5,
        dropout: float = 0.5,
        perturbed_levels: Sequence[int] | None = None,
        strong_from_epoch: int = 0,
        strong_from_iteration: int = 0,
        ignore_index: int = 1000,
        loss_stride: int = 1,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)
        if selection not in SELECTIONS:
            raise ValueError(f"selection must be 'class_aware' or 'all', not {selection!r}")
        self.select = SELECTIONS[selection]
        self.selection_limits = (certain, fraction) if selection == 'class_aware' else ()
        self.unlabelled_weight = unlabelled_weight
        self.alignment_weight = alignment_weight
        self.total_weight = total_weight
        self.dropout = dropout
        self.perturbed_levels = perturbed_levels
        self.strong_from_epoch = strong_from_epoch
        self.strong_from_iteration = strong_from_iteration
        self.epoch = self.iteration = 0  # TeacherHook sets them
        self.ignore_index = ignore_index
        self.loss_stride = loss_stride

    @property
    def _strong_losses(self) -> bool:
        return self.epoch >= self.strong_from_epoch and self.iteration >= self.strong_from_iteration

    def update_teacher(self) -> None:
        """Average parameters and buffers; as long as L_s1 and L_s2 wait, copy them."""
        if self._strong_losses:
            super().update_teacher()
        else:
            self.copy_to_teacher()

    def loss(
        self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list[SegDataSample]]
    ) -> dict[str, Tensor]:
        """All terms, already weighted, and how many pixels teach.

        Args:
            inputs: Normalised images: 'labelled' (B, 3, H, W), and 'weak', 'strong1' and 'strong2'
                (2U, 3, H, W), in which row U + i is the partner of row i.
            data_samples: Data samples of each view. Labelled and weak ones have gt_sem_seg (its
                ignored pixels are not valid), labelled ones the metainfo has_mask, strong ones
                cutmix_box; a partner's box is not used.

        Returns:
            The heads' own losses (`decode.loss_ce`, ...), `loss_feature1`, `loss_feature2`,
            `loss_align_feature`, `loss_align_strong` and, from `strong_from_epoch` on,
            `loss_strong1`, `loss_strong2`. Without 'loss' in their name, and so not part of the
            sum: `selected_weak`, `selected_strong1`, `selected_strong2`, the share of valid pixels
            that teach.

        Raises:
            RuntimeError: If there is no teacher yet.
            ValueError: If the views do not fit together or a labelled image has no mask.
        """
        self.require_teacher()
        refuse_views(inputs, VIEWS, data_samples['labelled'])
        _refuse_unpaired(inputs)
        # (2U, H / stride, W / stride)
        valid, partner_valid = (
            self._thin(stack_labels(data_samples['weak'])) != self.ignore_index
        ).chunk(2)
        boxes = [
            stack_boxes(data_samples[view][: len(valid)]).to(valid.device) for view in STRONG_VIEWS
        ]
        # at full size and then thinned, as labels are
        size = inputs['weak'].shape[2:]
        inside = [self._thin(box_masks(box, *size)) for box in boxes]
        valid_views = [torch.where(box, partner_valid, valid) for box in inside]

        losses, perturbed = self._labelled_and_features(inputs, data_samples['labelled'], valid)
        strong = torch.cat(
            [
                paste_boxes(*inputs[view].chunk(2), box)
                for view, box in zip(STRONG_VIEWS, boxes, strict=True)
            ]
        )
        views = self._resize(network_logits(self.student, strong), valid).chunk(2)
        aligned = dict(
            loss_align_feature=alignment_loss(*perturbed, valid),
            loss_align_strong=alignment_loss(*views, valid_views[0] & valid_views[1]),
        )
        scale = self.total_weight * self.alignment_weight
        losses |= {name: scale * loss for name, loss in aligned.items()}
        if self._strong_losses:
            losses |= self._strong(inputs['weak'], views, inside, valid_views)
        return losses

    def _labelled_and_features(
        self, inputs: Mapping[str, Tensor], labelled: list[SegDataSample], valid: Tensor
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Losses of x, f and F, and the logits of f and F at the size of `valid`."""
        count, unlabelled = len(labelled), len(valid)
        images = torch.cat([inputs['labelled'], inputs['weak'][:unlabelled]])
        features = self.student.extract_feat(images)
        weak = [level[count:] for level in features]
        twice = [perturb_features(weak, self.dropout, self.perturbed_levels) for _ in range(2)]
        decoded = self.student.decode_head(
            [torch.cat(levels) for levels in zip(features, *twice, strict=True)]
        )
        own, clean, *perturbed = decoded.split([count, *[unlabelled] * 3])
        losses = self._labelled([level[:count] for level in features], own, labelled)

        labels, selected = self._pseudo_labels(clean.detach().split(1), valid)
        perturbed = [self._resize(logits, valid) for logits in perturbed]
        for i, logits in enumerate(perturbed, start=1):
            losses[f'loss_feature{i}'] = self._taught(logits, labels, selected, valid)
        losses['selected_weak'] = _share(selected, valid)
        return losses, perturbed

    def _labelled(
        self, features: list[Tensor], logits: Tensor, samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """What the heads themselves ask for; accuracies stay as they are."""
        thinned = [
            SegDataSample(
                metainfo=sample.metainfo,
                gt_sem_seg=PixelData(data=self._thin(sample.gt_sem_seg.data)),
            )
            for sample in samples
        ]
        student = self.student
        losses = add_prefix(student.decode_head.loss_by_feat(logits, thinned), 'decode')
        if student.with_auxiliary_head:
            losses |= student._auxiliary_head_forward_train(features, thinned)
        return {
            name: self.total_weight * value if 'loss' in name else value
            for name, value in losses.items()
        }

    def _strong(
        self,
        weak: Tensor,
        views: Sequence[Tensor],
        inside: Sequence[Tensor],
        valid_views: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Losses of s1 and s2 against the labels of the teacher's mixed logits."""
        with torch.no_grad():
            logits, partners = network_logits(self.teacher.module, weak).chunk(2)
        results = {}
        for i, (view, boxes, valid) in enumerate(
            zip(views, inside, valid_views, strict=True), start=1
        ):
            mixed = (
                torch.where(box, *(self._resize(maps[None], valid) for maps in pair))
                for box, *pair in zip(boxes, partners, logits, strict=True)
            )
            labels, selected = self._pseudo_labels(mixed, valid)
            results[f'loss_strong{i}'] = self._taught(view, labels, selected, valid)
            results[f'selected_strong{i}'] = _share(selected, valid)
        return results

    @torch.no_grad()
    def _pseudo_labels(self, maps: Iterable[Tensor], valid: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and selected pixels (B, H, W) of the logits of one image after the other.

        So the full-size logits of no more than one image exist.
        """
        labels, selected = [], []
        for image_logits, image_valid in zip(maps, valid[:, None], strict=True):
            full = self._resize(image_logits, image_valid)  # (1, K, H, W)
            labels.append(full.argmax(dim=1))
            selected.append(self.select(full, image_valid, *self.selection_limits))
        return torch.cat(labels), torch.cat(selected)

    def _taught(self, logits: Tensor, labels: Tensor, selected: Tensor, valid: Tensor) -> Tensor:
        loss = selected_cross_entropy(logits, labels, selected, valid)
        return self.total_weight * self.unlabelled_weight * loss

    def _thin(self, maps: Tensor) -> Tensor:
        return maps[..., :: self.loss_stride, :: self.loss_stride]

    def _resize(self, logits: Tensor, like: Tensor) -> Tensor:
        """float32 logits of the size of the masks `like` (..., H, W)."""
        return F.interpolate(
            logits.float(),
            like.shape[-2:],
            mode='bilinear',
            align_corners=self.student.align_corners,
        )


def _share(selected: Tensor, valid: Tensor) -> Tensor:
    """Share of the valid pixels that are selected; 0 without valid ones."""
    return (selected & valid).sum() / valid.sum().clamp(min=1)


def _refuse_unpaired(inputs: Mapping[str, Tensor]) -> None:
    counts = {view: len(inputs[view]) for view in VIEWS[1:]}
    if len(set(counts.values())) > 1 or counts['weak'] % 2 or not counts['weak']:
        raise ValueError(
            f'unlabelled views have {counts} images where each needs the images and as many '
            'partners: set partners=True in SemiSampler'
        )
