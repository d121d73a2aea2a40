"""SAM networks of any size, and their checkpoints. Imports segment_anything only when called."""

import importlib.util
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from luss_mm.models.segmenters.promptable_segmenter import SegmenterError
from luss_mm.pickle_check import check_pickles

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
        patch_size: Of the encoder. Low-resolution logits have 4 / patch_size of the input's side.
        encoder_channels: Of the image encoder.
        encoder_depth: Blocks of the image encoder.
        encoder_heads: Of its attention.
        global_attention: Blocks without windows, from 0.
        window_size: Side of the other blocks' windows in patches.
        prompt_channels: Of image embedding, prompts and decoder; a multiple of 8.
        mask_channels: Of the encoder of mask inputs.
        decoder_depth: Blocks of the two-way transformer.
        decoder_heads: Of its attention.
        decoder_hidden_channels: Of its MLPs.
        quality_channels: Of the head that predicts a mask's IoU.

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
