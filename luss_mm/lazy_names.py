"""Names of a package whose modules are imported when the names are first used."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, **modules: tuple[str, ...]
) -> tuple[Callable[[str], Any], tuple[str, ...]]:
    """The `__getattr__` and `__all__` of a package (PEP 562).

    Args:
        package: Its name.
        **modules: Module of the package -> names that the package takes from it; a module without
            names is itself one of the package's names.
    """
    homes = {name: module for module, names in modules.items() for name in names or (module,)}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        module = import_module(f'{package}.{homes[name]}')
        return getattr(module, name) if modules[homes[name]] else module

    return get, tuple(sorted(homes))
