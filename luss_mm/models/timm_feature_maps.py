"""Backbones of timm, an optional package."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

# What makes networks of timm take images of any size; each knows at most one of them.
ANY_SIZE = (dict(dynamic_img_size=True), dict(strict_img_size=False), {})


@MODELS.register_module()
class TIMMFeatureMaps(BaseModule):
    """Feature maps of a network of timm, convolutional or a transformer.

    mmseg's and mmpretrain's wrappers pass any keyword on, so that a misspelt one is found by timm
    at best, and they name the weights by which way timm takes to the feature maps. Here they have
    timm's own names below `network`.

    A transformer's maps pass its last normalisation, as DINOv2's do when they are used. Images
    whose sides are no multiples of its patch, or of `size_divisor`, are stretched to the next ones,
    so that the maps cover the whole image.

    Args:
        model_name: As timm.create_model, for instance 'xception65' or 'vit_small_patch14_dinov2'.
        out_indices: Which of timm's feature maps are returned, shallow ones first.
        output_stride: 8, 16 or 32: strides beyond it become dilations. None: the network's own.
        size_divisor: Pixels that sides of images are multiples of; 4 for Swin, 32 for HRNet.
            That of a plain transformer is its patch.
        frozen: Never train it; it stays in eval mode, so that statistics of batch norm stay too.
        init_cfg: Where weights come from. timm's own download is not used.
        **options: Options of timm's network, for instance `drop_path_rate`; others are refused.

    Raises:
        ModuleNotFoundError: If timm is not installed.
        ValueError: If timm has no such network, or it has no such feature maps or options.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (1, 4),
        output_stride: int | None = None,
        size_divisor: int = 1,
        frozen: bool = False,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__(init_cfg)
        timm = import_timm(model_name)
        if output_stride is not None:
            options['output_stride'] = output_stride
        self.network = _create(timm, model_name, options)
        self.out_indices = tuple(out_indices)
        number = len(feature_levels(self.network))
        if max(self.out_indices) >= number:
            raise ValueError(
                f'out_indices={self.out_indices}: {model_name} of timm {timm.__version__} has '
                f'{number} feature maps'
            )
        # Layers that no map needs would learn nothing: data-parallel training waits for them.
        self.network.prune_intermediate_layers(list(self.out_indices))
        self.is_plain_transformer = is_plain_transformer(self.network)
        self.size_divisors = (size_divisor, size_divisor)
        if self.is_plain_transformer:
            self.size_divisors = tuple(self.network.patch_embed.patch_size)
        self.frozen = frozen
        self.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> 'TIMMFeatureMaps':
        """Set training mode, unless the network is frozen."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of a batch.

        Args:
            images: Normalised. Shape (B, 3, H, W).

        Returns:
            One map (B, C, h, w) for each of `out_indices`.
        """
        sides = zip(images.shape[2:], self.size_divisors, strict=True)
        whole = tuple(-(-side // divisor) * divisor for side, divisor in sides)
        if whole != tuple(images.shape[2:]):
            images = F.interpolate(images, whole, mode='bilinear', align_corners=False)
        return tuple(
            self.network.forward_intermediates(
                images,
                indices=list(self.out_indices),
                norm=self.is_plain_transformer,
                intermediates_only=True,
            )
        )


def import_timm(model_name: str) -> ModuleType:
    """The package, which must know a network.

    Raises:
        ModuleNotFoundError: If timm is not installed.
        ValueError: If it has no network of that name.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != 'timm':
            raise
        raise ModuleNotFoundError(
            f'the backbone {model_name!r} is one of timm, which is not installed: pip install timm',
            name='timm',
        ) from error
    if not timm.is_model(model_name):
        raise ValueError(f'timm {timm.__version__} has no network {model_name!r}')
    return timm


def feature_levels(network: nn.Module) -> list[dict[str, Any]]:
    """What timm tells of the feature maps of a network: `num_chs` and `reduction` of each.

    Empty if it gives none.
    """
    gives_maps = hasattr(network, 'forward_intermediates')
    return [dict(level) for level in network.feature_info] if gives_maps else []


def is_plain_transformer(network: nn.Module) -> bool:
    """Whether all maps of a network are grids of the same patches."""
    levels = feature_levels(network)
    patch = getattr(getattr(network, 'patch_embed', None), 'patch_size', None)
    return patch is not None and {level['reduction'] for level in levels} == {max(patch)}


def _create(timm: ModuleType, model_name: str, options: dict[str, Any]) -> nn.Module:
    reason = None
    for any_size in ANY_SIZE:
        try:
            return timm.create_model(
                model_name, pretrained=False, num_classes=0, **any_size, **options
            )
        except TypeError as error:  # an unknown keyword, before anything is built
            reason = error
    raise ValueError(f'{model_name} of timm {timm.__version__}: {reason}') from reason
