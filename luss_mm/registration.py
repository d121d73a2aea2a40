"""How our classes and our loader of checkpoints join mmseg and mmengine, once those are imported.

`import luss_mm` costs milliseconds so: the network code of torch, mmcv and mmseg is imported when
something is first looked up in one of mmseg's registries. As mmseg's own classes, which its
registries import from their `locations`.
"""

import contextlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

EVERYTHING = 'luss_mm.registered'
REGISTRIES = (  # of mmseg that hold something of ours
    'DATASETS',
    'DATA_SAMPLERS',
    'HOOKS',
    'INFERENCERS',
    'METRICS',
    'MODELS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'RUNNERS',
    'TASK_UTILS',
    'TRANSFORMS',
    'VISUALIZERS',
)
ONEDL_DATASET = 'mmseg.datasets.onedl'


def register_on_use() -> None:
    """Join the registries, replace mmengine's loader and keep mmseg's imports quiet and short."""
    sys.meta_path.insert(0, _AroundImports(IMPORTS))
    # Of mmcv-lite, where nothing that we use needs it.
    warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')


@contextlib.contextmanager
def joined_registries() -> Iterator[None]:
    """Around the import of `mmseg.registry`: add our classes to what its registries import."""
    yield
    registries = [getattr(sys.modules['mmseg.registry'], name) for name in REGISTRIES]
    for registry in registries:
        registry._locations = [*registry._locations, EVERYTHING]  # there is no public way
    if any(registry._imported for registry in registries):
        import_module(EVERYTHING)


@contextlib.contextmanager
def replaced_loader() -> Iterator[None]:
    """Around the import of mmengine's loaders of checkpoints: ours takes their place."""
    yield
    import_module('luss_mm.checkpoints.loading')


@contextlib.contextmanager
def without_onedl() -> Iterator[None]:
    """Around the import of mmseg's data sets: the one that needs the package onedl is left out.

    Without that package it loads nothing, but it takes seconds to import (all of mmpretrain), and
    two lines say that others are missing.
    """
    if importlib.util.find_spec('onedl') is None:
        sys.modules[ONEDL_DATASET] = None  # importing it fails
    try:
        with without_prints():
            yield
    finally:
        if sys.modules.get(ONEDL_DATASET, ...) is None:
            del sys.modules[ONEDL_DATASET]


@contextlib.contextmanager
def without_prints() -> Iterator[None]:
    """Around the import of mmpretrain's data sets: a line about a missing package is not shown."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


IMPORTS: dict[str, Callable[[], AbstractContextManager]] = {
    'mmengine.runner.checkpoint': replaced_loader,
    'mmseg.registry': joined_registries,
    'mmseg.datasets': without_onedl,
    'mmpretrain.datasets': without_prints,
}


class _AroundImports(MetaPathFinder):
    """Runs a context manager around the first import of each of some modules.

    Args:
        managers: Name of a module to its context manager; used at once where it is imported.
    """

    def __init__(self, managers: dict[str, Callable[[], AbstractContextManager]]) -> None:
        self.managers = managers
        for name, manager in managers.items():
            if name in sys.modules:
                with manager():
                    pass

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders have, whose loader works within the manager."""
        if name not in self.managers:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (f.find_spec(name, path, target) for f in others if hasattr(f, 'find_spec'))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_within(module: ModuleType) -> None:
                with self.managers[name]():
                    execute(module)

            spec.loader.exec_module = execute_within
        return spec
