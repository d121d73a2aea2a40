"""The samples that a stage would train on, drawn as it would draw them, as pictures."""

import colorsys
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATA_SAMPLERS, DATASETS, MODELS
from torch import Tensor
from torch.utils.data import Dataset

from luss_mm.datasets import SemiDataset
from luss_mm.datasets.samplers import EpochIndex, sample_randomness
from luss_mm.datasets.transforms import MultiCrop
from luss_mm.functional.alignment import overlap_grids
from luss_mm.functional.colour_changes import change_colours
from luss_mm.functional.consistency import paste_boxes
from luss_mm.functional.label_codec import category_palette
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError, did_you_mean
from luss_mm.visualization.pictures import HATCH_GREYS, add_legend, blend_labels, picture_strip
from luss_mm.work_dir.run_folder import BAD_IMAGES, TRAINING_CHECK

LABELLED = 'labelled'
HEIGHT = 224  # of the panels
BOX_COLOURS = category_palette(64)[[1, 2, 3, 4, 5, 6, 7, 8]]  # of the views, again after eight
WHITE = (255, 255, 255)
MMSEG_IGNORES = 255  # of data sets that do not say


@dataclass(frozen=True)
class Shown:
    """A picture of a sample.

    Attributes:
        name: Name of a file, without suffix.
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
        stage: Stage of a recipe; None for its first training.

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
        config: Config from `stage_config`.
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


def views_picture(
    image: np.ndarray, views: Sequence[np.ndarray], crops: Tensor, points: tuple[int, str] | None
) -> np.ndarray:
    """Views of one image beside it, with the boxes that they were cut out of.

    Args:
        image: As loaded, RGB uint8. Shape (H, W, 3).
        views: RGB uint8, the two global ones first. Shape (s, s, 3) each.
        crops: left, top, width, height in pixels of the image and 1 where flipped. Shape (V, 5).
        points: Number along each axis of the overlap of the two global views, and placement, see
            `overlap_grids`: pairs of pixel-to-pixel alignment get one colour in both views and in
            the image. None draws none.

    Returns:
        RGB picture, uint8. Shape (h, w, 3).
    """
    whole, shown = enlarged(image), [enlarged(view) for view in views]
    title = 'image'
    if points is not None:
        grids = overlap_grids(crops[:1], crops[1:2], *points)
        title = (
            f'image, {points[0]} x {points[0]} pairs' if grids[2].item() else 'image, no overlap'
        )
        if grids[2].item():
            for view, grid in zip(shown[:2], grids[:2], strict=True):
                draw_points(view, grid_in_pixels(grid[0], view.shape))
            draw_points(
                whole, grid_in_image(grids[0][0], crops[0]) * whole.shape[1] / image.shape[1]
            )
    scale = whole.shape[1] / image.shape[1]
    for number, crop in enumerate(crops.tolist()):
        draw_box(whole, [scale * side for side in crop[:4]], box_colour(number))
    panels = [(title, whole)]
    for number, (view, crop) in enumerate(zip(shown, crops.tolist(), strict=True)):
        draw_box(view, (0, 0, view.shape[1], view.shape[0]), box_colour(number))
        panels.append((f'view {number + 1}{", flipped" if crop[4] else ""}', view))
    return picture_strip(panels, HEIGHT)


def labels_picture(
    panels: Sequence[tuple[str, np.ndarray]],
    labels: np.ndarray,
    names: Sequence[str] | None,
    ignore_index: int,
    word: str = 'id',
) -> np.ndarray:
    """An image under its label map, with a legend of the ids that occur, the largest first.

    Args:
        panels: Titles and RGB pictures, uint8; the last one is coloured. Shape (H, W, 3).
        labels: Ids, 0 for others. Shape (H, W).
        names: Names of the ids; None or too few leave them numbered.
        ignore_index: Id of hatched pixels.
        word: What a nameless id is, e.g. 'cluster'.
    """
    counted = labels != ignore_index
    ids, counts = np.unique(labels[counted], return_counts=True)
    palette = category_palette(int(ids.max(initial=0)) + 1)
    blended = blend_labels(panels[-1][1], labels, palette, ignore_index=ignore_index)
    picture = picture_strip([*panels, ('labels', blended)], HEIGHT)
    order = [i for i in np.argsort(-counts, kind='stable') if ids[i] != 0]
    entries = [
        (f'{id_name(int(ids[i]), names, word)}: {counts[i] / labels.size:.1%}', palette[ids[i]])
        for i in order
    ]
    if not counted.all():
        grey = np.full(3, sum(HATCH_GREYS) // 2, np.uint8)
        entries.append((f'ignored: {1 - counted.mean():.1%}', grey))
    return add_legend(picture, entries)


def hatch_ignored(image: np.ndarray, labels: np.ndarray, ignore_index: int) -> np.ndarray:
    """An image with hatches where its label map is ignored, e.g. over padding. RGB (H, W, 3)."""
    ignored = np.where(labels == ignore_index, ignore_index, 0)
    return blend_labels(image, ignored, category_palette(1), ignore_index=ignore_index)


def mixed_picture(
    views: Mapping[str, np.ndarray],
    partners: Mapping[str, np.ndarray],
    boxes: Mapping[str, tuple[int, int, int, int] | None],
) -> np.ndarray:
    """Views of one unlabelled image, its partner's, and what CutMix makes of both.

    Args:
        views: Titles and RGB pictures, uint8. Shape (H, W, 3) each.
        partners: Views of the image that is pasted in; empty without CutMix.
        boxes: left, top, width, height in pixels of the views that are mixed, or None.
    """
    panels: list[tuple[str, np.ndarray]] = []
    for name, view in views.items():
        panels.append((name, view))
        if name not in boxes or name not in partners:
            continue
        box = boxes[name]
        if box is None:
            panels[-1] = (f'{name}, no box', view)
            continue
        mixed = paste_boxes(_as_batch(view), _as_batch(partners[name]), torch.tensor([box]))
        pasted = mixed[0].numpy().transpose(1, 2, 0)
        panels.append((f'partner {name}', boxed(partners[name], box)))
        panels.append((f'{name} mixed', boxed(pasted, box)))
    return picture_strip(panels, HEIGHT)


def id_name(number: int, names: Sequence[str] | None, word: str) -> str:
    """Name of an id, or the word and its number."""
    return names[number] if names and number < len(names) else f'{word} {number}'


def box_colour(number: int) -> tuple[int, ...]:
    """RGB colour of a view's box."""
    return tuple(BOX_COLOURS[number % len(BOX_COLOURS)].tolist())


