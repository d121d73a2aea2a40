"""Checkpoints that execute no code, are written atomically and are found again after a kill."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_torch_safe_globals

from luss_mm.pipeline.artifact import write_atomically


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used."""


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_checkpoint(filename: str | Path, map_location: Any = None, logger: Any = None) -> dict:
    """Load a local checkpoint; mmengine calls this for load_from, resume and init_cfg.

    Args:
        filename: Local path.
        map_location: As torch.load.
        logger: Passed by mmengine.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds anything but tensors, numbers,
            strings and containers of them. mmengine would fall back to executing it.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise CheckpointError(f'{path}: no such checkpoint.')
    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path}: refused, since loading it could execute code ({_first_line(error)}). Convert '
            'it to a plain state dict on a machine that you can lose.'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f'{path}: damaged ({_first_line(error)}).') from error


class AtomicLocalBackend(LocalBackend):
    """mmengine file backend whose files are there wholly or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_atomically(filepath, bytes(obj))

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text."""
        write_atomically(filepath, obj.encode(encoding))


register_backend('atomic_local', AtomicLocalBackend, force=True)


def load_weights(model: torch.nn.Module, filename: str | Path) -> None:
    """Load a checkpoint of exactly this model, every key accounted for.

    Raises:
        CheckpointError: If keys or shapes do not fit.
    """
    state = load_checkpoint(filename, map_location='cpu')['state_dict']
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f'{filename}: does not fit the model. {error}') from error


def find_newest_checkpoint(directory: str | Path) -> Path | None:
    """Newest checkpoint of a training that loads, or None.

    mmengine's `last_checkpoint` file is not trusted: it may name a file that was cut short.
    """
    candidates = []
    for path in Path(directory).glob('*.pth'):
        if match := re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem):
            candidates.append((int(match[1]), path))
    for _, path in sorted(candidates, reverse=True):
        try:
            load_checkpoint(path, map_location='cpu')
        except CheckpointError as error:
            print_log(f'{error} Falling back to the one before.', logger='current')
        else:
            return path
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
