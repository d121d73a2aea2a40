"""Predictions of a trained segmentor for images, arrays and folders."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.structures import BaseDataElement
from mmseg.registry import INFERENCERS
from PIL import Image, ImageOps
from torch import Tensor, nn

from luss_mm.datasets import image_walk
from luss_mm.datasets.image_walk import IMAGE_SUFFIXES, is_image, size_of
from luss_mm.evaluation.cluster_names import given_names, merged_ids, name_of, read_names, run_names
from luss_mm.functional.label_codec import MAX_ID, category_palette
from luss_mm.inference.trained_segmentor import find_segmentor, refine_predictions
from luss_mm.pipeline.image_batches import batches_of_equal_size
from luss_mm.recipes.image_preparation import ImagePreparation, PreparedImage
from luss_mm.visualization.pictures import blend_labels

Item = TypeVar('Item')
Loaded = TypeVar('Loaded')


def input_images(root: str | Path) -> Iterator[str]:
    """Relative paths of all images below a folder, or of a single one; see `image_walk`.

    Only the names of one folder (and of those above it) are in memory at a time.

    Args:
        root: A folder, or one image, whose name is then the only path.

    Raises:
        FileNotFoundError: If there is no such folder or image.
        PermissionError: If the folder itself may not be read.
        ValueError: If it is a file with another suffix.
    """
    root = Path(root)
    if root.is_dir():
        yield from image_walk.walk_images(root)
    elif not root.exists():
        raise FileNotFoundError(f'{root}: no such image or folder.')
    elif not is_image(root.name):
        raise ValueError(f'{root}: not an image ({", ".join(IMAGE_SUFFIXES)}).')
    else:
        yield root.name


def fingerprint_images(root: str | Path) -> tuple[int, str]:
    """Number of images below a folder, and a SHA-256 of their relative paths and sizes in bytes.

    Contents are not read: an image replaced by one of the same size goes unnoticed.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: See `input_images`.
    """
    digest, count = hashlib.sha256(), 0
    for relative in input_images(root):
        size = size_of(os.fspath(image_path(root, relative)))
        digest.update(os.fsencode(f'{relative}\0{size}\n'))
        count += 1
    if not count:
        raise FileNotFoundError(f'{root}: holds no image ({", ".join(IMAGE_SUFFIXES)}).')
    return count, digest.hexdigest()


def image_path(root: str | Path, relative: str) -> Path:
    """Path of an image of `input_images`."""
    return Path(root, relative) if Path(root).is_dir() else Path(root)


def shards(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive items in lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while shard := list(islice(iterator, size)):
        yield shard


def load_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], workers: int, ahead: int
) -> Iterator[Loaded]:
    """Load items in threads, in their order, a bounded number before they are asked for.

    Args:
        items: Taken one by one, `ahead` at most before their turn.
        load: Called in a thread. Decoding and resizing by OpenCV run beside each other there.
        workers: Threads.
        ahead: Items that are loaded or being loaded.
    """
    with ThreadPoolExecutor(workers) as pool:
        iterator = iter(items)
        waiting = deque(pool.submit(load, item) for item in islice(iterator, ahead))
        try:
            while waiting:
                loaded = waiting.popleft().result()
                waiting.extend(pool.submit(load, item) for item in islice(iterator, 1))
                yield loaded
        finally:
            for future in waiting:
                future.cancel()


WINDOW = 256  # images that wait for others of their size
BAD_IMAGE_RULES = ('skip', 'error')


class BadImageError(ValueError):
    """An image cannot be read."""


@INFERENCERS.register_module()
class LUSSInferencer(BaseInferencer):
    """Segments files, folders and arrays; ids may exceed 255 and sizes may differ.

    Images of one input size go through the network together and nothing is padded, so every image
    gets the label map that it would get alone. Works for every mmseg segmentor whose predictions
    hold `pred_sem_seg`.

        inferencer = LUSSInferencer('work_dirs/pass_s50')
        result = inferencer(['a.jpg', bgr_array], return_vis=True)
        result['predictions'][0]  # ids, uint16 (H, W)

    Args:
        model: Run directory, folder of a finished stage, or checkpoint; or, with `weights`, a
            config (a file, which is executed, or a Config).
        weights: Checkpoint of a config given as `model`.
        device: 'cpu', 'cuda', 'cuda:1' ...; None takes a GPU if there is one.
        scope: Scope of mmengine's registries.
        show_progress: Unused here: `tools/infer.py` shows the progress of folders.
        names: JSON file as `read_names` takes it; ids that share a name become the lowest of them.
            'run' takes the run's own `names.json`, or else the categories that its clusters were
            matched to, if they were; 'none' takes cluster numbers.
        refine: Config of a segmenter that refines predictions, see `LUSSSegmentor`; None leaves
            that to the model's own config.

    Raises:
        FileNotFoundError: If there is no such run, checkpoint or file of names.
        CheckpointError: If the weights do not fit, or could execute code.
        ConfigError: If the config that came with the checkpoint could execute code, or the model
            cannot refine its predictions.
    """

    def __init__(
        self,
        model: str | Path | Config,
        weights: str | Path | None = None,
        device: str | None = None,
        scope: str = 'mmseg',
        show_progress: bool = False,
        names: str | Path = 'run',
        refine: dict | None = None,
    ) -> None:
        if weights is None:
            self.source = find_segmentor(model)
        else:
            self.source = find_segmentor(weights, config=model)
        if refine is not None:
            config = refine_predictions(self.source.config, refine)
            self.source = replace(self.source, config=config)
        if names == 'none':
            self.names: dict[int, str] = {}
        else:
            self.names = run_names(self.source.folder) if names == 'run' else read_names(names)
        place = self.source.folder.absolute().parent if names == 'run' else names
        self._merged = merged_ids({} if names == 'none' else given_names(place))
        super().__init__(
            self.source.config, str(self.source.checkpoint), device, scope, show_progress
        )

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> nn.Module:
        return self.source.build(str(device))

    def _init_pipeline(self, cfg: Config) -> ImagePreparation:
        return ImagePreparation(self.source.test_pipeline)

    def _init_collate(self, cfg: Config) -> Callable:
        return pseudo_collate  # lists: `stream` has grouped the images already

    def _init_visualizer(self, cfg: Config) -> None:
        """None: overlays need no visualizer, and the config's would write into the run."""

    def __call__(
        self,
        inputs: str | Path | np.ndarray | Image.Image | Sequence[str | Path | np.ndarray],
        return_datasamples: bool = False,
        batch_size: int = 16,
        return_vis: bool = False,
        on_bad_image: str = 'error',
        num_workers: int = 2,
    ) -> dict[str, list]:
        """Segment images and keep all results in memory; `stream` does not.

        Args:
            inputs: An image file, a folder (read recursively), an array (BGR uint8, (H, W, 3), as
                OpenCV reads it), an image of Pillow, or a list of these, without folders.
            return_datasamples: Return mmseg's data samples as predictions.
            batch_size: Images of one size that are segmented together at most.
            return_vis: Also return overlays.
            on_bad_image: 'error' stops at the first image that cannot be read; 'skip' puts None in
                its place.
            num_workers: Threads that load images.

        Returns:
            `predictions`: label maps, uint16 (H, W), in the order of the inputs. `shares`: a dict
            for each image, predicted ids to shares of its area. `visualization`: RGB pictures, if
            asked for. `problems`: index to reason of bad images. Lists are as long as the inputs.

        Raises:
            BadImageError: If an image cannot be read and `on_bad_image` is 'error'.
            TypeError: If an input is no image, as None.
        """
        if on_bad_image not in BAD_IMAGE_RULES:
            raise ValueError(f'on_bad_image is one of {BAD_IMAGE_RULES}, not {on_bad_image!r}')
        images = self._inputs_to_list(inputs)
        results: list[PreparedImage] = [PreparedImage(index) for index in range(len(images))]
        for result in self.stream(images, batch_size, num_workers, with_pictures=return_vis):
            if result.problem is not None and on_bad_image == 'error':
                raise BadImageError(_named_problem(images, result))
            results[result.index] = result
        visualization = self.visualize(images, results) if return_vis else []
        return self.postprocess(results, visualization, return_datasamples)

    def stream(
        self,
        inputs: Iterable[str | Path | np.ndarray],
        batch_size: int = 16,
        num_workers: int = 2,
        with_pictures: bool = False,
    ) -> Iterator[PreparedImage]:
        """Segment any number of images; each result comes as soon as its batch is through.

        Args:
            inputs: Files and arrays, taken as they are needed.
            batch_size: Images of one size that are segmented together at most.
            num_workers: Threads that load images.
            with_pictures: Keep the images, shrunk, for overlays.

        Yields:
            Every input once, not in their order: `index` says which, `problem` what was bad.
        """
        load = partial(self.pipeline, with_picture=with_pictures)
        loaded = load_ahead(enumerate(inputs), load, num_workers, ahead=batch_size + num_workers)
        # Bad images have a shape of their own, and are passed on like the others.
        batches = batches_of_equal_size(loaded, _input_shape, batch_size, WINDOW)
        for batch in batches:
            if batch[0].problem is None:
                self._segment(batch)
            yield from batch

    def _segment(self, batch: list[PreparedImage]) -> None:
        """Set the label maps of images of one size."""
        data = self.collate_fn([image.packed for image in batch])
        for image, sample in zip(batch, self.forward(data), strict=True):
            if 'pred_sem_seg' not in sample:
                raise ValueError(
                    f'{type(self.model).__name__}.predict fills no pred_sem_seg: this is not a '
                    'segmentor of mmseg'
                )
            image.labels = _as_ids(sample.pred_sem_seg.data)
            if self._merged:
                table = np.arange(int(image.labels.max()) + 1, dtype=np.uint16)
                for number in self._merged.keys() & set(table.tolist()):
                    table[number] = self._merged[number]
                image.labels = table[image.labels]
            image.packed = dict(data_samples=sample.cpu())

    def _inputs_to_list(
        self, inputs: str | Path | np.ndarray | Sequence[str | Path | np.ndarray]
    ) -> list[str | Path | np.ndarray]:
        if isinstance(inputs, (str, Path)):
            return [image_path(inputs, relative) for relative in input_images(inputs)]
        if isinstance(inputs, (np.ndarray, Image.Image)) or not isinstance(inputs, Iterable):
            inputs = [inputs]
        return [_as_input(image) for image in inputs]

    def visualize(
        self, inputs: list, preds: list[PreparedImage], show: bool = False
    ) -> list[np.ndarray | None]:
        """Images coloured by their label maps, RGB uint8, 1024 pixels long at most.

        Args:
            inputs: Not looked at: the pictures were kept when the images were loaded.
            preds: With pictures; bad images yield None.
            show: Not supported: show the returned pictures.
        """
        return [None if pred.labels is None else overlay(pred) for pred in preds]

    def postprocess(
        self,
        preds: list[PreparedImage],
        visualization: list[np.ndarray | None],
        return_datasample: bool = False,
    ) -> dict[str, list]:
        """Pack results; see `__call__`."""
        predictions: list[np.ndarray | BaseDataElement | None] = [pred.labels for pred in preds]
        if return_datasample:
            predictions = [pred.packed and pred.packed['data_samples'] for pred in preds]
        return dict(
            predictions=predictions,
            visualization=visualization,
            shares=[None if p.labels is None else area_shares(p.labels) for p in preds],
            problems={p.index: p.problem for p in preds if p.problem is not None},
        )

    @property
    def refined_by(self) -> str | None:
        """Type of the segmenter that refines predictions, if one does."""
        return getattr(self.model, 'refined_by', None)

    def name_of(self, predicted_id: int) -> str:
        """The matched category of an id, or `cluster <id>`."""
        return name_of(predicted_id, self.names)


