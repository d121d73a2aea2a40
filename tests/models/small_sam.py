"""SAMs with random weights that answer in milliseconds, and prompts for them."""

import numpy as np
import torch

from luss_mm.functional.mask_prompts import MaskPrompt
from luss_mm.models.segmenters.sam_segmenter import SAMSizes, build_sam

SIZES = dict(
    image_size=64,
    patch_size=8,
    encoder_channels=16,
    encoder_depth=2,
    encoder_heads=2,
    global_attention=(1,),
    window_size=4,
    prompt_channels=32,
    mask_channels=8,
    decoder_heads=2,
    decoder_hidden_channels=32,
    quality_channels=16,
)


def write_sam(path, **changes):
    """Checkpoint of random weights that make neither empty nor full masks; returns the network."""
    torch.manual_seed(0)
    sam = build_sam(SAMSizes(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter in sam.image_encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # SAM starts positions at zero
    torch.save(sam.state_dict(), path)
    return sam


def random_image(size, seed=0):
    """Smooth colours with some noise, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[:height, :width][..., None] / max(size)
    waves = np.sin(6 * (x * rng.normal(size=3) + y * rng.normal(size=3)) + rng.normal(size=3))
    noisy = 128 + 90 * waves + rng.normal(0, 20, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def prompt(size, *boxes, point=None, category=1):
    """A prompt whose region is its boxes, each x0, y0, x1, y1 as shares of the image's sides."""
    height, width = size
    pixels = np.array(boxes, np.float32).reshape(-1, 4) * ([width - 1, height - 1] * 2)
    pixels = pixels.round().astype(np.float32)
    region = np.zeros(size, dtype=bool)
    for x0, y0, x1, y1 in pixels.astype(int):
        region[y0 : y1 + 1, x0 : x1 + 1] = True
    if point is not None:
        point = round(point[0] * (width - 1)), round(point[1] * (height - 1))
    return MaskPrompt(category, pixels, point, region)
