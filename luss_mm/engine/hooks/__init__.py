"""Hooks: read runner state, call one function, write state. Importing registers them."""

from luss_mm.engine.hooks.model_state import (
    FeatureQueueHook,
    PrototypesHook,
    SelfTrainingHook,
    TeacherHook,
)
from luss_mm.engine.hooks.results import (
    BackendPicturesHook,
    ClassNamesHook,
    FinalValidationHook,
    PicturesHook,
    PredictionVisualizationHook,
)
from luss_mm.engine.hooks.safeguards import (
    EpochSeedHook,
    FiniteLossHook,
    PreflightHook,
    PretrainedWeightsHook,
    StopRequestHook,
)
from luss_mm.engine.hooks.steps import (
    ClusterHook,
    CSDHook,
    DFFHook,
    FeatureMapsHook,
    PseudoLabelHook,
    SelectionHook,
)
from luss_mm.engine.hooks.tagged_labels import TaggedLabelHook
from luss_mm.engine.hooks.training_progress import TrainingProgressHook
from luss_mm.engine.receptive_fields import ReceptiveFieldHook

__all__ = [
    'BackendPicturesHook',
    'CSDHook',
    'ClassNamesHook',
    'ClusterHook',
    'DFFHook',
    'EpochSeedHook',
    'FeatureMapsHook',
    'FeatureQueueHook',
    'FinalValidationHook',
    'FiniteLossHook',
    'PicturesHook',
    'PredictionVisualizationHook',
    'PreflightHook',
    'PretrainedWeightsHook',
    'PrototypesHook',
    'PseudoLabelHook',
    'ReceptiveFieldHook',
    'SelectionHook',
    'SelfTrainingHook',
    'StopRequestHook',
    'TaggedLabelHook',
    'TeacherHook',
    'TrainingProgressHook',
]
