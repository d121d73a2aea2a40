"""A stage's model on a made-up batch: operations, memory and seconds of its steps."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import FUNCTIONS, DefaultScope
from mmseg.registry import MODELS, OPTIMIZERS
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from luss_mm.costs.machine import BFLOAT16, FLOAT16, FLOAT32, seconds_of
from luss_mm.datasets.sample_seed import sample_randomness
from luss_mm.datasets.transforms.resize_short_side import short_side_size
from luss_mm.models.cpu_speed import cpu_has_fast_bfloat16

PHOTOGRAPH = (375, 500)  # height and width of a usual image of ImageNet
TRIAL_SAMPLES = 2  # the fewest that batch norm takes
MEASURED_STEPS = 3


@dataclass(frozen=True)
class Step:
    """What one training step takes on one process.

    Attributes:
        operations: Floating point operations of its matrix products and convolutions.
        parameters: Numbers in the model.
        trained: Of them, those that are trained.
        activations: Bytes that are kept for the backward pass.
        loading: Seconds of one core to read and transform the images.
        seconds: Measured time of a step, without loading; None if only counted.
        peak_memory: Measured bytes on the GPU; None without one, or if only counted.
    """

    operations: float
    parameters: int
    trained: int
    activations: int
    loading: float
    seconds: float | None = None
    peak_memory: int | None = None


def count_step(stage: Mapping[str, Any], image_size: tuple[int, int], device: str) -> Step:
    """Count a step of a stage's full batch, from a trial with two images.

    Args:
        stage: Resolved config.
        image_size: Height and width of an image file.
        device: 'cpu' or 'cuda'.
    """
    with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
        samples, loading = draw_made_up_samples(
            stage['train_dataloader'], TRIAL_SAMPLES, image_size
        )
        model = build_model(stage['model'], device)
        batch = collate(stage['train_dataloader'], samples)
        sizes: dict[int, int] = {}
        with FlopCounterMode(display=False) as counter, _recording(model, sizes):
            run_step(model, batch, precision_of(stage, device), device)
    factor = stage['train_dataloader']['batch_size'] / TRIAL_SAMPLES
    return Step(
        operations=counter.get_total_flops() * factor,
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        activations=round(sum(sizes.values()) * factor),
        loading=loading * stage['train_dataloader']['batch_size'],
    )


def measure_step(
    stage: Mapping[str, Any], counted: Step, image_size: tuple[int, int], device: str
) -> Step:
    """The same with the median time, and on a GPU the peak memory, of steps of the real batch.

    Args:
        stage: Resolved config.
        counted: Of `count_step`.
        image_size: Height and width of an image file.
        device: 'cpu' or 'cuda'.
    """
    with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
        loader = stage['train_dataloader']
        samples, _ = draw_made_up_samples(loader, TRIAL_SAMPLES, image_size)
        model = build_model(stage['model'], device)
        batch = collate(loader, [samples[i % TRIAL_SAMPLES] for i in range(loader['batch_size'])])
        wanted = stage['optim_wrapper']['optimizer']
        optimizer = OPTIMIZERS.build(dict(wanted, params=list(model.parameters())))
        if device == 'cuda':
            torch.cuda.reset_peak_memory_stats()

        def step() -> None:
            run_step(model, batch, precision_of(stage, device), device)
            optimizer.step()
            optimizer.zero_grad()

        seconds = median_seconds(step, device)
    peak = torch.cuda.max_memory_allocated() if device == 'cuda' else None
    return Step(**vars(counted) | dict(seconds=seconds, peak_memory=peak))


def median_seconds(work: Callable[[], Any], device: str) -> float:
    """Median of a few calls after one to warm up."""
    work()
    return statistics.median(seconds_of(work, device) for _ in range(MEASURED_STEPS))


def run_step(model: nn.Module, batch: Mapping[str, Any], precision: str, device: str) -> None:
    """Forward and backward pass."""
    data = model.data_preprocessor(dict(batch), True)
    with _autocast(precision, device):
        loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()


def precision_of(stage: Mapping[str, Any], device: str) -> str:
    """Type of number of a stage's matrix products on a device."""
    wrapper = stage['optim_wrapper']
    if wrapper.get('type') != 'AmpOptimWrapper':
        return FLOAT32
    if device == 'cuda':
        return wrapper.get('dtype') or FLOAT16
    return BFLOAT16 if cpu_has_fast_bfloat16() else FLOAT32


def draw_made_up_samples(
    loader: Mapping[str, Any], count: int, image_size: tuple[int, int]
) -> tuple[list[Any], float]:
    """Samples of a data loader's transforms from made-up images, and seconds that one takes.

    Reading a file is not in it. The quickest counts, so two or more tell more than one.

    Raises:
        ValueError: If the data set is one of several, such as `SemiDataset`.
    """
    pipeline = loader['dataset'].get('pipeline')
    if pipeline is None:
        raise ValueError(f'{loader["dataset"]["type"]} has no pipeline of its own to try')
    steps = [made_up_labels if 'LabelMap' in t['type'] else t for t in pipeline]
    transforms = Compose([s for s in steps if callable(s) or not s['type'].startswith('Load')])
    by_type = {t['type']: t for t in pipeline}
    samples, seconds = [], []
    for index in range(count):
        image = made_up_image(index, image_size)
        if 'LoadCachedMaps' in by_type:
            image |= made_up_maps(by_type['LoadCachedMaps'], image_size)
        started = time.process_time()
        samples.append(transforms(image))
        seconds.append(time.process_time() - started)
    return samples, min(seconds)  # the first one also sets things up


def made_up_image(index: int, size: tuple[int, int]) -> dict[str, Any]:
    """What the loading transforms would say of an image file of noise."""
    image = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
    return dict(
        img=image,
        img_shape=size,
        ori_shape=size,
        img_path='made-up.JPEG',
        sample_idx=index,
        class_label=0,
        seg_fields=[],
    )


def made_up_labels(results: dict[str, Any]) -> dict[str, Any]:
    """What loading a label map would add to an image."""
    labels = np.zeros(results['img_shape'], dtype=np.int32)
    loaded = dict(gt_seg_map=labels, seg_fields=['gt_seg_map'], seg_map_path='made-up.png')
    return results | loaded


def made_up_maps(loading: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """What `LoadCachedMaps` would say of an image file, with maps of zeros.

    Args:
        loading: Config of the transform.
        size: Height and width of the file.
    """
    width, height = short_side_size(size[1], size[0], loading['side'])
    shapes = [
        (channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(loading['channels'], loading['strides'], strict=True)
    ]
    maps = [np.zeros(shape, dtype=np.float16) for shape in shapes]
    return dict(maps=maps, img_shape=(height, width))


def collate(loader: Mapping[str, Any], samples: Sequence[Any]) -> Any:
    """A batch, as the stage's data loader makes it."""
    kind = (loader.get('collate_fn') or dict(type='pseudo_collate'))['type']
    return FUNCTIONS.get(kind)(samples)


def build_model(config: Mapping[str, Any], device: str) -> nn.Module:
    """A model in training mode, with batch norm that does not wait for other ranks."""
    return revert_sync_batchnorm(MODELS.build(dict(config))).to(device).train()


def _autocast(precision: str, device: str) -> AbstractContextManager:
    if precision == FLOAT32:
        return nullcontext()
    return torch.autocast(device, dtype=getattr(torch, precision))


def _recording(model: nn.Module, sizes: dict[int, int]) -> AbstractContextManager:
    """Notes the bytes of every tensor that autograd keeps, parameters excepted."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: list[Tensor] = []  # alive until the end: no two storages share an address

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept.append(tensor)
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
