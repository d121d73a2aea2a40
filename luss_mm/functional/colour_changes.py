"""Colour jitter, grey and blur of a whole batch at once, each image by its own drawn numbers."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Columns of a drawn change: four factors, the operation that comes first, second ..., grey, sigma.
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDER = slice(4, 8)
GREY, SIGMA = 8, 9
NUM_COLUMNS = 10
NO_CHANGE = (1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0)
GREY_WEIGHTS = (0.299, 0.587, 0.114)


@torch.no_grad()
def change_colours(images: Tensor, changes: Tensor, max_sigma: float = 2.0) -> Tensor:
    """Apply drawn colour changes; the same as OpenCV does image by image, but for its rounding.

    There is no branch on values, so nothing waits for the device: every operation runs on all
    images and leaves alone those that it is not drawn for.

    Args:
        images: RGB in [0, 255], uint8 or float. Shape (B, 3, h, w).
        changes: Brightness, contrast and saturation factors, hue shift in turns, the order of
            these four (indices 0 to 3), 1 where grey, and the standard deviation of the blur in
            pixels, 0 for none. Float, shape (B, 10).
        max_sigma: Bound on the standard deviations; decides the size of the kernel.

    Returns:
        RGB in [0, 255], float32. Shape (B, 3, h, w).

    Source: SwAV's augmentation (Caron et al. 2020), as `datasets.transforms.colour`.
    """
    changes = changes.float()
    image = images.float()
    for turn in range(4):
        operation = changes[:, ORDER][:, turn]
        image = _jitter(image, changes, operation)
    grey = (changes[:, GREY] > 0)[:, None, None, None]
    image = torch.where(grey, to_grey(image).round().expand_as(image), image)
    return blur(image, changes[:, SIGMA], max_sigma)


def to_grey(images: Tensor) -> Tensor:
    """Luma of RGB images. Shape (B, 3, h, w) to (B, 1, h, w)."""
    weights = images.new_tensor(GREY_WEIGHTS).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def blur(images: Tensor, sigmas: Tensor, max_sigma: float) -> Tensor:
    """Gaussian blur of each image with its own standard deviation, reflected at the border.

    Args:
        images: Float. Shape (B, C, h, w).
        sigmas: In pixels; 0 leaves an image as it is. Shape (B,).
        max_sigma: Larger ones are cut off at three times this.

    Returns:
        Shape (B, C, h, w).
    """
    batch, channels, height, width = images.shape
    radius = min(round(3 * max_sigma), height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    # OpenCV's kernel for 8-bit images ends at three standard deviations.
    reach = torch.floor((torch.round(sigmas * 6 + 1)) / 2)[:, None]
    spread = sigmas.clamp(min=1e-6)[:, None]
    weights = torch.exp(-0.5 * (offsets / spread) ** 2) * (offsets.abs() <= reach)
    weights = weights / weights.sum(dim=1, keepdim=True)  # (B, 2 radius + 1)
    kernels = weights.repeat_interleave(channels, dim=0)[:, None]  # (B C, 1, n)
    flat = images.reshape(1, batch * channels, height, width)
    padded = F.pad(flat, (radius, radius, radius, radius), mode='reflect')
    across = F.conv2d(padded, kernels[:, :, None, :], groups=batch * channels)
    both = F.conv2d(across, kernels[:, :, :, None], groups=batch * channels)
    return both.view(batch, channels, height, width)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the colour circle of RGB images.

    Args:
        images: In [0, 255]. Shape (B, 3, h, w).
        turns: Turns of the circle, any number. Shape (B,).

    Returns:
        Shape (B, 3, h, w), float.
    """
    value, brightest = images.max(dim=1)
    chroma = value - images.amin(dim=1)
    red, green, blue = images.unbind(dim=1)
    scale = 1 / chroma.clamp(min=1e-6)
    sixths = torch.where(
        brightest == 0,
        (green - blue) * scale,
        torch.where(brightest == 1, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    sixths = sixths + 6 * turns[:, None, None]
    # An RGB channel is the value less the chroma's share that its distance on the circle costs.
    channels = []
    for start in (5, 3, 1):
        distance = (start + sixths) % 6
        channels.append(value - chroma * torch.minimum(distance, 4 - distance).clamp(0, 1))
    return torch.stack(channels, dim=1)


def _jitter(image: Tensor, changes: Tensor, operation: Tensor) -> Tensor:
    """The one of the four operations that is each image's turn."""

    def factor(column: int) -> Tensor:
        drawn = torch.where(operation == column, changes[:, column], 1.0)
        return drawn[:, None, None, None]

    image = (image * factor(BRIGHTNESS)).clamp(0, 255).round()
    mean = to_grey(image).mean(dim=(2, 3), keepdim=True).round()
    contrast = factor(CONTRAST)
    image = (image * contrast + mean * (1 - contrast)).clamp(0, 255).round()
    saturation = factor(SATURATION)
    grey = to_grey(image).round()
    image = (image * saturation + grey * (1 - saturation)).clamp(0, 255).round()
    turns = torch.where(operation == HUE, changes[:, HUE], 0.0)
    turned = shift_hue(image, turns).clamp(0, 255).round()
    return torch.where((turns != 0)[:, None, None, None], turned, image)
