"""What one training of a recipe costs: iterations, operations, seconds, memory and disk."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.registry import DefaultScope

from luss_mm.costs.machine import Machine
from luss_mm.costs.recipe_images import RecipeImages
from luss_mm.costs.step_times import CountedTimes
from luss_mm.costs.trial_step import TRIAL_SAMPLES, Step, count_step, draw_made_up_samples

NUMBER = 4  # bytes of a parameter, gradient or number of the optimiser
MOMENTS = dict(SGD=1, LARS=1)  # numbers of the optimiser for each trained one; others have two
WORKSPACE = 1.3  # memory of a step over what the backward pass needs
PROCESS = 1_000_000_000  # bytes of a process that has imported the package, measured
WORKER = 200_000_000  # bytes of a loading process that are not shared, roughly
INDEX = 50  # bytes of an image in the list of images
STARTING = 3.0  # seconds to set up a stage and save its results, measured for small ones
DECODING = 1.5e-8  # seconds of one core to read and decode a pixel of a JPEG


@dataclass(frozen=True)
class Cost:
    """Cost of one part of a run, on each process.

    Attributes:
        name: Of the part.
        output: Folder below the work directory that it makes.
        images: It works on.
        epochs: Passes over them; of k-means restarts.
        iterations: In all.
        batch: Images of an iteration.
        operations: Of one process.
        seconds: In all.
        memory: Bytes of main memory at once, all loading processes together.
        gpu_memory: Bytes on the GPU; 0 without one.
        disk: Bytes that stay.
        passing_disk: Further bytes while it runs.
        files: That stay.
        lower: Setting that lowers its memory.
        stage: Of the recipe, which the part belongs to.
    """

    name: str
    output: str
    images: int
    epochs: int
    iterations: int
    batch: int
    operations: float
    seconds: float
    memory: int
    gpu_memory: int
    disk: int
    passing_disk: int
    files: int
    lower: str
    stage: str = ''


def training_cost(
    name: str,
    stage: Mapping[str, Any],
    facts: RecipeImages,
    times: CountedTimes,
    processes: int = 1,
) -> Cost:
    """Cost of a training stage.

    Args:
        name: Of the stage.
        stage: Its resolved config.
        facts: Of the images.
        times: How seconds are found.
        processes: Of the run.
    """
    machine, loader = times.machine, stage['train_dataloader']
    images, batch = facts.count(loader['dataset']), loader['batch_size']
    epochs, iterations = _length(stage, images, processes)
    step = count_step(stage, facts.size, machine.device)
    computing, peak = times.training(stage, step, facts.size)
    loading = step.loading + batch * decoding_seconds(facts.size)
    seconds = iterations * seconds_together(computing, loading, loader['num_workers'], machine)
    seconds += STARTING + _validation_seconds(stage, facts, computing, processes)
    network = peak or network_memory(stage, step)
    waiting = batch_bytes(stage, facts.size)
    checkpoint, weights = checkpoint_bytes(stage, step)
    kept = stage['default_hooks']['checkpoint'].get('max_keep_ckpts', 1)
    return Cost(
        name=name,
        output=name,
        images=images,
        epochs=epochs,
        iterations=iterations,
        batch=batch,
        operations=step.operations * iterations,
        seconds=seconds,
        memory=process_memory(loader['num_workers'], waiting, images)
        + (0 if machine.gpu_memory else network),
        gpu_memory=network if machine.gpu_memory else 0,
        disk=kept * checkpoint + weights,
        passing_disk=checkpoint,
        files=kept + 10,
        lower='finetune_batch_size' if name == 'finetune' else 'batch_size',
    )


def _length(stage: Mapping[str, Any], images: int, processes: int) -> tuple[int, int]:
    """Epochs and iterations."""
    loop, loader = stage['train_cfg'], stage['train_dataloader']
    share = math.ceil(images / processes)
    rounding = math.floor if loader.get('drop_last') else math.ceil
    each = max(rounding(share / loader['batch_size']), 1)
    if loop.get('by_epoch', 'max_epochs' in loop):
        return loop['max_epochs'], each * loop['max_epochs']
    return math.ceil(loop['max_iters'] / each), loop['max_iters']


def _validation_seconds(
    stage: Mapping[str, Any], facts: RecipeImages, computing: float, processes: int
) -> float:
    """One pass over the validation images; a third of a training step is its forward pass."""
    loader = stage.get('val_dataloader')
    if not loader:
        return 0.0
    images = facts.count_validation(loader['dataset'])
    forward = computing / stage['train_dataloader']['batch_size'] / 3
    sides = stage['model']['data_preprocessor'].get('size')
    with DefaultScope.overwrite_default_scope('mmseg'):
        (sample, *_), loading = draw_made_up_samples(loader, TRIAL_SAMPLES, facts.size)
    area = math.prod(sample['inputs'].shape[-2:]) / math.prod(sides) if sides else 1.0
    return images / processes * (forward * area + loading + decoding_seconds(facts.size))


def seconds_together(computing: float, loading: float, workers: int, machine: Machine) -> float:
    """Seconds of a step whose images are loaded meanwhile.

    Args:
        computing: On the GPU or all of torch's threads.
        loading: Of one core.
        workers: Loading processes.
        machine: Whose cores both share.
    """
    if workers == 0:
        return computing + loading
    cores_left = machine.cores - (0 if machine.gpu_memory else machine.threads)
    if cores_left >= workers:
        return max(computing, loading / workers)
    if machine.gpu_memory:
        return max(computing, loading / machine.cores)
    return max(computing, (computing * machine.threads + loading) / machine.cores)


def decoding_seconds(image_size: tuple[int, int]) -> float:
    """Of one core, to read and decode an image file."""
    return DECODING * math.prod(image_size)


def network_memory(stage: Mapping[str, Any], step: Step) -> int:
    """Bytes of parameters, gradients, optimiser and activations."""
    numbers = step.parameters + step.trained * (1 + _moments(stage))
    return round(NUMBER * numbers + WORKSPACE * step.activations)


def process_memory(workers: int, waiting: int, images: int) -> int:
    """Bytes of a process and its loading processes without the network."""
    return PROCESS + workers * (WORKER + 2 * waiting) + INDEX * images


def checkpoint_bytes(stage: Mapping[str, Any], step: Step) -> tuple[int, int]:
    """Bytes of a checkpoint to resume from, and of the final weights."""
    weights = NUMBER * step.parameters
    return weights + NUMBER * _moments(stage) * step.trained, weights


def batch_bytes(stage: Mapping[str, Any], image_size: tuple[int, int]) -> int:
    """Bytes of a batch as it waits for the network."""
    loader = stage['train_dataloader']
    with DefaultScope.overwrite_default_scope('mmseg'):
        (sample,), _ = draw_made_up_samples(loader, 1, image_size)
    return loader['batch_size'] * _tensor_bytes(sample)


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return _tensor_bytes(list(value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_tensor_bytes, value))
    return getattr(value, 'nbytes', 0)


def _moments(stage: Mapping[str, Any]) -> int:
    optimizer = stage['optim_wrapper']['optimizer']
    if optimizer['type'] == 'SGD' and not optimizer.get('momentum'):
        return 0
    return MOMENTS.get(optimizer['type'], 2)
