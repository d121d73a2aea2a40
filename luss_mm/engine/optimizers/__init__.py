"""Optimisers and what wraps them. Importing registers them."""

from luss_mm.engine.optimizers.lars import LARS, CPUAmpOptimWrapper
from luss_mm.engine.optimizers.layer_decay import LayerDecayConstructor

__all__ = ['LARS', 'CPUAmpOptimWrapper', 'LayerDecayConstructor']