def boxed(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """An enlarged copy of a picture with a box: left, top, width, height in its own pixels."""
    large = enlarged(picture)
    scale = large.shape[1] / picture.shape[1]
    draw_box(large, [scale * side for side in box], box_colour(0))
    return large


def draw_box(picture: np.ndarray, box: Sequence[float], colour: Sequence[int]) -> None:
    """Draw left, top, width, height in place, inside of the box's own pixels."""
    left, top, width, height = (round(side) for side in box)
    corners = (left, top), (left + max(width, 1) - 1, top + max(height, 1) - 1)
    cv2.rectangle(picture, *corners, WHITE, 3)
    cv2.rectangle(picture, *corners, tuple(colour), 2)


def draw_points(picture: np.ndarray, points: np.ndarray) -> None:
    """Draw a grid of points in place, x and y in pixels; a place in the grid has one colour.

    Args:
        picture: RGB uint8. Shape (H, W, 3).
        points: Shape (p, p, 2).
    """
    rows, columns = points.shape[:2]
    radius = max(2, min(picture.shape[:2]) // 70)
    for row in range(rows):
        for column in range(columns):
            colour = _place_colour(row / max(rows - 1, 1), column / max(columns - 1, 1))
            centre = tuple(np.floor(points[row, column]).astype(int).tolist())
            cv2.circle(picture, centre, radius + 1, WHITE, -1, cv2.LINE_AA)
            cv2.circle(picture, centre, radius, colour, -1, cv2.LINE_AA)


def grid_in_pixels(grid: Tensor, shape: Sequence[int]) -> np.ndarray:
    """Points of `overlap_grids` in [-1, 1] over a view, in pixels of it. Shape (p, p, 2)."""
    size = torch.tensor([shape[1], shape[0]], dtype=torch.float32)
    return ((grid + 1) / 2 * size).numpy()


def grid_in_image(grid: Tensor, crop: Tensor) -> np.ndarray:
    """Points of a view's grid in pixels of the image that it was cut out of. Shape (p, p, 2)."""
    left, top, width, height, flipped = crop.tolist()
    share = (grid + 1) / 2
    across = 1 - share[..., 0] if flipped else share[..., 0]
    return torch.stack([left + across * width, top + share[..., 1] * height], dim=-1).numpy()


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A copy that is at least as high as a panel, so that lines and points are fine in it."""
    factor = -(-HEIGHT // picture.shape[0])
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)


def _as_batch(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def _place_colour(down: float, across: float) -> tuple[int, ...]:
    """Hue from left to right, lightness from top to bottom."""
    rgb = colorsys.hls_to_rgb(0.8 * across, 0.3 + 0.4 * down, 1.0)
    return tuple(round(255 * channel) for channel in rgb)
