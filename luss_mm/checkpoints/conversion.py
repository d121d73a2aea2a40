"""Checkpoints of other repositories become ones that mmengine loads into our models, and back."""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import Tensor

from luss_mm.checkpoints.imagenet_s_layouts import IMAGENET_S_LAYOUTS
from luss_mm.checkpoints.key_mapping import KeyMappingError, Layout, map_keys, reverse
from luss_mm.checkpoints.layouts import BACKBONE_LAYOUTS, PASS_LAYOUTS
from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint
from luss_mm.recipes.config_file import read_config
from luss_mm.recipes.recipe import Recipe
from luss_mm.version import __version__
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.atomic_files import write_array, write_atomically, write_json

LAYOUTS = PASS_LAYOUTS | BACKBONE_LAYOUTS | IMAGENET_S_LAYOUTS
CENTROIDS = 'pass-centroids'
FORMATS = (*LAYOUTS, CENTROIDS)


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """What a conversion did.

    Attributes:
        state: The weights as written.
        dropped: Source key to the reason why it was left out.
        container: Entry of the source that held the weights; '' for the source itself.
        beside: The source's other entries, such as an optimiser's state: left out.
        structure: JSON file beside the target with the dilations of an RF-ConvNeXt, the recipes'
            setting `structure`; None for other networks.
    """

    state: dict[str, Tensor]
    dropped: dict[str, str]
    container: str
    beside: tuple[str, ...]
    structure: Path | None = None


def convert_checkpoint(
    kind: str,
    source: str | Path,
    target: str | Path,
    *,
    backwards: bool = False,
    container: str | None = None,
    model: Mapping[str, Any] | None = None,
) -> ConvertedCheckpoint:
    """Convert a checkpoint.

    Args:
        kind: A format of `LAYOUTS`.
        source: The file. Nothing in it is executed.
        target: Written wholly or not at all: `state_dict` and `meta`, or backwards what the
            authors' code reads. Dilations of an RF-ConvNeXt lie beside it, with the suffix .json.
        backwards: Convert a checkpoint of ours to the format.
        container: Entry of the source that holds the weights; None looks for the format's own.
        model: Config of a model of ours that must be able to load the result.

    Raises:
        FileExistsError: If the target exists.
        CheckpointError: If the source cannot be read, is not of that format, or the result does
            not fit the model.
        KeyMappingError: If the format has no way back.
    """
    layout = LAYOUTS[kind]
    source, target = Path(source), Path(target)
    _refuse_existing(target)
    table = reverse(layout) if backwards else layout
    checkpoint = load_checkpoint(source, map_location='cpu')
    container, weights = _weights(source, checkpoint, table.containers, container)
    try:
        conversion = map_keys(weights, table)
    except KeyMappingError as error:
        raise CheckpointError(f'{source}: {error}') from error
    # Cloned, for torch.save would write the whole storage that a tensor is a part of.
    state = {key: tensor.clone() for key, tensor in conversion.state.items()}
    if model is not None:
        check_fit(state, layout, model)
    beside = tuple(str(key) for key in checkpoint if container and key != container)
    content = (
        _theirs(state, layout) if backwards else _ours(state, kind, source, conversion.dropped)
    )
    buffer = io.BytesIO()
    torch.save(content, buffer)
    structure = None
    if conversion.structure is not None:
        structure = target.with_suffix('.json')
        _refuse_existing(structure)
        write_json(structure, conversion.structure, indent=2)
    write_atomically(target, buffer.getvalue())
    return ConvertedCheckpoint(state, conversion.dropped, container, beside, structure)


def convert_centroids(source: str | Path, target: str | Path) -> tuple[int, int]:
    """Check PASS's `centroids.npy` and write it as ours: float32 (K, C), nearest by cosine.

    Args:
        source: The file. Nothing in it is executed.
        target: `.npy` file.

    Returns:
        K and C.

    Raises:
        FileExistsError: If the target exists.
        CheckpointError: If the source holds anything but K usable centroids.
        OSError: If the source cannot be opened.
    """
    source, target = Path(source), Path(target)
    _refuse_existing(target)
    with open(source, 'rb'):
        pass
    try:
        centroids = np.load(source, allow_pickle=False)
    except Exception as error:  # a damaged header makes numpy's parser stumble over anything
        raise CheckpointError(f'{source}: not a plain .npy array ({error})') from error
    if not isinstance(centroids, np.ndarray) or centroids.ndim != 2 or 0 in centroids.shape:
        shape = getattr(centroids, 'shape', 'several arrays')
        raise CheckpointError(f'{source}: centroids have the shape (K, C), these have {shape}')
    if centroids.dtype.kind != 'f':
        raise CheckpointError(f'{source}: centroids are floats, these are {centroids.dtype}')
    lengths = np.linalg.norm(centroids.astype(np.float64), axis=1)  # (K,)
    if bad := np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))).tolist():
        raise CheckpointError(f'{source}: centroid {bad[0]} is zero or not finite; so {len(bad)}')
    write_array(target, np.ascontiguousarray(centroids, dtype=np.float32))
    return centroids.shape


