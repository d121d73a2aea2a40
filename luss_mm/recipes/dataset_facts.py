"""What the config of a data set tells before anything trains."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, TRANSFORMS

from luss_mm.datasets.transforms import LoadLabelMap

LABEL_ARGUMENTS = {'class_labels', 'losses', 'small_loss'}  # of ClassLabelDataset
SEMI_PARTS = ('labelled', 'unlabelled')


def dataset_parts(dataset: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Configs with a pipeline: of both parts of a `SemiDataset`, within wrappers, or itself."""
    inner = [dataset[name] for name in (*SEMI_PARTS, 'dataset') if name in dataset]
    inner += dataset.get('datasets', ())
    if not inner:
        yield dataset
    for part in inner:
        yield from dataset_parts(part)


def find_label_loader(pipeline: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Config of the transform of a pipeline that reads masks; None without a `LoadLabelMap`."""
    for transform in pipeline:
        with DefaultScope.overwrite_default_scope('mmseg'):
            kind = TRANSFORMS.get(transform['type'])
        if isinstance(kind, type) and issubclass(kind, LoadLabelMap):
            return transform
    return None


def build_label_loader(pipeline: Iterable[Mapping[str, Any]]) -> LoadLabelMap | None:
    """The transform of `find_label_loader`, which reads single masks, too."""
    config = find_label_loader(pipeline)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return None if config is None else TRANSFORMS.build(config)


def without_loading(dataset: Mapping[str, Any], work_dir: Path) -> dict[str, Any]:
    """Config of the same images with empty pipelines and none of the files that the run makes.

    Args:
        dataset: Resolved config.
        work_dir: Label maps and tags below it are left out.
    """
    parts = {name: dataset[name] for name in (*SEMI_PARTS, 'dataset') if name in dataset}
    parts = {name: without_loading(part, work_dir) for name, part in parts.items()}
    if 'datasets' in dataset:  # of mmengine's ConcatDataset
        parts['datasets'] = [without_loading(part, work_dir) for part in dataset['datasets']]
    if parts:
        return dict(dataset) | parts
    config = dict(dataset, pipeline=[])
    prefix = dict(config.get('data_prefix') or {})
    if Path(prefix.get('seg_map_path') or '/').is_relative_to(work_dir):
        config['data_prefix'] = prefix | dict(seg_map_path='')
    if Path(config.get('label_folder') or '/').is_relative_to(work_dir):
        config |= dict(label_folder=None, masks=False)
    if Path(config.get('tags') or '/').is_relative_to(work_dir):
        config['tags'] = None
    return config


def without_class_labels(config: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the same images where their classes are yet to come."""
    if config['type'] != 'ClassLabelDataset':
        return dict(config)
    kept = {k: v for k, v in config.items() if k not in LABEL_ARGUMENTS}
    return kept | dict(type='LUSSDataset')


def without_index(value: Any) -> Any:
    """Config without `image_index`, which holds for one start of a run, at any depth."""
    if isinstance(value, Mapping):
        return {k: without_index(inner) for k, inner in value.items() if k != 'image_index'}
    if isinstance(value, (list, tuple)):
        return type(value)(without_index(inner) for inner in value)
    return value


def look_at(config: dict) -> dict[str, Any] | str:
    """Facts of a data set, or why it cannot be built.

    Args:
        config: Config from `without_loading`.

    Returns:
        `fingerprint`, number of `images`, of them `labelled` and `unlabelled` if it is a
        `SemiDataset`, and paths of `missing_masks`; or the reason.
    """
    try:
        with DefaultScope.overwrite_default_scope('mmseg'):  # of what is wrapped
            dataset = DATASETS.build(config)
    except (KeyError, OSError, TypeError, ValueError) as error:
        return str(error)
    facts = dict(images=len(dataset), missing_masks=[])
    parts = list(dataset_parts(config))
    if parts != [config] and not hasattr(dataset, 'fingerprint'):  # a wrapper
        found = [look_at(dict(part)) for part in parts]
        text = '\n'.join([f'{config["type"]} {len(dataset)}', *(f['fingerprint'] for f in found)])
        missing = [mask for part in found for mask in part['missing_masks']]
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return facts | dict(fingerprint=fingerprint, missing_masks=missing)
    if not hasattr(dataset, 'fingerprint'):
        # Another package's data set: its config and length are all that can be known cheaply.
        text = f'{json.dumps(without_index(config), sort_keys=True)}{len(dataset)}'
        return facts | dict(fingerprint=hashlib.sha256(text.encode()).hexdigest())
    for name in SEMI_PARTS:
        if hasattr(dataset, f'num_{name}'):
            facts[name] = getattr(dataset, f'num_{name}')
    missing = [mask for mask in dataset.label_paths() if not Path(mask).exists()]
    return facts | dict(fingerprint=dataset.fingerprint(), missing_masks=missing)
