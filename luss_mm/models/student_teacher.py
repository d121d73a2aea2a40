"""A segmentor that is trained and the running average of it, which teaches it."""

import torch
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from luss_mm.models.inner_segmentors import build_segmentor, predict_label_maps

NETWORKS = ('student', 'teacher')


class StudentTeacher(BaseModel):
    """Student and teacher, how the teacher comes to be, and what both predict.

    `teacher` is None until `build_teacher` or a checkpoint with a teacher; then it is mmengine's
    ExponentialMovingAverage, whose `module` is the network. A subclass says what is learnt.

    Args:
        segmentor: Config of an mmseg EncoderDecoder with one decode head of two or more classes.
            Its `test_cfg` may be whole or slide; it needs no preprocessor.
        momentum: Share of the student in each average.
        predict_with: 'student' or 'teacher', whose label map is `pred_sem_seg`.
        max_argmax_pixels: As in `LUSSSegmentor`.
        max_argmax_side: As in `LUSSSegmentor`.
        data_preprocessor: Config, normally `SemiPreprocessor`.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: If the segmentor or a setting cannot be used.
    """

    def __init__(
        self,
        segmentor: dict,
        momentum: float = 0.004,
        predict_with: str = 'student',
        max_argmax_pixels: int = 1000 * 1000,
        max_argmax_side: int = 1000,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if predict_with not in NETWORKS:
            raise ValueError(f"predict_with must be 'student' or 'teacher', not {predict_with!r}")
        self.student = build_segmentor(segmentor)
        self.register_module('teacher', None)
        self.num_classes = self.student.out_channels
        self.momentum = momentum
        self.predict_with = predict_with
        self.decision_limits = (max_argmax_pixels, max_argmax_side)

    @property
    def align_corners(self) -> bool:
        """Whether logits are resized so."""
        return self.student.align_corners

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

    def forward(
        self, inputs: object, data_samples: object = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[SegDataSample] | Tensor:
        """`loss` of a training batch; `predict` or logits (`predict_with`) of a batch of images."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return network_logits(self._networks()[self.predict_with], inputs)
        name = type(self).__name__
        raise ValueError(f'{name} has the modes loss, predict and tensor, not {mode!r}')

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Label maps of both networks at each image's original size.

        Args:
            inputs: Normalised images. Shape (B, 3, H, W).
            data_samples: With `ori_shape` and, where padded, `img_padding_size`.

        Returns:
            The data samples with `pred_student`, `pred_teacher` (once there is a teacher) and
            `pred_sem_seg` (that of `predict_with`), int64 of shape (1, ori_H, ori_W).

        Raises:
            RuntimeError: If the teacher shall predict and there is none.
        """
        data_samples = predict_label_maps(
            self._networks(), inputs, data_samples, *self.decision_limits
        )
        for sample in data_samples:
            chosen = sample.get(f'pred_{self.predict_with}')
            sample.set_data(dict(pred_sem_seg=PixelData(data=chosen.data)))
        return data_samples

    def _networks(self) -> dict[str, EncoderDecoder]:
        """Both networks by name, or the student alone if there is no teacher and none is needed."""
        if self.predict_with == 'teacher':
            self.require_teacher()
        networks = dict(student=self.student)
        if self.teacher is not None:
            networks['teacher'] = self.teacher.module
        return networks


def network_logits(network: EncoderDecoder, images: Tensor) -> Tensor:
    """Logits of a network's decode head, (B, K, h, w) at the resolution that it gives."""
    return network.decode_head(network.extract_feat(images))
