"""Label maps from image tags are made before a plain segmentor is trained on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmseg.registry import DATASETS, HOOKS, MODELS

from luss_mm.checkpoints.loading import load_weights
from luss_mm.datasets.transforms.loading import keeps_stored_pixels
from luss_mm.functional.label_codec import category_palette
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.tagged_labels import (
    PROBABILITIES,
    SCALES,
    TAGGED_LABELS,
    NumberedImages,
    TaggedLabeller,
    generate_tagged_labels,
    has_mask,
    mask_of,
)
from luss_mm.visualization.pictures import blend_labels, picture_strip, save_picture
from luss_mm.visualization.run_pictures import decoration, read_rgb
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.run_folder import RunFolder


@HOOKS.register_module()
class TaggedLabelHook(Hook):
    """Label maps of all training images from a finished PCT stage, and pictures of some.

    Args:
        directory: Gets the folders tagged_labels and pictures.
        config: Config of the stage.
        checkpoint: Its weights.
        dataset: Config of the `SemiDataset` that the stage was trained on.
        replaced: What is other in its parts 'labelled' and 'unlabelled': a `pipeline` of whole
            images with masks or tags, see `NumberedImages`.
        network: Which of the stage's networks labels: 'hybrid' or 'pseudo'.
        scales: See `TaggedLabeller`.
        flip: See there.
        average: See there.
        batch_size: Images in a forward pass.
        shard_size: Images that an interruption loses at most, and that one rank takes at a time.
        num_workers: Loading processes.
        labels: Name of the folder of label maps.
        num_pictures: Labelled and tagged images shown, as many of each, evenly spread.
    """

    def __init__(
        self,
        directory: str,
        config: str,
        checkpoint: str,
        dataset: Mapping[str, Any],
        replaced: Mapping[str, Mapping[str, Any]],
        network: str = 'hybrid',
        scales: Sequence[float] = SCALES,
        flip: bool = True,
        average: str = PROBABILITIES,
        batch_size: int = 8,
        shard_size: int = 256,
        num_workers: int = 2,
        labels: str = TAGGED_LABELS,
        num_pictures: int = 12,
    ) -> None:
        self.directory = Path(directory)
        self.config = config
        self.checkpoint = checkpoint
        # Revisited images are labelled ones, which come first.
        self.dataset = dict(dataset, revisit_labelled=False) | {
            k: dict(dataset[k], **new) for k, new in replaced.items()
        }
        self.replaced = replaced
        self.network = network
        self.scales = tuple(scales)
        self.flip = flip
        self.average = average
        self.sizes = dict(batch_size=batch_size, shard_size=shard_size)
        self.num_workers = num_workers
        self.labels = labels
        self.pictures = RunFolder(directory).pictures / labels
        self.num_pictures = num_pictures

    def check(self) -> None:
        """Refuse, before any stage trains, what could only fail here.

        Raises:
            ValueError: If the data set cannot be built.
        """
        DATASETS.build(self.dataset)

    def before_train(self, runner) -> None:
        """Make the label maps that the training data loader will read."""
        labeller = self._labeller()
        images = NumberedImages(DATASETS.build(self.dataset))
        generate_tagged_labels(
            self.directory / self.labels,
            labeller,
            ShardedBatches(images, num_workers=self.num_workers, **self.sizes),
            inputs=dict(
                model=fingerprint_file(self.checkpoint), images=images.dataset.fingerprint()
            ),
            settings=dict(network=self.network, whole_images=self.replaced, **self.sizes),
        )
        if is_main_process():
            with decoration(f'pictures in {self.pictures}'):
                self._save_pictures(labeller, images, self.pictures)
        barrier()

    def _labeller(self) -> TaggedLabeller:
        model = MODELS.build(Config.fromfile(self.config).model)
        load_weights(model, self.checkpoint)
        model.eval().to(get_device())
        network = getattr(model, self.network)
        return TaggedLabeller(
            network, model.data_preprocessor, self.scales, self.flip, self.average
        )

    def _save_pictures(
        self, labeller: TaggedLabeller, images: NumberedImages, directory: Path
    ) -> None:
        """What the network says of some images, also where their mask was taken instead."""
        palette = category_palette(labeller.network.decode_head.num_classes)
        first = images.dataset.parts[0]
        ignored, stored_pixels = first.ignore_index, keeps_stored_pixels(first.pipeline)
        for index in self._shown(images):
            sample = images[index]
            annotation = sample['data_samples']
            (labels,) = labeller.label([sample['inputs']], [annotation])
            maps = {'pseudo-label': labels}
            if has_mask(annotation):
                maps['mask'] = mask_of(annotation)
            image = read_rgb(annotation.img_path, stored_pixels)
            panels = [
                (title, blend_labels(image, shown, palette, ignore_index=ignored))
                for title, shown in maps.items()
            ]
            strip = picture_strip([('image', image), *panels])
            save_picture(directory / f'{index:07d}.png', strip)
        print_log(f'pictures: {directory}', logger='current')

    def _shown(self, images: NumberedImages) -> list[int]:
        labelled = images.dataset.num_labelled
        parts = (0, labelled), (labelled, len(images))
        spread = [np.linspace(start, stop - 1, self.num_pictures) for start, stop in parts]
        return np.unique(np.concatenate(spread).astype(int)).tolist()
