"""What PCT and DSSN share: inner segmentors, batches of views, a student and its teacher."""

import copy
from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from luss_mm.models.label_decision import decide_label_map


def stack_labels(samples: Sequence[SegDataSample]) -> Tensor:
    """Label maps, where an unlabelled image has 0 at its valid pixels.

    Args:
        samples: With gt_sem_seg (1, H, W), all of one size.

    Returns:
        Ids, int64. Shape (B, H, W).
    """
    return torch.cat([sample.gt_sem_seg.data for sample in samples]).long()


def stack_tags(samples: Sequence[SegDataSample], num_classes: int) -> Tensor:
    """Which classes each image has.

    Args:
        samples: With `image_tags` in their metainfo, see `SetImageTags`.
        num_classes: C, background included where the data set has one.

    Returns:
        True at the ids of the image's tags. Shape (B, C).

    Raises:
        KeyError: If a sample has no tags.
        ValueError: If a tag has no class.
    """
    tags = torch.zeros(len(samples), num_classes, dtype=torch.bool)
    for row, sample in zip(tags, samples, strict=True):
        ids = sample.metainfo.get('image_tags')
        if ids is None:
            raise KeyError(
                f'{_image(sample)} has no image tags: add SetImageTags to the pipeline and '
                "'image_tags' to meta_keys"
            )
        if any(not 0 <= i < num_classes for i in ids):
            raise ValueError(
                f'{_image(sample)}: the image tags {tuple(ids)} do not lie in 0..{num_classes - 1}'
            )
        row[list(ids)] = True
    return tags


def stack_boxes(samples: Sequence[SegDataSample]) -> Tensor:
    """Boxes for CutMix.

    Args:
        samples: With `cutmix_box` in their metainfo, see `DrawCutMixBox`.

    Returns:
        left, top, width, height in pixels, int64; zeros where there is no box. Shape (B, 4).

    Raises:
        KeyError: If no box was drawn for a sample, not even None.
    """
    boxes = []
    for sample in samples:
        if 'cutmix_box' not in sample.metainfo:
            raise KeyError(
                f'{_image(sample)} has no cutmix_box: add DrawCutMixBox to the transforms of this '
                "view and 'cutmix_box' to meta_keys"
            )
        boxes.append(sample.metainfo['cutmix_box'] or (0, 0, 0, 0))
    return torch.tensor(boxes)


def _image(sample: SegDataSample) -> str:
    return sample.metainfo.get('img_path', 'an image')


def build_segmentor(config: dict) -> EncoderDecoder:
    """Build a segmentor that choosing among classes per pixel works with.

    Args:
        config: Config of an mmseg EncoderDecoder or a subclass; stays as it is.

    Raises:
        ValueError: If it has several decode heads or one class.
    """
    network = MODELS.build(copy.deepcopy(config))  # building may change a config
    if not isinstance(network, EncoderDecoder) or isinstance(network.decode_head, nn.ModuleList):
        raise ValueError(
            'the segmentor must be an mmseg EncoderDecoder with one decode head, not '
            f'{type(network).__name__}'
        )
    if network.out_channels < 2:
        raise ValueError(
            f'{type(network).__name__} has {network.out_channels} output channel: set num_classes '
            'to 2 or more'
        )
    return network


def logits_of_all_heads(network: EncoderDecoder, images: Tensor) -> list[Tensor]:
    """Logits of the decode head, then of the auxiliary heads, each (B, K, h, w) of its own size.

    Raises:
        TypeError: If a head gives anything but one map.
    """
    features = network.extract_feat(images)
    auxiliary = network.auxiliary_head if network.with_auxiliary_head else []
    heads = auxiliary if isinstance(auxiliary, (nn.ModuleList, list)) else [auxiliary]
    maps = []
    for head in (network.decode_head, *heads):
        logits = head(features)
        if not isinstance(logits, Tensor):
            raise TypeError(
                f'{type(head).__name__} gives a {type(logits).__name__} where one logit map is '
                'needed: use a head whose forward gives one'
            )
        maps.append(logits)
    return maps


