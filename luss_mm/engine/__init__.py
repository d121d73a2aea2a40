"""Thin mmengine glue."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    hooks=(),
    receptive_fields=('MergeReceptiveFields', 'ReceptiveFieldHook'),
    optimizers=('LARS', 'CPUAmpOptimWrapper', 'LayerDecayConstructor'),
    staged_runner=('StagedRunner',),
)
