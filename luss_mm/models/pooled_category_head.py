"""A head whose predictions are object or not first, and then a category of the neighbourhood."""

from mmseg.models.decode_heads import SegformerHead
from mmseg.registry import MODELS
from torch import Tensor

from luss_mm.functional.category_pooling import pool_categories


@MODELS.register_module()
class PooledCategoryHead(SegformerHead):
    """SegformerHead that is trained as ever and predicts by `pool_categories`.

    Args:
        *args: As `SegformerHead`.
        category_window: Radius of the neighbourhood, as a share of the short side; 0 for none.
        **kwargs: As `SegformerHead`.
    """

    def __init__(self, *args: object, category_window: float = 0.0, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.category_window = category_window

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Maps of the backbone to logits (B, K + 1, h, w)."""
        logits = super().forward(inputs)
        return logits if self.training else pool_categories(logits, self.category_window)
