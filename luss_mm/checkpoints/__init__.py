"""Checkpoints: safe loading, key tables of published networks, and conversion both ways.

Importing this package registers the loader.
"""

from luss_mm.checkpoints.loading import AtomicLocalBackend, load_checkpoint

__all__ = ['AtomicLocalBackend', 'load_checkpoint']