def model_config(config: str | Path, stage: str | None = None) -> Mapping[str, Any]:
    """The model of a config, or of a stage of a recipe.

    Raises:
        CheckpointError: If it has none.
    """
    content = read_config(config)
    if 'stages' in content:
        content.setdefault('work_dir', 'work_dirs')  # read by the settings, not by the model
        recipe = Recipe(content)
        if stage not in recipe.stage_order:
            raise CheckpointError(
                f'{config}: a recipe; choose one of its stages {", ".join(recipe.stage_order)}'
            )
        content = recipe.stage(stage, recipe.work_dir / stage)
    if 'model' not in content:
        raise CheckpointError(f'{config}: has no model')
    return content['model']


def check_fit(state: Mapping[str, Tensor], layout: Layout, model: Mapping[str, Any]) -> None:
    """See whether a model of ours gets all that a layout promises, in the right shapes.

    Args:
        state: Converted weights.
        layout: What they were converted with.
        model: Config of the model. Position embeddings may have another length.

    Raises:
        CheckpointError: Naming the keys.
    """
    with DefaultScope.overwrite_default_scope('mmseg'):
        network = MODELS.build(dict(model))
    try:
        result = network.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f'the converted weights do not fit the model. {error}') from error
    missing = [
        key
        for key in result.missing_keys
        if not any(re.fullmatch(pattern, key) for pattern in layout.added)
    ]
    spare = [key for key in result.unexpected_keys if not re.fullmatch(layout.spare, key)]
    if missing or spare:
        parts = {'the model has no': spare, 'the weights have no': missing}
        found = '; '.join(f'{what} {_names(keys)}' for what, keys in parts.items() if keys)
        raise CheckpointError(f'the converted weights do not fit the model: {found}')


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise FileExistsError(f'{target}: exists already. Move it away or choose another name.')


def _weights(
    source: Path, checkpoint: Any, containers: tuple[str, ...], chosen: str | None
) -> tuple[str, dict[str, Tensor]]:
    """Where the weights lie, '' for the checkpoint itself, and the weights."""
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'{source}: holds a {type(checkpoint).__name__}, not named tensors')
    if chosen is not None and chosen not in checkpoint:
        raise CheckpointError(f'{source}: has no {chosen!r}, only {_names(checkpoint)}')
    if chosen is None:
        found = [name for name in containers if name and name in checkpoint]
        if len(found) > 1 or (not found and '' not in containers):
            raise CheckpointError(
                f'{source}: the weights may lie under any of {_names(checkpoint)}: choose one'
            )
        chosen = found[0] if found else ''
    weights = checkpoint[chosen] if chosen else checkpoint
    if not isinstance(weights, Mapping):
        raise CheckpointError(f'{source}: {chosen!r} holds no named tensors')
    return chosen, {str(key): _tensor(source, key, value) for key, value in weights.items()}


def _tensor(source: Path, key: Any, value: Any) -> Tensor:
    if isinstance(value, np.ndarray):  # what Jittor saves
        value = torch.from_numpy(value)
    if not isinstance(value, Tensor):
        raise CheckpointError(
            f'{source}: {key!r} is no tensor but a {type(value).__name__}. Choose the entry that '
            'holds the weights.'
        )
    return value.detach()


def _ours(state: dict[str, Tensor], kind: str, source: Path, dropped: dict[str, str]) -> dict:
    origin = dict(
        format=kind,
        source=source.name,
        sha256=fingerprint_file(source),
        dropped=dropped,
        luss_mm=__version__,
    )
    return dict(state_dict=state, meta=dict(converted_from=origin))


def _theirs(state: dict[str, Tensor], layout: Layout) -> dict:
    container = layout.containers[0]
    state = {f'{layout.written_prefix}{key}': tensor for key, tensor in state.items()}
    return {container: state} if container else state


def _names(keys: Iterable) -> str:
    names = [str(key) for key in keys]
    return ', '.join(names[:10]) + (f' and {len(names) - 10:,} more' if len(names) > 10 else '')
