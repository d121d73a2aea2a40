"""Layer-wise adaptive rate scaling (LARS) of gradients, for many parameters at once."""

import torch
from torch import Tensor


@torch.no_grad()
def scale_gradients(
    parameters: list[Tensor],
    gradients: list[Tensor],
    weight_decay: float,
    trust_coefficient: float,
    epsilon: float = 1e-8,
) -> list[Tensor]:
    """Scale each gradient to its parameter's norm; weight decay is part of what is scaled.

    With |.| the Euclidean norm over the whole tensor:
    g' = (g + wd p) trust |p| / (|g| + wd |p| + eps), and g' = g, without weight decay, where |p| or
    |g| is zero. No value is read back to the host.

    Args:
        parameters: n tensors of one device and dtype.
        gradients: Their gradients, same shapes; left as they are.
        weight_decay: wd, L2 penalty.
        trust_coefficient: Ratio of the update's norm to the parameter's norm, before the rate.
        epsilon: Keeps the division finite.

    Returns:
        n new tensors g'.

    Source: You, Gitman, Ginsburg, Large Batch Training of Convolutional Networks (2017), eq. 6, as
        in NVIDIA Apex's LARC without clipping, which SwAV and PASS train with.
    """
    if not parameters:
        return []
    parameter_norms = torch.stack(torch._foreach_norm(parameters))  # (n,)
    gradient_norms = torch.stack(torch._foreach_norm(gradients))  # (n,)
    scalable = (parameter_norms != 0) & (gradient_norms != 0)
    ratios = trust_coefficient * parameter_norms
    ratios /= gradient_norms + weight_decay * parameter_norms + epsilon
    ratios = torch.where(scalable, ratios, 1.0)
    scaled = torch._foreach_mul(gradients, list(ratios.unbind()))
    if weight_decay != 0:
        decays = torch.where(scalable, weight_decay * ratios, 0.0)
        torch._foreach_addcmul_(scaled, parameters, list(decays.unbind()))
    return scaled
