"""Checkpoints: safe loading, key tables of published networks, and conversion both ways."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    loading=('AtomicLocalBackend', 'load_checkpoint'),
)
