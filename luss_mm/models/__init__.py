"""Models: pixels to features to losses. Importing this package registers them with mmseg."""

from luss_mm.models.alignment_heads import DeepToShallowHead, PixelToPixelHead
from luss_mm.models.feature_queue import FeatureQueue
from luss_mm.models.luss_segmentor import LUSSSegmentor
from luss_mm.models.pass_pretrainer import PASSPretrainer
from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.models.prototype_head import PrototypeHead
from luss_mm.models.views_preprocessor import ViewsPreprocessor

__all__ = [
    'DeepToShallowHead',
    'FeatureQueue',
    'LUSSSegmentor',
    'PASSPretrainer',
    'PixelAttentionModel',
    'PixelToPixelHead',
    'PrototypeHead',
    'ViewsPreprocessor',
]
