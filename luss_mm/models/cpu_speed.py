"""What makes networks fast on CPUs: the order of weights in memory, and bfloat16."""

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


def cpu_has_fast_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AMX or AVX-512).

    Measured with AVX-512 alone: ResNet-18, forward and backward, takes 0.54 of the time of float32
    (`tools/benchmarks/pretraining_step.py`).
    """
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
