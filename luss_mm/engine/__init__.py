"""Thin mmengine glue. Importing this package registers runner, hooks and optimisers."""

from luss_mm.engine import hooks, optimizers
from luss_mm.engine.receptive_fields import MergeReceptiveFields
from luss_mm.engine.staged_runner import StagedRunner

__all__ = [
    'MergeReceptiveFields',
    'StagedRunner',
    'hooks',
    'optimizers',
]
