"""Backbones of timm, an optional package."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class TIMMFeatureMaps(BaseModule):
    """Feature maps of a convolutional network of timm.

    mmseg's and mmpretrain's wrappers pass any keyword on, so that a misspelt one is found by timm
    at best, and they name the weights by which way timm takes to the feature maps. Here they have
    timm's own names below `network`.

    Args:
        model_name: As timm.create_model, for instance 'xception65'.
        out_indices: Which of timm's feature maps are returned, shallow ones first.
        output_stride: 8, 16 or 32: strides beyond it become dilations.
        init_cfg: Where weights come from. timm's own download is not used.

    Raises:
        ModuleNotFoundError: If timm is not installed.
        ValueError: If timm has no such network, or it has no such feature maps.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (1, 4),
        output_stride: int = 16,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ModuleNotFoundError as error:
            if error.name != 'timm':
                raise
            raise ModuleNotFoundError(
                f'the backbone {model_name!r} is one of timm, which is not installed: '
                'pip install timm',
                name='timm',
            ) from error
        if not timm.is_model(model_name):
            raise ValueError(f'timm {timm.__version__} has no network {model_name!r}')
        self.network = timm.create_model(
            model_name, pretrained=False, num_classes=0, output_stride=output_stride
        )
        self.out_indices = tuple(out_indices)
        gives_maps = hasattr(self.network, 'forward_intermediates')
        number = len(self.network.feature_info) if gives_maps else 0
        if max(self.out_indices) >= number:
            raise ValueError(
                f'out_indices={self.out_indices}: {model_name} of timm {timm.__version__} has '
                f'{number} feature maps'
            )
        # Layers that no map needs would learn nothing: data-parallel training waits for them.
        self.network.prune_intermediate_layers(list(self.out_indices))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of a batch.

        Args:
            images: Normalised. Shape (B, 3, H, W).

        Returns:
            One map (B, C, h, w) for each of `out_indices`.
        """
        return tuple(
            self.network.forward_intermediates(
                images, indices=list(self.out_indices), intermediates_only=True
            )
        )
