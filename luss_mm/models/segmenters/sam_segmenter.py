"""SAM as a promptable segmenter, and its network in any size."""

import importlib.util
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from luss_mm.functional.mask_prompts import MaskPrompt, cells_of_region, similarity_to_cells
from luss_mm.models.segmenters.promptable_segmenter import (
    PromptableSegmenter,
    SegmenterError,
    point_in_box,
)
from luss_mm.pickle_check import check_pickles
from luss_mm.work_dir.artifact import fingerprint_file

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

ADDRESS = 'https://dl.fbaipublicfiles.com/segment_anything/'
CHECKPOINTS = dict(
    vit_b='sam_vit_b_01ec64.pth', vit_l='sam_vit_l_0b3195.pth', vit_h='sam_vit_h_4b8939.pth'
)
MULTIMASK_OUTPUTS = 3  # PromptEncoder and SamPredictor know no other number
PIXEL_MEAN, PIXEL_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of SAM, RGB


@dataclass(frozen=True)
class SAMSizes:
    """Sizes of a SAM network; the defaults are ViT-B's.

    Attributes:
        image_size: Side of the padded square input in pixels, a multiple of patch_size.
        patch_size: Patch size of the encoder. Low-resolution logits have 4 / patch_size of the
            input's side.
        encoder_channels: Channels of the image encoder.
        encoder_depth: Blocks of the image encoder.
        encoder_heads: Heads of its attention.
        global_attention: Blocks without windows, from 0.
        window_size: Side of the other blocks' windows in patches.
        prompt_channels: Channels of image embedding, prompts and decoder; a multiple of 8.
        mask_channels: Channels of the encoder of mask inputs.
        decoder_depth: Blocks of the two-way transformer.
        decoder_heads: Heads of its attention.
        decoder_hidden_channels: Hidden channels of its MLPs.
        quality_channels: Channels of the head that predicts a mask's IoU.

    Source: Kirillov et al. 2023 (Segment Anything), appendix A; segment_anything 1.0.
    """

    image_size: int = 1024
    patch_size: int = 16
    encoder_channels: int = 768
    encoder_depth: int = 12
    encoder_heads: int = 12
    global_attention: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    prompt_channels: int = 256
    mask_channels: int = 16
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_hidden_channels: int = 2048
    quality_channels: int = 256


SIZES = dict(
    vit_b=SAMSizes(),
    vit_l=SAMSizes(
        encoder_channels=1024,
        encoder_depth=24,
        encoder_heads=16,
        global_attention=(5, 11, 17, 23),
    ),
    vit_h=SAMSizes(
        encoder_channels=1280,
        encoder_depth=32,
        encoder_heads=16,
        global_attention=(7, 15, 23, 31),
    ),
)


def resolve_sizes(model_type: str | Mapping[str, Any]) -> SAMSizes:
    """Sizes of a published model, or of a dict of `SAMSizes`' attributes.

    Raises:
        SegmenterError: If the name or an attribute is unknown.
    """
    if isinstance(model_type, str):
        if model_type not in SIZES:
            raise SegmenterError(
                f'model_type={model_type!r}: SAM comes as {", ".join(SIZES)}, or give a dict of '
                'sizes'
            )
        return SIZES[model_type]
    known = [field.name for field in fields(SAMSizes)]
    if unknown := sorted(set(model_type) - set(known)):
        raise SegmenterError(
            f'model_type: unknown sizes {", ".join(unknown)}; there are {", ".join(known)}'
        )
    given = dict(model_type)
    if 'global_attention' in given:
        given['global_attention'] = tuple(given['global_attention'])
    return SAMSizes(**given)


