"""Learning rates that fall from the head of a network to its stem."""

import re
from collections.abc import Iterable

from mmengine.optim import DefaultOptimWrapperConstructor
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import Tensor, nn

BLOCK = re.compile(
    r'backbone\.(?:layers\.(?P<block>\d+)'  # ViT
    r'|(?:stages\.|layer)(?P<stage>\d+)\.(?P<stage_block>\d+)'  # ConvNeXt, ResNet
    r'|downsample_layers\.(?P<before_stage>[1-9]\d*))\.'  # ConvNeXt; the first one is its stem
)
FINAL_NORM = re.compile(r'backbone\.(?:norm|ln)\d*\.')
EMBEDDINGS = ('backbone.cls_token', 'backbone.pos_embed')


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
        names: Of all parameters of a segmentor, in any order.

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


STEM = (-1, -1)


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
