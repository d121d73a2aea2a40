"""Checkpoints that execute no code, are written atomically and are found again after a kill."""

import os
import pickle
import re
import reprlib
from argparse import Namespace
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dist import barrier
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    get_external_models,
    get_torch_safe_globals,
    get_torchvision_models,
)

from luss_mm.checkpoints.key_mapping import KeyMappingError, map_keys
from luss_mm.checkpoints.layouts import BACKBONE_LAYOUTS
from luss_mm.packaged_weights import TIMM, PackagedWeights, checkpoint_file, find_packaged
from luss_mm.pickle_check import check_pickles
from luss_mm.recipes.settings import did_you_mean
from luss_mm.work_dir.atomic_files import write_atomically

# Named collections of mmengine and where their addresses come from.
COLLECTIONS = {
    'torchvision': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
}
ARRAY_MODULES = ('numpy._core.multiarray', 'numpy.core.multiarray')
UNSAFE = re.compile(r'(?i)unsupported (?:global:?|class) (?:GLOBAL )?([\w.]+)')
BACKBONE = 'backbone.'  # before the weights of a whole model's backbone
LOADING, MMENGINE = 'LUSS_MM_LOADING', 'mmengine'  # variable, and its value to opt out
PATHS = ('pathlib', 'pathlib._local')  # the second from Python 3.13 on
STATISTICS = ('current', 'max', 'mean', 'min')
NUMBER_TYPES = (
    *(bool, np.uint8, np.uint32, np.int8, np.int16, np.int32, np.int64),
    *(np.float16, np.float32, np.float64),
)


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used."""


def load_checkpoint(filename: str | Path, map_location: Any = None, logger: Any = None) -> dict:
    """Load a checkpoint; mmengine calls this for load_from, resume and init_cfg.

    That holds for the whole process once this package is imported, unless the variable
    `LUSS_MM_LOADING=mmengine` is set: then only this package's own tools load by it.

    Args:
        filename: Local path, http(s) address, `torchvision://name`, `open-mmlab://name`,
            `package:name`: weights of an installed package (`PACKAGED_WEIGHTS`), converted, or
            `timm:name`: published by timm, for `TIMMFeatureMaps`.
        map_location: As torch.load.
        logger: Passed by mmengine.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds anything but tensors, numbers,
            strings, paths and containers of them.
        PermissionError: If the file may not be read.
    """
    try:
        package = find_packaged(filename)
        is_named = package or str(filename).startswith(TIMM)
        path = checkpoint_file(filename) if is_named else _local_file(str(filename))
    except FileNotFoundError as error:
        raise CheckpointError(str(error)) from error
    if not path.is_file():
        raise CheckpointError(f'{path}: no such checkpoint.')
    if str(filename).startswith(TIMM):
        return _of_timm(path, str(filename).removeprefix(TIMM), map_location)
    content = _load_safely(path, map_location)
    return _converted(path, content, package) if package else content


if os.environ.get(LOADING) != MMENGINE:
    # All of mmengine's schemes: each of its own loaders would fall back to executing the file.
    CheckpointLoader.register_scheme(
        prefixes=list(CheckpointLoader._schemes), loader=load_checkpoint, force=True
    )


def _load_safely(path: Path, map_location: Any) -> dict:
    try:
        check_pickles(path)
        with torch.serialization.safe_globals(_safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except (MemoryError, PermissionError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # damaged bytes can make the unpickler stumble over anything
        if unsafe := UNSAFE.search(str(error)):
            raise CheckpointError(
                f'{path}: refused, since it asks for {unsafe[1]}: loading it could execute code. '
                'Convert it to a plain state dict on a machine that you can lose.'
            ) from error
        raise CheckpointError(
            f'{path}: damaged, or no checkpoint of tensors ({_reason(error)}). Copy it again.'
        ) from error


def _converted(path: Path, state: dict, package: PackagedWeights) -> dict:
    """Weights of a package as mmengine loads them into a model of ours."""
    try:
        conversion = map_keys(state, BACKBONE_LAYOUTS[package.layout])
    except KeyMappingError as error:
        raise CheckpointError(f'{path}: {error}') from error
    origin = dict(format=package.layout, source=path.name, dropped=conversion.dropped)
    meta = dict(converted_from=origin, labels_used=package.labels_used)
    return dict(state_dict=conversion.state, meta=meta)


def _of_timm(path: Path, name: str, map_location: Any) -> dict:
    """Weights that timm has published as mmengine loads them into `TIMMFeatureMaps`."""
    from safetensors.torch import load_file

    from luss_mm.models.timm_feature_maps import (
        TIMMFeatureMaps,
    )  # imports the runner, which imports us

    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        state = load_file(path)
        # What no map needs, the classifier above all, is left out; all else must be there.
        wanted = TIMMFeatureMaps(name, out_indices=[-1]).network.state_dict()
        kept = {key: state[key] for key in wanted if key in state}
        wrong = [k for k, w in wanted.items() if k not in kept or kept[k].shape != w.shape]
    except Exception as error:  # damaged bytes, or a network that timm does not know any more
        raise CheckpointError(f'{path}: damaged ({_reason(error)}). Download it again.') from error
    if wrong:
        raise CheckpointError(f'{path}: not the weights of {name}, which has other {wrong[0]}.')
    origin = dict(format='timm', source=name, dropped=sorted(state.keys() - kept.keys()))
    named = {f'{BACKBONE}network.{key}': weight.to(device) for key, weight in kept.items()}
    return dict(state_dict=named, meta=dict(converted_from=origin))


def _local_file(filename: str) -> Path:
    """The file itself, downloaded before if it has an address."""
    scheme, separator, rest = filename.partition('://')
    if not separator:
        return Path(filename).expanduser()
    if scheme in COLLECTIONS:
        addresses = COLLECTIONS[scheme]()
        if rest not in addresses:
            raise CheckpointError(f'{filename}: unknown{did_you_mean(rest, addresses)}')
        return _local_file(addresses[rest])
    if scheme not in ('http', 'https'):
        raise CheckpointError(f'{filename}: copy it to this machine and give its path.')
    path = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(filename).path).name)
    if os.environ.get('LOCAL_RANK', '0') == '0' and not path.is_file():  # once a machine
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(filename, str(path), progress=False)
    barrier()
    return path


def _safe_globals() -> list:
    """What mmengine's checkpoints are made of, without the `getattr` that mmengine allows.

    Arrays name a module of numpy that numpy 2 renamed: published checkpoints have its old name.
    The classes of numpy's number types may be restored, but not called: they return objects that
    the whole process shares.
    """
    kept = [
        item
        for item in get_torch_safe_globals()
        if item not in (getattr, np.dtype)
        and not (isinstance(item, type) and issubclass(item, np.dtype))
    ]
    renamed = [
        (item, f'{module}.{item.__name__}')
        for item in kept
        if item.__module__ in ARRAY_MODULES
        for module in ARRAY_MODULES
    ]
    numbers = [type(np.dtype(number)) for number in NUMBER_TYPES]
    unnamed = [(number, number.__name__) for number in numbers]  # names of a file have a dot
    stand_ins = [
        (_statistic, 'builtins.getattr'),
        (_number_type, 'numpy.dtype'),
        (_config_dict, 'mmengine.config.config.ConfigDict'),
        *((_path, f'{module}.PosixPath') for module in PATHS),
        *((_windows_path, f'{module}.WindowsPath') for module in PATHS),
    ]
    # The arguments of a training program, beside the weights of MAE, DINO and others: plain data.
    return [*kept, *renamed, *unnamed, *stand_ins, Namespace]


def _number_type(name: str, *_: Any) -> np.dtype:
    """Stand-in for `np.dtype`: always a copy, since a file goes on to write into it.

    What it wrote into a shared one would change how the whole process reads and frees arrays.
    """
    return np.dtype(name, copy=True)


def _config_dict(content: dict) -> ConfigDict:
    """Stand-in for `ConfigDict`, as in metainfo; no file can set the state of what it returns."""
    if type(content) is not dict:
        raise pickle.UnpicklingError('Unsupported global: GLOBAL mmengine.config.config.ConfigDict')
    return ConfigDict(content)


def _path(*parts: str) -> Path:
    """Stand-in for `PosixPath`."""
    return Path(*parts)


def _windows_path(*parts: str) -> PureWindowsPath:
    """Stand-in for `WindowsPath`, which only Windows could make."""
    return PureWindowsPath(*parts)


def _statistic(owner: Any, name: str) -> Any:
    """Stand-in for `getattr`: mmengine's history buffers store their statistics with it."""
    if owner is not HistoryBuffer or name not in STATISTICS:
        asked = reprlib.repr(name)  # a long one would take torch minutes: see pickle_check
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr of {asked}')
    return getattr(HistoryBuffer, name)


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
    checkpoint = load_checkpoint(filename, map_location='cpu')
    if 'state_dict' not in checkpoint:
        raise CheckpointError(f'{filename}: has no state_dict, only {", ".join(checkpoint)}')
    state = checkpoint['state_dict']
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f'{filename}: does not fit the model. {error}') from error


def load_backbone(backbone: torch.nn.Module, filename: str | Path) -> None:
    """Load the weights `backbone.*` of a whole model, every one of them accounted for.

    Raises:
        CheckpointError: If there are none, or keys or shapes do not fit.
    """
    content = load_checkpoint(filename, map_location='cpu')
    state = content.get('state_dict', content)
    state = {name.removeprefix('module.'): weight for name, weight in state.items()}
    own = {n.removeprefix(BACKBONE): w for n, w in state.items() if n.startswith(BACKBONE)}
    if not own:
        raise CheckpointError(f'{filename}: has no weights {BACKBONE}*, only {list(state)[:3]} ...')
    try:
        backbone.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f'{filename}: does not fit the backbone. {error}') from error


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


def _reason(error: Exception) -> str:
    """First sentence of an error, without torch's advice to load it unsafely."""
    text = str(error).split('WeightsUnpickler error:')[-1].split('\n\nCheck the documentation')[0]
    return f'{type(error).__name__} {text.strip().split(". ")[0][:200]}'.strip()
