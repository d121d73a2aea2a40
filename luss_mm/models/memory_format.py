"""Convolution weights in the memory order of the images."""

import torch
from torch import nn


def use_channels_last(model: nn.Module) -> None:
    """Store convolution weights channels last, so that no layer reorders anything.

    1x1 weights are the same in both orders and keep their strides: DistributedDataParallel would
    copy their gradients if they claimed others.

    Args:
        model: Changed in place.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4 and parameter.shape[2] * parameter.shape[3] > 1:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
