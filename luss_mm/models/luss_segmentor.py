"""Segmentors that are trained on label maps, also on a frozen backbone, and how they predict."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import ModuleList
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder, SegTTAModel
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor

from luss_mm.functional.cross_check import category_cross_entropy, disputed_pixels
from luss_mm.functional.pixel_assignment import foreground_probability, resize_score
from luss_mm.models.label_decision import ForegroundRefiner, decide_label_map, full_size_logits

COMPATIBILITY = dict(position=3, colour=10)
POSITION_SPREAD = 3  # pixels, of the kernel without colour
COLOUR_SPREADS = dict(sxy=32, srgb=13)  # pixels and levels of 255, of the kernel with colour


def require_pydensecrf() -> None:
    """Refuse to begin without the package.

    Raises:
        ModuleNotFoundError: Naming what to install.
    """
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(
            "dense_crf=True needs pydensecrf2: pip install -e '.[crf]' (it compiles C++)"
        ) from error


def dense_crf(probabilities: np.ndarray, image: np.ndarray, iterations: int = 1) -> np.ndarray:
    """Move the borders of classes to edges of colour.

    Args:
        probabilities: Summing to 1 over the classes. float32 (K, H, W).
        image: RGB uint8 (H, W, 3).
        iterations: Iterations of the mean field approximation.

    Returns:
        Probabilities, float32 (K, H, W).

    Source: Kraehenbuehl and Koltun 2011; kernels and one iteration as in Learning Pseudo Labels.
    """
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    num_classes, height, width = probabilities.shape
    field = DenseCRF2D(width, height, num_classes)
    field.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    field.addPairwiseGaussian(sxy=POSITION_SPREAD, compat=COMPATIBILITY['position'])
    field.addPairwiseBilateral(
        rgbim=np.ascontiguousarray(image), compat=COMPATIBILITY['colour'], **COLOUR_SPREADS
    )
    return np.array(field.inference(iterations), np.float32).reshape(probabilities.shape)


@MODELS.register_module()
class LUSSSegmentor(EncoderDecoder):
    """mmseg's EncoderDecoder with a loss at reduced resolution and chunked argmax at inference.

    Inference keeps the low-resolution logits and one full-size label map, never K full-size maps,
    so the data samples carry `pred_sem_seg` but no `seg_logits` unless they are asked for.

    Args:
        *args: As `EncoderDecoder`.
        loss_stride: The loss is taken at every loss_stride-th pixel of the label map.
        max_argmax_pixels: Images with more pixels than this are decided at a longest side of
            `max_argmax_side` and enlarged by nearest neighbour.
        max_argmax_side: See above.
        refine: Config of a segmenter in mmseg's MODELS, such as dict(type='GrabCutSegmenter'), that
            decides where the foreground of a prediction is (see `ForegroundRefiner`). Inside it,
            every pixel takes the most probable id other than 0. Data samples then say `refined_by`.
            None: ids are the argmax of all logits.
        seg_logits: Whether data samples carry the full-size logits too, as those of mmseg do: 4 K
            bytes a pixel, 0.9 GB for 920 ids of a 500 x 500 image. Refining does not change them.
        **kwargs: As `EncoderDecoder`.

    Raises:
        ValueError: If `test_cfg.mode` is 'slide', which keeps all full-size logits; or if
            predictions are to be refined, but have fewer than two ids, the decode head has
            `align_corners=True`, or `data_preprocessor` does not tell how images are normalised.
    """

    def __init__(
        self,
        *args: object,
        loss_stride: int = 2,
        max_argmax_pixels: int = 1000 * 1000,
        max_argmax_side: int = 1000,
        refine: dict | None = None,
        seg_logits: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.test_cfg is not None and self.test_cfg.get('mode', 'whole') != 'whole':
            raise ValueError(
                "LUSSSegmentor predicts whole images: set test_cfg=dict(mode='whole') or use "
                "mmseg's EncoderDecoder for sliding windows"
            )
        if refine is not None and self.align_corners:
            raise ValueError('refine needs a decode head with align_corners=False')
        self.loss_stride = loss_stride
        self.max_argmax_pixels = max_argmax_pixels
        self.max_argmax_side = max_argmax_side
        self.seg_logits = seg_logits
        if refine is not None and self.out_channels < 2:
            raise ValueError(f'refine needs two or more ids, not {self.out_channels}')
        self.refiner = refine and ForegroundRefiner(refine, self.data_preprocessor)

    @property
    def refined_by(self) -> str | None:
        """Type of the segmenter that refines predictions."""
        return self.refiner and self.refiner.name

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses at the reduced resolution; see `EncoderDecoder.loss`."""
        return super().loss(inputs, [self._thin_label(sample) for sample in data_samples])

    def _thin_label(self, sample: SegDataSample) -> SegDataSample:
        labels = sample.gt_sem_seg.data[:, :: self.loss_stride, :: self.loss_stride]
        return SegDataSample(metainfo=sample.metainfo, gt_sem_seg=PixelData(data=labels))

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Label maps at each image's original size.

        Args:
            inputs: Normalised images. Shape (B, 3, H, W).
            data_samples: With `ori_shape` and, where padded, `img_padding_size` and `img_shape`.

        Returns:
            The data samples with `pred_sem_seg`, int64 of shape (1, ori_H, ori_W), if they were
            refined `refined_by`, and if they were asked for `seg_logits` (K + 1, ori_H, ori_W).
        """
        logits = self.decode_head(self.extract_feat(inputs))  # (B, K + 1, h, w)
        if data_samples is None:
            data_samples = [
                SegDataSample(metainfo=dict(ori_shape=tuple(inputs.shape[2:]))) for _ in inputs
            ]
        for sample, sample_logits, image in zip(data_samples, logits, inputs, strict=True):
            if self.refiner is None:
                labels = self._decide(sample_logits, image, sample)
            else:
                foreground = self.refiner.foreground(sample_logits, image, sample.metainfo)
                categories = self._decide(sample_logits[1:], image, sample) + 1
                labels = torch.where(foreground, categories, 0)
                sample.set_metainfo(dict(refined_by=self.refined_by))
            sample.set_data(dict(pred_sem_seg=PixelData(data=labels)))
            if self.seg_logits:
                full = full_size_logits(
                    sample_logits, sample.metainfo, image.shape[1:], self.align_corners
                )
                sample.set_data(dict(seg_logits=PixelData(data=full)))
        return data_samples

    def _decide(self, logits: Tensor, image: Tensor, sample: SegDataSample) -> Tensor:
        """Index of the largest logit of every pixel, (1, ori_H, ori_W)."""
        return decide_label_map(
            logits,
            sample.metainfo,
            image.shape[1:],
            self.max_argmax_pixels,
            self.max_argmax_side,
            align_corners=self.align_corners,
        )


@MODELS.register_module()
class LUSSTTAModel(SegTTAModel):
    """mmseg's SegTTAModel that asks a `LUSSSegmentor` for its logits.

    Args:
        module: Config of a segmentor, as mmseg's `tools/test.py --tta` sets it, or the segmentor.
        average: What is averaged over the views: 'probabilities', as mmseg does, or 'logits'.
        dense_crf: Whether borders are then moved to edges of colour, see `dense_crf`.
        **kwargs: As `SegTTAModel`.

    Raises:
        ValueError: If there is no such average.
        ModuleNotFoundError: If a dense CRF is asked for without its package.
    """

    def __init__(
        self,
        module: Any,
        average: str = 'probabilities',
        dense_crf: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, **kwargs)
        if average not in ('probabilities', 'logits'):
            raise ValueError(f"average is 'probabilities' or 'logits', not {average!r}")
        if dense_crf:
            require_pydensecrf()
        self.average = average
        self.dense_crf = dense_crf
        if isinstance(self.module, LUSSSegmentor):
            self.module.seg_logits = True

    def test_step(self, data: dict[str, list]) -> list[SegDataSample]:
        """Predict several views of each image and merge them.

        Args:
            data: `inputs` and `data_samples`, a list of batches, one a view.

        Returns:
            Data samples of the first view with `pred_sem_seg`, int64 (1, ori_H, ori_W).
        """
        views = [
            dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)
        ]
        images = zip(*data['inputs'], strict=True)
        predictions = zip(*(self.module.test_step(view) for view in views), strict=True)
        return [self._merge(i, samples) for i, samples in zip(images, predictions, strict=True)]

    def _merge(self, images: Sequence[Tensor], samples: Sequence[SegDataSample]) -> SegDataSample:
        logits = torch.stack([sample.seg_logits.data for sample in samples])  # (V, K, H, W)
        if self.average == 'logits':
            probabilities = logits.mean(dim=0).softmax(dim=0)
        else:
            probabilities = logits.softmax(dim=1).mean(dim=0)
        if self.dense_crf:
            image = self._image(images, samples, probabilities.shape[1:])
            found = dense_crf(probabilities.float().cpu().numpy(), image)
            probabilities = torch.from_numpy(found)
        labels = probabilities.argmax(dim=0, keepdim=True)
        samples[0].set_data(dict(pred_sem_seg=PixelData(data=labels)))
        return samples[0]

    def _image(
        self, images: Sequence[Tensor], samples: Sequence[SegDataSample], size: torch.Size
    ) -> np.ndarray:
        """The largest view that is not flipped at the size of the file, RGB uint8 (H, W, 3)."""
        plain = [i for i, sample in zip(images, samples, strict=True) if not sample.get('flip')]
        pixels = max(plain, key=Tensor.numel).permute(1, 2, 0).cpu().numpy()  # as OpenCV reads it
        return np.ascontiguousarray(cv2.resize(pixels, (size[1], size[0]))[:, :, ::-1])


@MODELS.register_module()
class MapsPreprocessor(SegDataPreProcessor):
    """mmseg's SegDataPreProcessor, which also takes batches of cached maps."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepare a batch.

        Args:
            data: Data from `PackCachedMaps`: `inputs`, for each level the maps (C, h, w) of the
                images, and `data_samples`; or of images as for `SegDataPreProcessor`.
            training: As for `SegDataPreProcessor`.

        Returns:
            The same keys; of maps `inputs` is a list of float32 (B, C, h, w).
        """
        if isinstance(data['inputs'][0], Tensor):
            return super().forward(data, training)
        # float32 before they are stacked: a CPU's autocast cannot stack float16.
        levels = [
            torch.stack([maps.to(self.device).float() for maps in level])
            for level in data['inputs']
        ]
        return dict(inputs=levels, data_samples=self.cast_data(data['data_samples']))


@MODELS.register_module()
class FrozenSegmentor(LUSSSegmentor):
    """LUSSSegmentor whose backbone never changes, so that its maps may be computed beforehand.

    Training takes cached maps or images, everything else images.

    With `check_labels` two further heads learn half of the images each. While `self_training` is
    set (`SelfTrainingHook`), the head learns no longer whether a pixel is an object where the one
    that has not learnt its image contradicts the label; if it is one, it still learns which.

    Args:
        *args: As `LUSSSegmentor`.
        decode_head: As for `LUSSSegmentor`.
        map_outputs: Which of the backbone's outputs the cached maps are, in their order.
        check_labels: Whether labels are checked; data samples then have a `sample_idx`.
        **kwargs: As `LUSSSegmentor`; the data preprocessor is a `MapsPreprocessor`.
    """

    def __init__(
        self,
        *args: object,
        decode_head: dict,
        map_outputs: Sequence[int] = (),
        check_labels: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, decode_head=decode_head, **kwargs)
        self.map_outputs = tuple(map_outputs)
        self.backbone.requires_grad_(False)
        self.peers = ModuleList(MODELS.build(decode_head) for _ in range(2 * check_labels))
        self.self_training = False

    def train(self, mode: bool = True) -> 'FrozenSegmentor':
        """Set training mode of everything but the backbone, whose batch norms would change."""
        super().train(mode)
        self.backbone.eval()
        return self

    def loss(
        self, inputs: list[Tensor] | Tensor, data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: Cached maps, float32 (B, C, h, w) for each of `map_outputs`; or normalised
                images (B, 3, H, W).
            data_samples: With label maps.

        Returns:
            Losses of the head; with `check_labels` also those of the two others, `peers.loss`, and
            while `self_training` is set the share of disputed pixels, `disputed`.
        """
        if not self.peers:
            return super().loss(inputs, data_samples)
        features = self.extract_feat(inputs)
        samples = [self._thin_label(sample) for sample in data_samples]
        labels = torch.cat([sample.gt_sem_seg.data for sample in samples])  # (B, H, W)
        index = [sample.sample_idx for sample in samples]
        folds = torch.tensor(index, device=labels.device) % len(self.peers)
        ignored = self.decode_head.ignore_index
        disputed = torch.zeros_like(labels, dtype=torch.bool)
        peers_loss = 0.0
        for fold, peer in enumerate(self.peers):
            unseen = (folds == fold)[:, None, None]
            learnt = _with_labels(samples, labels.masked_fill(unseen, ignored))
            # All images, so that ranks take the same steps of a synchronised batch norm.
            logits = peer(features)  # (B, K + 1, h, w)
            losses = peer.loss_by_feat(logits, learnt)
            peers_loss += sum(value for name, value in losses.items() if 'loss' in name)
            if self.self_training:
                score = resize_score(foreground_probability(logits.movedim(1, 0)), labels.shape[1:])
                disputed |= unseen & disputed_pixels(labels, score > 0.5, ignored)
        logits = self.decode_head(features)  # (B, K + 1, h, w)
        labels_left = labels.masked_fill(disputed, ignored)
        left = self.decode_head.loss_by_feat(logits, _with_labels(samples, labels_left))
        losses = add_prefix(left, 'decode') | {'peers.loss': peers_loss}
        if self.self_training:
            enlarged = resize(
                logits, labels.shape[1:], mode='bilinear', align_corners=self.align_corners
            )
            category_loss = category_cross_entropy(enlarged, labels, disputed)
            number = (
                (labels_left != ignored).sum().clamp(min=1)
            )  # as many pixels as `left` averages
            losses['decode.loss_category'] = category_loss / number
            losses['disputed'] = disputed.float().mean()
        return losses

    def extract_feat(self, inputs: list[Tensor] | Tensor) -> Sequence[Tensor | None]:
        """Outputs of the backbone, None for those that are not among the cached maps."""
        if isinstance(inputs, Tensor):
            return super().extract_feat(inputs)
        features: list[Tensor | None] = [None] * (max(self.map_outputs) + 1)
        for output, level in zip(self.map_outputs, inputs, strict=True):
            features[output] = level
        return features


