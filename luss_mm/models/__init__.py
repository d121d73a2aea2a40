"""Models: pixels to features to losses. Importing this package registers them with mmseg."""

from luss_mm.models import segmenters
from luss_mm.models.attended_backbone import ForegroundModel
from luss_mm.models.balanced_assignment import FeatureQueue
from luss_mm.models.contrastive_pretrainer import ContrastivePretrainer
from luss_mm.models.deeplab import (
    DeepLabV3PlusHead,
    HardPixelCrossEntropy,
    WindowSegmentor,
)
from luss_mm.models.dssn_segmentor import DSSNSegmentor
from luss_mm.models.foreground import FeatureLength, FoundHead, FoundModel
from luss_mm.models.frozen_segmentor import FrozenSegmentor, MapsPreprocessor
from luss_mm.models.heads import (
    DeepToShallowHead,
    LinearHead,
    PixelToPixelHead,
    PooledCategoryHead,
    ProjectionHead,
    PrototypeHead,
)
from luss_mm.models.image_classifier import AttendedClassifier, ImageClassifier
from luss_mm.models.luss_segmentor import LUSSSegmentor, LUSSTTAModel
from luss_mm.models.pass_pretrainer import PASSPretrainer
from luss_mm.models.pct_segmentor import PCTSegmentor
from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.models.preprocessors import SemiPreprocessor, ViewsPreprocessor
from luss_mm.models.receptive_fields import ReceptiveFieldSegmentor
from luss_mm.models.timm_feature_maps import TIMMFeatureMaps

__all__ = [
    'AttendedClassifier',
    'ContrastivePretrainer',
    'DSSNSegmentor',
    'DeepLabV3PlusHead',
    'DeepToShallowHead',
    'FeatureLength',
    'FeatureQueue',
    'ForegroundModel',
    'FrozenSegmentor',
    'FoundHead',
    'FoundModel',
    'HardPixelCrossEntropy',
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
    'ProjectionHead',
    'PrototypeHead',
    'ReceptiveFieldSegmentor',
    'SemiPreprocessor',
    'TIMMFeatureMaps',
    'ViewsPreprocessor',
    'WindowSegmentor',
    'segmenters',
]
