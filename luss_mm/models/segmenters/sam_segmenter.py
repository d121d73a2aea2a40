"""SAM as a promptable segmenter: two passes of its decoder, all boxes of an image at once."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.mask_prompts import MaskPrompt
from luss_mm.functional.region_votes import cells_of_region, similarity_to_cells
from luss_mm.models.segmenters.promptable_segmenter import (
    PromptableSegmenter,
    SegmenterError,
    check_image,
    check_prompts,
    point_in_box,
)
from luss_mm.models.segmenters.sam_network import (
    check_checkpoint,
    load_sam,
    require_segment_anything,
    resolve_sizes,
)

EXCLUSIVE_CORNER = np.array([0, 0, 1, 1], dtype=np.float32)  # x0, y0, x1, y1
ENCODER_DTYPES = ('float32', 'bfloat16', 'float16')


class EncodedImage(NamedTuple):
    """What SAM's decoder needs of an image.

    Attributes:
        embedding: float32 (1, C, g, g) on the segmenter's device.
        size: Height and width of the image in pixels.
        input_size: Height and width of the part of the padded square that shows the image.
    """

    embedding: Tensor
    size: tuple[int, int]
    input_size: tuple[int, int]


class BoxPrompt(NamedTuple):
    """One prompt of SAM: a box of a class, and points, of which the first shows the class.

    One point is the class's, if the box contains it; two are that and one of something else.
    """

    index: int
    box: np.ndarray
    points: tuple[tuple[int, int], ...]


# SAM's automatic masks as UO-SAM's authors set them.
AUTOMATIC_MASKS = dict(
    pred_iou_thresh=0.86,
    stability_score_thresh=0.92,
    crop_n_layers=1,
    crop_n_points_downscale_factor=2,
    min_mask_region_area=100,
)


@MODELS.register_module()
class SAMSegmenter(PromptableSegmenter):
    """SAM (segment_anything 1.0), as `SamPredictor` would answer one box after the other.

    Every box is a prompt of its own, together with the class's point if the box contains it. The
    first pass asks for three masks; the low-resolution logits of the one that SAM scores best are
    a mask input of the second pass, which asks for one mask of the same prompt.

    Memory: `images_per_batch` images in the encoder (ViT-B in float32: 0.8 GB an image for one
    matrix of attention) and `prompts_per_batch` prompts in the decoder; masks of full size are
    made one after the other.

    Args:
        checkpoint: State dict of SAM: a published file, or one of `tools/train_small_sam.py`.
        model_type: `'vit_b'`, `'vit_l'`, `'vit_h'`, or a dict of `SAMSizes`.
        device: Where the network lives, see `to`.
        encoder_dtype: Of the image encoder's matrix products: `'float32'`, `'bfloat16'` or
            `'float16'`. The decoder is always float32.
        images_per_batch: Images that go through the encoder at once, at most. None: 2 on a GPU, 1
            on a CPU, where a ViT-B takes no less time for two of 1,024 pixels together.
        prompts_per_batch: Boxes of an image that go through the decoder at once, at most.

    Raises:
        SegmenterError: If model_type, encoder_dtype or a batch size is wrong.

    Source: Kirillov et al. 2023 (Segment Anything); PDSO for the two passes.
    """

    used_sam = True
    knows_objects = True

    def __init__(
        self,
        checkpoint: str | Path,
        model_type: str | Mapping[str, Any] = 'vit_b',
        device: torch.device | str = 'cpu',
        encoder_dtype: str = 'float32',
        images_per_batch: int | None = None,
        prompts_per_batch: int = 32,
    ) -> None:
        if encoder_dtype not in ENCODER_DTYPES:
            raise SegmenterError(
                f'encoder_dtype={encoder_dtype!r}: choose one of {", ".join(ENCODER_DTYPES)}'
            )
        if min(1 if images_per_batch is None else images_per_batch, prompts_per_batch) < 1:
            raise SegmenterError(
                f'images_per_batch {images_per_batch} and prompts_per_batch {prompts_per_batch} '
                'must be >= 1'
            )
        self.checkpoint = Path(checkpoint).expanduser()
        self.sizes = resolve_sizes(model_type)
        self.whole_image_side = self.sizes.image_size
        self.device = torch.device(device)
        self.encoder_dtype = encoder_dtype
        self.images_per_batch = images_per_batch
        self.prompts_per_batch = prompts_per_batch

    def check(self) -> None:
        """Refuse a missing package or a checkpoint that is missing, damaged or of another SAM.

        Looks at names and shapes of the weights, not at the weights.
        """
        require_segment_anything()
        check_checkpoint(self.checkpoint, self.sizes)

    def facts(self) -> dict[str, Any]:
        """Type, sizes, precision and the SHA-256 of the checkpoint."""
        return dict(
            type='SAMSegmenter',
            sizes={**asdict(self.sizes), 'global_attention': list(self.sizes.global_attention)},
            encoder_dtype=self.encoder_dtype,
            checkpoint_sha256=self._checkpoint_sha256,
        )

    def to(self, device: torch.device | str) -> 'SAMSegmenter':
        """Move to a device; images that were encoded before stay behind."""
        self.device = torch.device(device)
        if 'sam' in self.__dict__:
            self.sam.to(self.device)
        return self

    @cached_property
    def sam(self) -> Any:
        """The network, read from the checkpoint when it is first asked for."""
        return load_sam(self.checkpoint, self.sizes).to(self.device)

    @cached_property
    def _checkpoint_sha256(self) -> str:
        self.check()
        digest = hashlib.sha256()
        with open(self.checkpoint, 'rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    @cached_property
    def _transform(self) -> Any:
        from segment_anything.utils.transforms import ResizeLongestSide

        class ResizeToRows(ResizeLongestSide):
            """Also of an image so thin that rounding would leave it no row."""

            @staticmethod
            def get_preprocess_shape(height: int, width: int, longest: int) -> tuple[int, int]:
                sides = ResizeLongestSide.get_preprocess_shape(height, width, longest)
                return max(1, sides[0]), max(1, sides[1])

        return ResizeToRows(self.sizes.image_size)

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Image embeddings; see `PromptableSegmenter.encode`."""
        encoded = []
        size = self.images_per_batch or (1 if self.device.type == 'cpu' else 2)
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            resized = [self._resize(image) for image in batch]  # (3, h, w) each
            inputs = torch.stack([self.sam.preprocess(r) for r in resized])  # (B, 3, s, s)
            for image, small, embedding in zip(batch, resized, self._embed(inputs), strict=True):
                encoded.append(
                    EncodedImage(embedding[None], image.shape[:2], tuple(small.shape[1:]))
                )
        return encoded

    @torch.inference_mode()
    def segment(self, encoded: EncodedImage, prompts: Sequence[MaskPrompt]) -> list[np.ndarray]:
        """Masks of the prompts of one image; see `PromptableSegmenter.segment`."""
        check_prompts(encoded.size, prompts)
        masks = torch.zeros(len(prompts), *encoded.size, dtype=torch.bool, device=self.device)
        for batch in self._batches(prompts):
            for prompt, logits in zip(batch, self._decode_twice(encoded, batch), strict=True):
                masks[prompt.index] |= self._full_size_mask(encoded, logits)
        return list(masks.cpu().numpy())

    @torch.inference_mode()
    def similarity(self, encoded: EncodedImage, region: np.ndarray) -> np.ndarray:
        """How much every pixel's feature resembles the mean feature of a region.

        Args:
            encoded: The image's, of `encode`.
            region: bool (H, W), with at least one pixel.

        Returns:
            Cosine, enlarged as SAM's masks are. float32 (H, W).
        """
        features = encoded.embedding[0]  # (C, g, g)
        covered = tuple(side / self.sizes.patch_size for side in encoded.input_size)
        cells = torch.from_numpy(cells_of_region(region, features.shape[1:], covered))
        similarity = similarity_to_cells(features, cells.to(features.device))[None, None]
        low = F.interpolate(similarity, scale_factor=4, mode='bilinear')  # (1, 1, 4 g, 4 g)
        full = self.sam.postprocess_masks(low, encoded.input_size, encoded.size)
        return full[0, 0].cpu().numpy()

    def segment_everything(self, image: np.ndarray, points_per_side: int) -> list[np.ndarray]:
        """All masks that SAM finds from a grid of points, in float32, without a prompt of ours.

        Args:
            image: RGB uint8 (H, W, 3).
            points_per_side: Of the grid; crops of half the side have half as many.

        Returns:
            Of segment_anything's SamAutomaticMaskGenerator; none of an image that is one pixel high
            or wide. bool (H, W) each.
        """
        from segment_anything import SamAutomaticMaskGenerator

        class Generator(SamAutomaticMaskGenerator):
            """Also of an image without masks, whose crops would have boxes of no coordinates."""

            def _process_crop(self, *args: Any) -> Any:
                data = super()._process_crop(*args)
                data['crop_boxes'] = data['crop_boxes'].reshape(-1, 4)
                return data

        check_image(image)
        if min(image.shape[:2]) == 1:  # has no quarters to crop
            return []
        generator = Generator(self.sam, points_per_side, **AUTOMATIC_MASKS)
        generator.predictor.transform = self._transform  # which leaves thin images a row
        with torch.inference_mode():
            return [found['segmentation'] for found in generator.generate(image)]

    def _resize(self, image: np.ndarray) -> Tensor:
        check_image(image)
        resized = torch.from_numpy(self._transform.apply_image(image))
        return resized.to(self.device).permute(2, 0, 1)

    def _embed(self, inputs: Tensor) -> Tensor:
        """Image embeddings, float32 (B, C, g, g), of normalised squares (B, 3, s, s)."""
        dtype = getattr(torch, self.encoder_dtype)
        half = dtype != torch.float32
        with torch.autocast(self.device.type, dtype if half else None, enabled=half):
            embeddings = self.sam.image_encoder(inputs).float()
        if not embeddings.isfinite().all():
            raise SegmenterError(
                f"SAM's encoder gave NaN or infinity in {self.encoder_dtype}: set "
                "encoder_dtype='float32', or look at the checkpoint"
            )
        return embeddings

    def _batches(self, prompts: Sequence[MaskPrompt]) -> Iterator[list[BoxPrompt]]:
        """Boxes with as many points: SAM's batches are of one number of points."""
        flat = [
            BoxPrompt(index, box, _points(prompt, box))
            for index, prompt in enumerate(prompts)
            for box in prompt.boxes
        ]
        for num_points in range(3):
            group = [prompt for prompt in flat if len(prompt.points) == num_points]
            for start in range(0, len(group), self.prompts_per_batch):
                yield group[start : start + self.prompts_per_batch]

    def _decode_twice(self, encoded: EncodedImage, batch: list[BoxPrompt]) -> Tensor:
        """Low-resolution logits of the second pass, float32 (P, 1, 4 g, 4 g)."""
        # As PDSO's authors give them: the right and lower side lie behind the last pixel.
        boxes = np.stack([p.box for p in batch]) + EXCLUSIVE_CORNER
        sparse = dict(boxes=self._scaled(encoded, boxes.reshape(-1, 2, 2)), points=None)
        if batch[0].points:
            points = self._scaled(encoded, np.array([p.points for p in batch]))  # (P, n, 2)
            labels = torch.zeros(points.shape[:2], dtype=torch.int, device=self.device)
            labels[:, 0] = 1
            sparse['points'] = (points, labels)
        logits, scores = self._decode(encoded, sparse, masks=None, multimask_output=True)
        rows = torch.arange(len(batch), device=self.device)
        best = logits[rows, scores.argmax(dim=1)][:, None]  # (P, 1, 4 g, 4 g)
        if len(batch[0].points) < 2:
            return self._decode(encoded, sparse, masks=best, multimask_output=False)[0]
        found = [self._full_size_mask(encoded, low).cpu().numpy() for low in best]
        boxes = np.stack(
            [_bounding_box(m) if m.any() else b for m, b in zip(found, boxes, strict=True)]
        )
        sparse['boxes'] = self._scaled(encoded, boxes.reshape(-1, 2, 2))
        second = self._decode(encoded, sparse, masks=best, multimask_output=False)[0]
        empty = torch.tensor([not mask.any() for mask in found], device=self.device)
        return torch.where(empty[:, None, None, None], best, second)  # nothing stays nothing

    def _scaled(self, encoded: EncodedImage, xy: np.ndarray) -> Tensor:
        """Image pixels to pixels of SAM's input, float32 of the same shape (..., 2)."""
        scaled = self._transform.apply_coords(xy, encoded.size)
        return torch.as_tensor(scaled, dtype=torch.float32, device=self.device)

    def _decode(
        self, encoded: EncodedImage, sparse: dict, masks: Tensor | None, multimask_output: bool
    ) -> tuple[Tensor, Tensor]:
        """Low-resolution logits (P, M, 4 g, 4 g) and predicted IoU (P, M); M = 3 or 1."""
        sam = self.sam
        with torch.autocast(self.device.type, enabled=False):  # whatever the caller's precision
            sparse_embeddings, dense_embeddings = sam.prompt_encoder(**sparse, masks=masks)
            return sam.mask_decoder(
                image_embeddings=encoded.embedding,
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse_embeddings,
                dense_prompt_embeddings=dense_embeddings,
                multimask_output=multimask_output,
            )

    def _full_size_mask(self, encoded: EncodedImage, logits: Tensor) -> Tensor:
        """One prompt's logits (1, 4 g, 4 g) to a mask, bool (H, W)."""
        full = self.sam.postprocess_masks(logits[None], encoded.input_size, encoded.size)
        return full[0, 0] > self.sam.mask_threshold


def _points(prompt: MaskPrompt, box: np.ndarray) -> tuple[tuple[int, int], ...]:
    if prompt.other_point is not None:
        return prompt.point, prompt.other_point
    point = point_in_box(prompt.point, box)
    return () if point is None else (point,)


def _bounding_box(mask: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 of the first and last pixel of a mask, as UO-SAM gives its second pass."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float32)
