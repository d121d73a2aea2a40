"""Models: pixels to features to losses. Importing this package registers them with mmseg."""

from luss_mm.models import segmenters
from luss_mm.models.alignment_heads import DeepToShallowHead, PixelToPixelHead
from luss_mm.models.attended_backbone import ForegroundModel
from luss_mm.models.dssn_segmentor import DSSNSegmentor
from luss_mm.models.feature_queue import FeatureQueue
from luss_mm.models.foreground import FeatureLength, FoundHead
from luss_mm.models.found_model import FoundModel
from luss_mm.models.frozen_segmentor import FrozenSegmentor, MapsPreprocessor
from luss_mm.models.image_classifier import AttendedClassifier, ImageClassifier
from luss_mm.models.linear_head import LinearHead
from luss_mm.models.luss_segmentor import LUSSSegmentor
from luss_mm.models.pass_pretrainer import PASSPretrainer
from luss_mm.models.pct_segmentor import PCTSegmentor
from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.models.pooled_category_head import PooledCategoryHead
from luss_mm.models.prototype_head import PrototypeHead
from luss_mm.models.receptive_fields import ReceptiveFieldSegmentor
from luss_mm.models.semi_preprocessor import SemiPreprocessor
from luss_mm.models.timm_feature_maps import TIMMFeatureMaps
from luss_mm.models.tta_model import LUSSTTAModel
from luss_mm.models.views_preprocessor import ViewsPreprocessor

__all__ = [
    'AttendedClassifier',
    'DSSNSegmentor',
    'DeepToShallowHead',
    'FeatureLength',
    'FeatureQueue',
    'ForegroundModel',
    'FrozenSegmentor',
    'FoundHead',
    'FoundModel',
    'ImageClassifier',
    'LUSSSegmentor',
    'LUSSTTAModel',
    'LinearHead',
    'MapsPreprocessor',
    'PASSPretrainer',
    'PCTSegmentor',
    'PixelAttentionModel',
    'PixelToPixelHead',
    'PooledCategoryHead',
    'PrototypeHead',
    'ReceptiveFieldSegmentor',
    'SemiPreprocessor',
    'TIMMFeatureMaps',
    'ViewsPreprocessor',
    'segmenters',
]
