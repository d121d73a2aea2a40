"""Whether torch.compile works on this machine, before hours of training need it."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.device import get_device

from luss_mm.recipes.settings import SettingsError


def check_compile(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Compile one operation with the settings of every stage that mmengine will compile.

    Args:
        stages: Name of each training stage to its resolved config, with mmengine's key `compile` or
            without it.

    Raises:
        SettingsError: If `compile` is neither a bool nor a dict, or torch cannot compile with it.
    """
    tried: list[Mapping[str, Any]] = []
    for name, stage in stages.items():
        wanted = stage.get('compile')
        if wanted is None or wanted is False:
            continue
        settings = {} if wanted is True else wanted
        if not isinstance(settings, Mapping):
            raise SettingsError(
                f'stages.{name}.compile: True, False or the arguments of torch.compile, not '
                f'{wanted!r}'
            )
        if settings not in tried:
            _try_to_compile(name, settings)
            tried.append(settings)


def _try_to_compile(name: str, settings: Mapping[str, Any]) -> None:
    try:
        torch.compile(lambda x: x.sin() + 1, **settings)(torch.zeros(4, device=get_device()))
    except Exception as error:  # of dynamo, of the backend, or of the compiler: no common class
        reason = ' '.join(str(error).partition('\n\n')[0].split()).rstrip('.')
        raise SettingsError(
            f'stages.{name}.compile: torch.compile fails here: {reason}. Set compile=False, or '
            "install what it lacks (the backend 'inductor' needs g++ on a CPU, Triton on a GPU)."
        ) from error
