"""LARS, and mixed precision on CPUs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn
from torch.optim import Optimizer

from luss_mm.functional.lars import scale_gradients


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """LARS as SwAV and PASS use it: Apex's LARC without clipping, around SGD with momentum.

    For each parameter p with gradient g: g' = (g + wd p) trust |p| / (|g| + wd |p| + eps), then
    buffer = momentum buffer + g' and p = p - lr buffer. The rate stays outside the buffer. A
    parameter whose norm or gradient norm is zero takes the plain SGD step with g' = g and *without*
    weight decay, exactly as LARC does (which hides the weight decay from SGD and adds it only where
    it scales). A parameter without a gradient is skipped, its buffer too.

    In a config with `default_scope='mmseg'`, `type='LARS'` is this class; mmpretrain's of the same
    name (coefficient `eta`, rate inside the momentum buffer) is `type='mmpretrain.LARS'`.

    Args:
        params: Parameters or parameter groups; each group may set all of the following.
        lr: Learning rate, >= 0.
        momentum: Momentum factor in [0, 1).
        weight_decay: L2 penalty, >= 0.
        trust_coefficient: Ratio of update norm to parameter norm at lr 1.
        epsilon: Added to the denominator.
        exclude_one_dimensional: Give biases and norm parameters (at most one dimension) the plain
            SGD step without weight decay. PASS scales them like all others.

    Raises:
        ValueError: If a setting is out of range.

    Source: You, Gitman, Ginsburg 2017; LARC in NVIDIA Apex; Caron et al. 2020 (SwAV).
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        epsilon: float = 1e-8,
        exclude_one_dimensional: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                'lr': lr,
                'momentum': momentum,
                'weight_decay': weight_decay,
                'trust_coefficient': trust_coefficient,
                'epsilon': epsilon,
                'exclude_one_dimensional': exclude_one_dimensional,
            },
        )

    def add_param_group(self, param_group: dict) -> None:
        """Add a group, checked like the first ones.

        Args:
            param_group: `params` and any of the settings of the constructor.
        """
        settings = {**self.defaults, **param_group}
        for name in ('lr', 'weight_decay', 'trust_coefficient', 'epsilon'):
            if not settings[name] >= 0:
                raise ValueError(f'LARS: {name} must be >= 0, got {settings[name]}')
        if not 0 <= settings['momentum'] < 1:
            raise ValueError(f'LARS: momentum must be in [0, 1), got {settings["momentum"]}')
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update all parameters that have a gradient.

        Args:
            closure: Recomputes the loss, with gradients; optional.

        Returns:
            The closure's loss, if there is one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameters in _split_by_kind(group['params']):
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict) -> None:
        gradients = [p.grad for p in parameters]
        if group['exclude_one_dimensional'] and parameters[0].ndim <= 1:
            updates = gradients
        else:
            updates = scale_gradients(
                parameters,
                gradients,
                group['weight_decay'],
                group['trust_coefficient'],
                group['epsilon'],
            )
        if group['momentum'] != 0:
            updates = self._accumulate(parameters, updates, group['momentum'])
        torch._foreach_add_(parameters, updates, alpha=-group['lr'])

    def _accumulate(
        self, parameters: list[Tensor], updates: list[Tensor], momentum: float
    ) -> list[Tensor]:
        for parameter in parameters:
            if 'momentum_buffer' not in self.state[parameter]:
                buffer = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                self.state[parameter]['momentum_buffer'] = buffer
        buffers = [self.state[p]['momentum_buffer'] for p in parameters]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, updates)
        return buffers


def _split_by_kind(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Parameters with gradients, in lists of one device, one dtype, and up to or over one axis."""
    kinds = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            raise RuntimeError('LARS needs dense gradients: set sparse=False in the embedding')
        kinds[parameter.device, parameter.dtype, parameter.ndim <= 1].append(parameter)
    return list(kinds.values())


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast on the CPU.

    bfloat16 has float32's range, so gradients need no scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around mmengine's own context."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