def _with_labels(samples: Sequence[SegDataSample], labels: Tensor) -> list[SegDataSample]:
    """Samples with other label maps, (B, H, W)."""
    return [
        SegDataSample(metainfo=sample.metainfo, gt_sem_seg=PixelData(data=labels[i : i + 1]))
        for i, sample in enumerate(samples)
    ]


@MODELS.register_module()
class WindowSegmentor(EncoderDecoder):
    """EncoderDecoder whose sliding windows add up probabilities instead of logits.

    The windows begin at multiples of the stride in both directions, and those that reach over the
    border are cut off there; mmseg moves them inwards. What is returned are sums of probabilities,
    whose argmax is the prediction.

    Source: UniMatch's evaluation on Cityscapes, which DSSN's code has taken over.
    """

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Sums of the windows' probabilities. Shape (B, K, H, W)."""
        height, width = inputs.shape[2:]
        rows, columns = self.test_cfg['crop_size']
        down, across = self.test_cfg['stride']
        sums = inputs.new_zeros((len(inputs), self.out_channels, height, width))
        for top in range(0, height, down):
            for left in range(0, width, across):
                window = (..., slice(top, top + rows), slice(left, left + columns))
                metas = [dict(meta, img_shape=inputs[window].shape[2:]) for meta in batch_img_metas]
                sums[window] += self.encode_decode(inputs[window], metas).softmax(dim=1)
        return sums
