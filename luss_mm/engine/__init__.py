"""Thin mmengine glue. Importing this package registers runner, hooks, optimisers and loaders."""

from luss_mm.engine import hooks, optimizers
from luss_mm.engine.checkpoint import AtomicLocalBackend, load_checkpoint
from luss_mm.engine.inferencer import LUSSInferencer
from luss_mm.engine.merge_receptive_fields import MergeReceptiveFields
from luss_mm.engine.staged_runner import StagedRunner

__all__ = [
    'AtomicLocalBackend',
    'LUSSInferencer',
    'MergeReceptiveFields',
    'StagedRunner',
    'hooks',
    'load_checkpoint',
    'optimizers',
]
