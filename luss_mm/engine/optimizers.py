"""LARS, learning rates that fall from the head to the stem, and mixed precision on CPUs."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn
from torch.optim import Optimizer

from luss_mm.functional.lars import scale_gradients

BLOCK = re.compile(
    r'backbone\.(?:layers\.(?P<block>\d+)'  # ViT
    r'|(?:stages\.|layer)(?P<stage>\d+)\.(?P<stage_block>\d+)'  # ConvNeXt, ResNet
    r'|downsample_layers\.(?P<before_stage>[1-9]\d*))\.'  # ConvNeXt; the first one is its stem
)
FINAL_NORM = re.compile(r'backbone\.(?:norm|ln)\d*\.')
EMBEDDINGS = ('backbone.cls_token', 'backbone.pos_embed')
STEM = (-1, -1)


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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """A parameter of layer i of L trains with lr decay^(L - i), see `layer_depths`.

    Parameters with one axis, the class token and position embeddings have no weight decay. The
    constructors of mmseg and mmpretrain do not serve: mmseg's knows BEiT, MAE and ConvNeXt (in
    groups of three blocks) only, mmpretrain's asks the model for `get_layer_depth`, which mmseg's
    segmentors lack.

    `paramwise_cfg` holds `layer_decay` and `searched`: empty or, for `ReceptiveFieldSegmentor`, a
    dict of `layer_decay` and `multiplier` for the parameters that `searched_parameters` names.

    Args:
        optim_wrapper_cfg: With the optimizer, whose lr and weight_decay are those of the head.
        paramwise_cfg: See above.

    Raises:
        ValueError: If a key is missing or unknown.

    Source: ImageNetSegModel; Bao et al. 2022 (BEiT).
    """

    def _validate_cfg(self) -> None:
        keys = set(self.paramwise_cfg)
        if keys != {'layer_decay', 'searched'}:
            raise ValueError(f'paramwise_cfg has layer_decay and searched, not {sorted(keys)}')
        searched = self.paramwise_cfg['searched']
        if searched and set(searched) != {'layer_decay', 'multiplier'}:
            raise ValueError(f'searched has layer_decay and multiplier, not {sorted(searched)}')

    def add_params(self, params: list[dict], module: nn.Module, **kwargs: object) -> None:
        """Append one group for each pair of rate and weight decay.

        Args:
            params: Parameter groups.
            module: The model, unwrapped.
            **kwargs: Not used.
        """
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        depths = layer_depths(name for name, _ in module.named_parameters())
        last = max(depths.values())
        searched = self.paramwise_cfg['searched']
        chosen = module.searched_parameters() if searched else frozenset()
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, parameter in trained.items():
            rule = searched if name in chosen else self.paramwise_cfg
            scale = rule.get('multiplier', 1) * rule['layer_decay'] ** (last - depths[name])
            is_decayed = parameter.ndim > 1 and name not in EMBEDDINGS
            weight_decay = self.base_wd * is_decayed
            groups.setdefault((scale, weight_decay), []).append(parameter)
        for (scale, weight_decay), parameters in groups.items():
            params.append(
                dict(params=parameters, lr=self.base_lr * scale, weight_decay=weight_decay)
            )


def layer_depths(names: Iterable[str]) -> dict[str, int]:
    """Depth of the layer that each parameter belongs to.

    Args:
        names: Names of all parameters of a segmentor, in any order.

    Returns:
        0 for the stem and embeddings; 1, 2 ... for the blocks of the backbone in order, ConvNeXt's
        downsampling layers counting as blocks; the last one for final norms and the head.

    Raises:
        ValueError: If the backbone has no blocks whose names are known.
    """
    places = {name: _place(name) for name in names}
    blocks = sorted({place for place in places.values() if place is not None and place[0] >= 0})
    if not blocks:
        raise ValueError(
            'layer decay knows the blocks of ViT (layers.N), ConvNeXt (stages.N.M) and ResNet '
            '(layerN.M); this backbone has none'
        )
    depth_of = {place: depth for depth, place in enumerate(blocks, start=1)}
    depth_of |= {None: len(blocks) + 1, STEM: 0}
    return {name: depth_of[place] for name, place in places.items()}


def _place(name: str) -> tuple[int, int] | None:
    """(stage, block), STEM, or None behind the blocks."""
    if not name.startswith('backbone.') or FINAL_NORM.match(name):
        return None
    match = BLOCK.match(name)
    if match is None:
        return STEM
    if match['block']:
        return 0, int(match['block'])
    if match['before_stage']:
        return int(match['before_stage']), -1
    return int(match['stage']), int(match['stage_block'])
