"""The samples that a stage would train on, drawn as it would draw them, as pictures."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATA_SAMPLERS, DATASETS, MODELS
from torch.utils.data import Dataset

from luss_mm.datasets import SemiDataset
from luss_mm.datasets.samplers import EpochIndex, sample_randomness
from luss_mm.datasets.transforms import MultiCrop
from luss_mm.functional.colour_changes import change_colours
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError, did_you_mean
from luss_mm.visualization.browse import (
    HEIGHT,
    hatch_ignored,
    id_name,
    labels_picture,
    mixed_picture,
    views_picture,
)
from luss_mm.visualization.overlays import picture_strip
from luss_mm.work_dir.run_folder import BAD_IMAGES, TRAINING_CHECK

LABELLED = 'labelled'
MMSEG_IGNORES = 255  # of data sets that do not say


@dataclass(frozen=True)
class Shown:
    """A picture of a sample.

    Attributes:
        name: Of a file, without suffix.
        picture: RGB uint8. Shape (h, w, 3).
        caption: Image, index and epoch.
    """

    name: str
    picture: np.ndarray
    caption: str


def stage_config(config: Config, stage: str | None) -> tuple[str, dict[str, Any]]:
    """Name and resolved config of a stage of a recipe, or of an ordinary mmseg config.

    Args:
        config: Recipe with its work_dir, or the config of one training.
        stage: Of a recipe; None for its first training.

    Raises:
        SettingsError: If there is no such training.
    """
    if 'stages' not in config:
        if stage is not None:
            raise SettingsError(f'--stage {stage}: this config has no stages, it is one')
        return Path(config.get('work_dir') or 'config').name, config.to_dict()
    recipe = Recipe(config)
    listed = recipe.work_dir / TRAINING_CHECK / BAD_IMAGES
    if recipe.on_bad_image == 'skip' and listed.is_file():
        recipe.bad_images = listed  # training leaves them out
    trainings = [name for name in recipe.stage_order if recipe.is_training(name)]
    chosen = trainings[0] if stage is None else stage
    if chosen not in trainings:
        raise SettingsError(
            f'--stage {chosen}: the trainings of this recipe are {", ".join(trainings)}'
            f'{did_you_mean(chosen, trainings)}'
        )
    return chosen, recipe.stage(chosen, recipe.work_dir / chosen)


def draw_samples(config: Mapping[str, Any], epoch: int, count: int) -> Iterator[Shown]:
    """The first samples of an epoch of a training in one process.

    Data sets of ours draw sample i of epoch e from (seed, e, i), as in training. Those of others
    draw from the state of the process, which no one can repeat: they get a seed of the same kind.

    Args:
        config: Of `stage_config`.
        epoch: From 0. Trainings by iterations count passes over the data.
        count: Pictures; of semi-supervised batches whole batches until there are as many.

    Raises:
        FileNotFoundError: If label maps or other outputs of earlier stages are not there yet.
        SettingsError: If there is nothing to draw from.
    """
    loader = config.get('train_dataloader')
    if not loader:
        raise SettingsError('the config has no train_dataloader')
    seed = (config.get('randomness') or {}).get('seed') or 0
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmseg')):
        dataset = DATASETS.build(loader['dataset'])
        sampler = DATA_SAMPLERS.build(
            loader['sampler'], default_args=dict(dataset=dataset, seed=seed)
        )
    drawer = _Drawer(dataset, seed, config)
    if isinstance(dataset, SemiDataset):
        batches = _epoch(sampler, epoch, -(-len(sampler) // loader['batch_size']) * epoch)
        yield from islice(drawer.draw_batches(batches, loader), count)
        return
    indices = list(islice(_epoch(sampler, epoch, len(dataset) * epoch), count))
    drawer.require_label_maps(indices)
    for index in indices:
        yield drawer.draw(index)


def _epoch(sampler: Any, epoch: int, passed: int) -> Iterator[EpochIndex]:
    """Indices of a sampler from the beginning of an epoch on."""
    if hasattr(sampler, 'set_epoch'):
        sampler.set_epoch(epoch)
        passed = 0
    elif hasattr(sampler, 'skip'):
        sampler.skip(passed)
        passed = 0
    for index in islice(iter(sampler), passed, None):
        yield index if isinstance(index, EpochIndex) else EpochIndex(index, epoch)


class _Drawer:
    """Pictures of the samples of one data set."""

    def __init__(self, dataset: Dataset, seed: int, config: Mapping[str, Any]) -> None:
        self.dataset = dataset
        self.seed = seed
        self.points = _alignment_points(config['model'])
        first = dataset.parts[0] if isinstance(dataset, SemiDataset) else dataset
        self.ignore_index = getattr(first, 'ignore_index', MMSEG_IGNORES)
        self.run = Path(config.get('work_dir') or '.').absolute().parent
        self.names = (getattr(dataset, 'metainfo', None) or {}).get('classes')

    def require_label_maps(self, indices: list[int]) -> None:
        """Refuse label maps that the run has not made yet."""
        for index in indices:
            entry = self.dataset.get_data_info(index)
            if 'seg_map_path' in entry and not Path(entry['seg_map_path']).is_file():
                raise FileNotFoundError(
                    f'{entry["seg_map_path"]}: no such label map (yet). If the stage makes its '
                    'pseudo-labels itself, run the recipe first, or look at an earlier --stage.'
                )

    def draw(self, index: EpochIndex) -> Shown:
        """One sample."""
        sample = self._sample(index)
        if 'crops' in sample:
            picture = views_picture(
                self._loaded(index), _views(sample), sample['crops'], self.points
            )
        elif 'data_samples' in sample:
            picture = self._labelled(_rgb_of_bgr(sample['inputs']), sample['data_samples'])
        else:
            picture = picture_strip([self._classified(sample)], HEIGHT)
        return self._shown(index, picture)

    def draw_batches(
        self, indices: Iterator[EpochIndex], loader: Mapping[str, Any]
    ) -> Iterator[Shown]:
        """Batch by batch: labelled images, then unlabelled ones with their partners."""
        sampler = loader['sampler']
        labelled, unlabelled = sampler['labelled'], sampler['unlabelled']
        while batch := list(islice(indices, loader['batch_size'])):
            samples = [self.dataset[index] for index in batch]
            partners = samples[labelled + unlabelled :] or [None] * unlabelled
            for index, sample in list(zip(batch, samples, strict=True))[:labelled]:
                (name, image), *_ = sample['inputs'].items()
                picture = self._labelled(_rgb_of_bgr(image), sample['data_samples'][name])
                yield self._shown(index, picture, LABELLED)
            slots = slice(labelled, labelled + unlabelled)
            for index, sample, partner in zip(batch[slots], samples[slots], partners, strict=True):
                yield self._shown(index, self._unlabelled(sample, partner), 'unlabelled')

    def _sample(self, index: EpochIndex) -> dict:
        with sample_randomness(self.seed, index.epoch, index):  # data sets of ours do so themselves
            return self.dataset[index]

    def _loaded(self, index: EpochIndex) -> np.ndarray:
        """What the views of a sample were cut out of, RGB."""
        with sample_randomness(self.dataset.seed, index.epoch, index):
            results = self.dataset.get_data_info(index)
            for transform in self.dataset.pipeline.transforms:
                if isinstance(transform, MultiCrop):
                    break
                results = transform(results)
        return results['img'][..., ::-1].copy()

    def _labelled(self, image: np.ndarray, annotation: Any) -> np.ndarray:
        if 'gt_sem_seg' not in annotation:
            return picture_strip([('image', image)], HEIGHT)
        labels = annotation.gt_sem_seg.data[0].numpy()
        made = Path(annotation.metainfo.get('seg_map_path') or '/').is_relative_to(self.run)
        word = 'cluster' if made else 'id'
        return labels_picture([('image', image)], labels, self.names, self.ignore_index, word)

    def _unlabelled(
        self, sample: Mapping[str, Any], partner: Mapping[str, Any] | None
    ) -> np.ndarray:
        boxes = {
            name: annotation.metainfo['cutmix_box']
            for name, annotation in sample['data_samples'].items()
            if 'cutmix_box' in annotation.metainfo
        }
        return mixed_picture(self._hatched(sample), self._hatched(partner), boxes)

    def _hatched(self, sample: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
        """Views of a sample, padding hatched."""
        views = {}
        for name, image in (sample or {}).get('inputs', {}).items():
            labels = sample['data_samples'][name].gt_sem_seg.data[0].numpy()
            views[name] = hatch_ignored(_rgb_of_bgr(image), labels, self.ignore_index)
        return views

    def _classified(self, sample: Mapping[str, Any]) -> tuple[str, np.ndarray]:
        image = sample['inputs'].numpy().transpose(1, 2, 0)  # PackImage has made it RGB
        label = sample.get('class_label')
        title = 'image' if label is None else id_name(int(label) + 1, None, 'cluster')
        return title, np.ascontiguousarray(image)

    def _shown(self, index: EpochIndex, picture: np.ndarray, kind: str = '') -> Shown:
        path = Path(self.dataset.get_data_info(index)['img_path'])
        stem = ''.join(
            letter if letter.isalnum() or letter in '-_' else '_' for letter in path.stem
        )
        return Shown(
            '-'.join(filter(None, (kind, stem[:80]))),
            picture,
            f'{path}: {kind + " " if kind else ""}image {int(index)}, pass {index.epoch}',
        )


def _views(sample: Mapping[str, Any]) -> list[np.ndarray]:
    """Views as the network sees them, RGB uint8, also those that are coloured on the device."""
    changes = sample.get('colour_changes')
    views = []
    for number, view in enumerate(sample['inputs']):
        if changes is not None:
            changed = change_colours(view[None], changes[number][None])[0]
            view = changed.round().clamp(0, 255).to(torch.uint8)
        views.append(np.ascontiguousarray(view.numpy().transpose(1, 2, 0)))
    return views


def _rgb_of_bgr(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0)[..., ::-1])


def _alignment_points(model: Mapping[str, Any]) -> tuple[int, str] | None:
    """Points of pixel-to-pixel alignment along an axis and their placement, if there are any."""
    head = model.get('pixel_to_pixel')
    if not head:
        return None
    parameters = inspect.signature(MODELS.get(head['type']).__init__).parameters
    points, placement = (
        head.get(name, parameters[name].default) for name in ('points', 'placement')
    )
    return points, placement
