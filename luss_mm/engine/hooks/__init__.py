"""Hooks: read runner state, call one function, write state."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    model_state=('FeatureQueueHook', 'PrototypesHook', 'SelfTrainingHook', 'TeacherHook'),
    results=(
        'BackendPicturesHook',
        'ClassNamesHook',
        'FinalValidationHook',
        'PicturesHook',
        'PredictionVisualizationHook',
        'StageVisualizer',
        'TrainingProgressHook',
    ),
    safeguards=(
        'EpochSeedHook',
        'FiniteLossHook',
        'PreflightHook',
        'PretrainedWeightsHook',
        'StopRequestHook',
    ),
    steps=(
        'CSDHook',
        'ClusterHook',
        'DFFHook',
        'FeatureMapsHook',
        'PseudoLabelHook',
        'SelectionHook',
        'TaggedLabelHook',
    ),
)
