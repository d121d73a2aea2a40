"""Models: pixels to features to losses."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    attended_backbone=('AttendedClassifier', 'ForegroundModel', 'ImageClassifier'),
    balanced_assignment=('FeatureQueue',),
    contrastive_pretrainer=('ContrastivePretrainer',),
    dssn_segmentor=('DSSNSegmentor',),
    foreground=('FeatureLength', 'FoundHead', 'FoundModel'),
    heads=(
        *('DeepLabV3PlusHead', 'DeepToShallowHead', 'HardPixelCrossEntropy', 'LinearHead'),
        *('PixelToPixelHead', 'PooledCategoryHead', 'ProjectionHead', 'PrototypeHead'),
    ),
    luss_segmentor=(
        *('FrozenSegmentor', 'LUSSSegmentor', 'LUSSTTAModel', 'MapsPreprocessor'),
        'WindowSegmentor',
    ),
    pass_pretrainer=('PASSPretrainer',),
    pct_segmentor=('PCTSegmentor',),
    pixel_attention_model=('PixelAttentionModel',),
    preprocessors=('SemiPreprocessor', 'ViewsPreprocessor'),
    receptive_fields=('ReceptiveFieldSegmentor',),
    segmenters=(),
    timm_feature_maps=('TIMMFeatureMaps',),
)