def _inference_logits(
    network: EncoderDecoder, inputs: Tensor, data_samples: list[SegDataSample]
) -> Tensor:
    """Low-resolution logits of whole images, or logits of sliding windows at the inputs' size."""
    if network.test_cfg is not None and network.test_cfg.get('mode', 'whole') == 'slide':
        # mmseg writes the size of its windows into the metainfo
        return network.inference(inputs, [dict(sample.metainfo) for sample in data_samples])
    return network.decode_head(network.extract_feat(inputs))


def _tags_of(sample: SegDataSample) -> Sequence[int]:
    tags = sample.metainfo.get('image_tags')
    if tags is None:
        raise KeyError(
            f'{sample.metainfo.get("img_path", "an image")} has no image tags: add SetImageTags to '
            "the test pipeline and 'image_tags' to meta_keys, or set restrict_to_tags=False"
        )
    return tags


def network_logits(network: EncoderDecoder, images: Tensor) -> Tensor:
    """Logits of a network's decode head, (B, K, h, w) at the resolution that it gives."""
    return network.decode_head(network.extract_feat(images))


class SemiSegmentor(BaseModel):
    """A model of several mmseg segmentors, each of which predicts label maps.

    Args:
        predict_with: Which of them predicts `pred_sem_seg`.
        max_argmax_pixels: As in `LUSSSegmentor`.
        max_argmax_side: As in `LUSSSegmentor`.
        restrict_to_tags: Predict nothing but `image_tags` of each image.
        data_preprocessor: Config, normally `SemiPreprocessor`.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: If there is no such network.
    """

    network_names: tuple[str, ...]

    def __init__(
        self,
        predict_with: str,
        max_argmax_pixels: int = 1000 * 1000,
        max_argmax_side: int = 1000,
        restrict_to_tags: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if predict_with not in self.network_names:
            names = ' or '.join(map(repr, self.network_names))
            raise ValueError(f'predict_with must be {names}, not {predict_with!r}')
        self.predict_with = predict_with
        self.restrict_to_tags = restrict_to_tags
        self.decision_limits = (max_argmax_pixels, max_argmax_side)

    @property
    def align_corners(self) -> bool:
        """Whether logits are resized so."""
        return self.get_submodule(self.network_names[0]).align_corners

    def networks(self) -> dict[str, EncoderDecoder]:
        """The segmentors by name."""
        return {name: self.get_submodule(name) for name in self.network_names}

    def forward(
        self,
        inputs: Tensor | Mapping[str, Tensor],
        data_samples: list[SegDataSample] | Mapping[str, list[SegDataSample]] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[SegDataSample] | Tensor:
        """`loss` of a training batch; `predict` or logits (`predict_with`) of a batch of images."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return network_logits(self.networks()[self.predict_with], inputs)
        name = type(self).__name__
        raise ValueError(f'{name} has the modes loss, predict and tensor, not {mode!r}')

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Label maps of all networks at each image's original size.

        Args:
            inputs: Normalised images. Shape (B, 3, H, W).
            data_samples: With `ori_shape` and, where padded, `img_padding_size`; None for images as
                large as the inputs.

        Returns:
            The data samples with `pred_<name>` of each network and `pred_sem_seg` (that of
            `predict_with`), int64 of shape (1, ori_H, ori_W).

        Raises:
            KeyError: If `restrict_to_tags` and an image has no tags.
        """
        if data_samples is None:
            data_samples = [
                SegDataSample(metainfo=dict(ori_shape=tuple(inputs.shape[2:]))) for _ in inputs
            ]
        allowed = [_tags_of(sample) if self.restrict_to_tags else None for sample in data_samples]
        for name, network in self.networks().items():
            logits = _inference_logits(network, inputs, data_samples)
            for sample, sample_logits, ids in zip(data_samples, logits, allowed, strict=True):
                labels = decide_label_map(
                    sample_logits,
                    sample.metainfo,
                    inputs.shape[2:],
                    *self.decision_limits,
                    ids,
                    network.align_corners,
                )
                sample.set_data({f'pred_{name}': PixelData(data=labels)})
                if name == self.predict_with:
                    sample.set_data(dict(pred_sem_seg=PixelData(data=labels)))
        return data_samples


def refuse_views(
    inputs: Mapping[str, Tensor], views: Sequence[str], labelled: Sequence[SegDataSample]
) -> None:
    """Refuse a batch that lacks a view, whose views differ in size, or a labelled image's mask.

    Raises:
        ValueError: Naming the view or the image, and the fix.
    """
    if missing := [view for view in views if view not in inputs]:
        raise ValueError(f'the batch has no view {missing[0]!r}, only {list(inputs)}')
    sizes = {view: tuple(inputs[view].shape[2:]) for view in views}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f'views of unequal height and width {sizes}: crop all to one size and set the '
            "preprocessor's `size` to it"
        )
    for sample in labelled:
        if not sample.metainfo['has_mask']:
            raise ValueError(f'{_image(sample)} is among the labelled images, but has no mask')


class StudentTeacher(SemiSegmentor):
    """Student and teacher, how the teacher comes to be, and what both predict.

    `teacher` is None until `build_teacher` or a checkpoint with a teacher; then it is mmengine's
    ExponentialMovingAverage, whose `module` is the network. A subclass says what is learnt.

    Args:
        segmentor: Config of an mmseg EncoderDecoder with one decode head of two or more classes.
            Its `test_cfg` may be whole or slide; it needs no preprocessor.
        momentum: Share of the student in each average.
        predict_with: 'student' or 'teacher', whose label map is `pred_sem_seg`.
        **kwargs: As `SemiSegmentor`.

    Raises:
        ValueError: If the segmentor or a setting cannot be used.
    """

    network_names = ('student', 'teacher')

    def __init__(
        self,
        segmentor: dict,
        momentum: float = 0.004,
        predict_with: str = 'student',
        **kwargs: object,
    ) -> None:
        super().__init__(predict_with, **kwargs)
        self.student = build_segmentor(segmentor)
        self.register_module('teacher', None)
        self.num_classes = self.student.out_channels
        self.momentum = momentum

    def build_teacher(self) -> None:
        """Make the teacher: a copy of the student, where the student is."""
        self.teacher = ExponentialMovingAverage(
            self.student, momentum=self.momentum, update_buffers=True
        )

    def update_teacher(self) -> None:
        """Average parameters and buffers; the first update copies them."""
        self.teacher.update_parameters(self.student)

    def copy_to_teacher(self) -> None:
        """Make the teacher's parameters and buffers those of the student."""
        self.teacher.steps.zero_()  # mmengine copies at step 0
        self.teacher.update_parameters(self.student)

    def require_teacher(self) -> None:
        """Complain if there is no teacher.

        Raises:
            RuntimeError: If so.
        """
        if self.teacher is None:
            raise RuntimeError(
                f"{type(self).__name__} has no teacher yet: add dict(type='TeacherHook') to "
                'custom_hooks to train, or load a checkpoint of such a training'
            )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        """A checkpoint with a teacher builds it, so that tests and resumed runs have one."""
        if self.teacher is None and any(k.startswith(f'{prefix}teacher.') for k in state_dict):
            self.build_teacher()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, *args: object, **kwargs: object) -> 'StudentTeacher':
        """After a move to another device or dtype the tensors to average are others."""
        super()._apply(*args, **kwargs)
        if self.teacher is not None:
            self.teacher.avg_parameters = self.teacher.module.state_dict()
        return self

    def networks(self) -> dict[str, EncoderDecoder]:
        """Both networks by name, or the student alone if there is no teacher and none is needed.

        Raises:
            RuntimeError: If the teacher shall predict and there is none.
        """
        if self.predict_with == 'teacher':
            self.require_teacher()
        networks = dict(student=self.student)
        if self.teacher is not None:
            networks['teacher'] = self.teacher.module
        return networks
