"""Models: pixels to features to losses. Importing this package registers them with mmseg."""

from luss_mm.models import segmenters
from luss_mm.models.alignment_heads import DeepToShallowHead, PixelToPixelHead
from luss_mm.models.feature_queue import FeatureQueue
from luss_mm.models.image_classifier import AttendedClassifier, ImageClassifier
from luss_mm.models.linear_head import LinearHead
from luss_mm.models.luss_segmentor import LUSSSegmentor
from luss_mm.models.pass_pretrainer import PASSPretrainer
from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.models.prototype_head import PrototypeHead
from luss_mm.models.receptive_fields import ReceptiveFieldSegmentor
from luss_mm.models.views_preprocessor import ViewsPreprocessor

__all__ = [
    'AttendedClassifier',
    'DeepToShallowHead',
    'FeatureQueue',
    'ImageClassifier',
    'LUSSSegmentor',
    'LinearHead',
    'PASSPretrainer',
    'PixelAttentionModel',
    'PixelToPixelHead',
    'PrototypeHead',
    'ReceptiveFieldSegmentor',
    'ViewsPreprocessor',
    'segmenters',
]