def _as_input(image: str | Path | np.ndarray | Image.Image) -> str | Path | np.ndarray:
    """A picture of Pillow as an array, turned as people see it; the others as they are."""
    if isinstance(image, Image.Image):
        upright = ImageOps.exif_transpose(image).convert('RGB')
        return np.ascontiguousarray(np.asarray(upright)[..., ::-1])
    if not isinstance(image, (str, Path, np.ndarray)):
        raise TypeError(
            'an image is a path, an array (BGR uint8, (H, W, 3)) or one of Pillow, not '
            f'{type(image).__name__}'
        )
    return image


def overlay(image: PreparedImage) -> np.ndarray:
    """The picture of a segmented image, coloured by its label map; id 0 stays as it is."""
    height, width = image.picture.shape[:2]
    labels = cv2.resize(image.labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    palette = category_palette(int(labels.max()) + 1)
    return blend_labels(image.picture, labels, palette, ignore_index=-1)  # ids only


def area_shares(labels: np.ndarray) -> dict[int, float]:
    """Share of the area of each id that occurs, the largest first.

    Args:
        labels: Ids. Shape (H, W).
    """
    return {number: pixels / labels.size for number, pixels in count_ids(labels).items()}


def count_ids(labels: np.ndarray) -> dict[int, int]:
    """Pixels of each id that occurs, the most frequent first, of equals the lowest id."""
    counts = np.bincount(labels.ravel())
    order = np.argsort(-counts, kind='stable')[: np.count_nonzero(counts)]
    return {int(number): int(counts[number]) for number in order}


def _input_shape(image: PreparedImage) -> tuple[int, ...]:
    return () if image.packed is None else tuple(image.packed['inputs'].shape)


def _as_ids(labels: Tensor) -> np.ndarray:
    """Label map on the CPU, uint16 (H, W)."""
    lowest, highest = (int(bound) for bound in labels.aminmax())
    if lowest < 0 or highest > MAX_ID:
        raise ValueError(f'predicted ids {lowest} to {highest} do not fit into [0, {MAX_ID}]')
    # int32 first: torch's uint16 cannot be indexed on every device
    return labels.to(torch.int32).cpu().numpy().reshape(labels.shape[-2:]).astype(np.uint16)


def _named_problem(images: Sequence[str | Path | np.ndarray], result: PreparedImage) -> str:
    """Why an image is bad, and which it is, once."""
    image = images[result.index]
    name = f'image {result.index}' if isinstance(image, np.ndarray) else str(image)
    named = result.problem if name in result.problem else f'{name}: {result.problem}'
    return f"{named} (or set on_bad_image='skip')"