def build_sam(sizes: SAMSizes) -> 'Sam':
    """A SAM with random weights, on torch's default device, made of segment_anything's modules.

    Raises:
        SegmenterError: If segment_anything is not installed.
    """
    require_segment_anything()
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    grid = (sizes.image_size // sizes.patch_size,) * 2
    encoder = ImageEncoderViT(
        img_size=sizes.image_size,
        patch_size=sizes.patch_size,
        embed_dim=sizes.encoder_channels,
        depth=sizes.encoder_depth,
        num_heads=sizes.encoder_heads,
        out_chans=sizes.prompt_channels,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sizes.window_size,
        global_attn_indexes=sizes.global_attention,
    )
    prompt_encoder = PromptEncoder(
        embed_dim=sizes.prompt_channels,
        image_embedding_size=grid,
        input_image_size=(sizes.image_size,) * 2,
        mask_in_chans=sizes.mask_channels,
    )
    decoder = MaskDecoder(
        transformer_dim=sizes.prompt_channels,
        transformer=TwoWayTransformer(
            depth=sizes.decoder_depth,
            embedding_dim=sizes.prompt_channels,
            num_heads=sizes.decoder_heads,
            mlp_dim=sizes.decoder_hidden_channels,
        ),
        num_multimask_outputs=MULTIMASK_OUTPUTS,
        iou_head_hidden_dim=sizes.quality_channels,
    )
    return Sam(encoder, prompt_encoder, decoder, PIXEL_MEAN, PIXEL_STD)


def require_segment_anything() -> None:
    """Refuse to go on without the package.

    Raises:
        SegmenterError: If segment_anything is not installed.
    """
    if importlib.util.find_spec('segment_anything') is None:
        raise SegmenterError(
            "SAMSegmenter needs segment_anything: pip install 'segment-anything==1.0', or use "
            'GrabCutSegmenter'
        )


def load_sam(path: Path, sizes: SAMSizes) -> 'Sam':
    """A SAM with the weights of a file, on the CPU, float32, in eval mode, without gradients.

    Raises:
        SegmenterError: See `check_checkpoint`.
    """
    sam = _skeleton(sizes)
    state = _read_state(path)
    _check_state(path, state, sizes)
    sam.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    return sam.requires_grad_(False).eval()


def check_checkpoint(path: Path, sizes: SAMSizes) -> None:
    """Refuse a file that does not hold exactly this SAM, without reading its weights.

    Raises:
        SegmenterError: If the file is missing, damaged, cut short, could execute code, or holds
            another network.
    """
    _check_state(path, _read_state(path, in_place=True), sizes)


def _skeleton(sizes: SAMSizes) -> 'Sam':
    """A SAM whose weights have shapes only."""
    with torch.device('meta'):
        return build_sam(sizes)


def _read_state(path: Path, in_place: bool = False) -> dict[str, Tensor]:
    """State dict of a file; `in_place` leaves the weights on disk until somebody looks at them."""
    if not path.is_file():
        names = ', '.join(f'{ADDRESS}{name} ({kind})' for kind, name in CHECKPOINTS.items())
        raise SegmenterError(
            f"{path}: no such SAM checkpoint (key 'checkpoint' of SAMSegmenter). Get one of {names}"
        )
    try:
        check_pickles(path)
        state = torch.load(
            path,
            map_location='cpu',
            weights_only=True,
            mmap=in_place and zipfile.is_zipfile(path),  # torch's old format cannot
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged bytes can make the unpickler stumble over anything
        reason = str(error).split('\n')[0].split('. ')[0][:200]
        raise SegmenterError(
            f'{path}: refused: damaged, cut short, or not a file of tensors only '
            f'({type(error).__name__}: {reason}). Copy it again'
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SegmenterError(
            f'{path}: not a SAM checkpoint, which is a dict of tensors. Save the state dict alone'
        )
    return state


def _check_state(path: Path, state: Mapping[str, Tensor], sizes: SAMSizes) -> None:
    found = {name: tuple(value.shape) for name, value in state.items()}
    expected = _shapes(sizes)
    if found == expected:
        return
    for kind, published in SIZES.items():
        if found == _shapes(published):
            raise SegmenterError(
                f"{path}: holds SAM {kind}, but another is configured. Set model_type='{kind}', "
                f"or the key 'checkpoint' of SAMSegmenter to a file that fits"
            )
    wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    described = '; '.join(
        f'{name}: file {found.get(name, "nothing")}, model {expected.get(name, "nothing")}'
        for name in wrong[:3]
    )
    raise SegmenterError(
        f'{path}: does not fit model_type of SAMSegmenter; {len(wrong)} of {len(expected)} weights '
        f'differ ({described})'
    )


def _shapes(sizes: SAMSizes) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in _skeleton(sizes).state_dict().items()}


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
        checkpoint: State dict of SAM, e.g. a published file.
        model_type: `'vit_b'`, `'vit_l'`, `'vit_h'`, or a dict of `SAMSizes`.
        device: Where the network lives, see `to`.
        encoder_dtype: Dtype of the image encoder's matrix products: `'float32'`, `'bfloat16'` or
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
        return fingerprint_file(self.checkpoint)

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
            points_per_side: Points per side of the grid; crops of half the side have half as many.

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

        if min(image.shape[:2]) == 1:  # has no quarters to crop
            return []
        generator = Generator(self.sam, points_per_side, **AUTOMATIC_MASKS)
        generator.predictor.transform = self._transform  # which leaves thin images a row
        with torch.inference_mode():
            return [found['segmentation'] for found in generator.generate(image)]

    def _resize(self, image: np.ndarray) -> Tensor:
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
