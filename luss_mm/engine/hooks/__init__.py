"""Hooks: read runner state, call one function, write state. Importing registers them."""

from luss_mm.engine.hooks.backend_pictures import BackendPicturesHook
from luss_mm.engine.hooks.class_names import ClassNamesHook, PredictionVisualizationHook
from luss_mm.engine.hooks.epoch_seed import EpochSeedHook
from luss_mm.engine.hooks.feature_queue import FeatureQueueHook
from luss_mm.engine.hooks.final_validation import FinalValidationHook
from luss_mm.engine.hooks.finite_loss import FiniteLossHook
from luss_mm.engine.hooks.pictures import PicturesHook
from luss_mm.engine.hooks.preflight import PreflightHook
from luss_mm.engine.hooks.pretrained_weights import PretrainedWeightsHook
from luss_mm.engine.hooks.prototypes import PrototypesHook
from luss_mm.engine.hooks.receptive_fields import ReceptiveFieldHook
from luss_mm.engine.hooks.self_training import SelfTrainingHook
from luss_mm.engine.hooks.steps import (
    ClusterHook,
    CSDHook,
    DFFHook,
    FeatureMapsHook,
    PseudoLabelHook,
    SelectionHook,
)
from luss_mm.engine.hooks.stop_request import StopRequestHook
from luss_mm.engine.hooks.tagged_labels import TaggedLabelHook
from luss_mm.engine.hooks.teacher import TeacherHook

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
]
