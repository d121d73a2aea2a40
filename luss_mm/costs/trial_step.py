"""A step of a network on made-up images: its seconds and its memory."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from luss_mm.datasets.samplers import sample_randomness
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.models.cpu_speed import cpu_has_fast_bfloat16
from luss_mm.models.student_teacher import StudentTeacher
from luss_mm.recipes.trials import build_model, collate, draw_made_up_samples

MOMENTS = dict(SGD=1, LARS=1)  # numbers of the optimiser for each trained one; others have two
WORKSPACE = 1.3  # memory of a step over what the backward pass needs
MAP_COPIES = 6  # feature maps that are in memory at once: enlarged, gates, and between
SAMPLES = 2  # the fewest that batch norm takes
CHEAP = 1.0  # seconds of a step of the whole batch up to which it is made, not reckoned from few


@dataclass(frozen=True)
class Trial:
    """What a step of a batch takes on one process.

    Attributes:
        seconds: Without loading.
        loading: Seconds of one core to transform an image; reading the file is not in it.
        memory: Bytes of parameters, gradients, optimiser and activations; on a GPU the measured
            peak of a forward (and backward) pass if that is more.
        weights: Bytes of the parameters.
        checkpoint: Bytes of parameters and optimiser.
        map_bytes: Bytes of each feature map of an image as it is cached; of a pass only.
    """

    seconds: float
    loading: float
    memory: int
    weights: int
    checkpoint: int
    map_bytes: tuple[int, ...] = ()


def try_training(
    stage: Mapping[str, Any], image_size: tuple[int, int], device: str, whole: bool = False
) -> Trial:
    """Forward and backward passes of a training stage, without the optimiser.

    Args:
        stage: Resolved config.
        image_size: Height and width of an image file.
        device: 'cpu' or 'cuda'.
        whole: Make the whole batch however long it takes, instead of two images of it.
    """
    loader = stage['train_dataloader']
    with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
        samples = draw_made_up_samples(loader, SAMPLES, image_size)
        few, whole_batch = len(samples.few), loader['batch_size']
        model = build_model(stage['model'], device)
        if isinstance(model, StudentTeacher):
            model.build_teacher()
        kept: dict[int, int] = {}

        def step(count: int) -> None:
            batch = collate(loader, samples.batch if count == whole_batch else samples.few)
            data = model.data_preprocessor(dict(batch), True)
            with _autocast(stage['optim_wrapper'], device):
                loss, _ = model.parse_losses(model(**data, mode='loss'))
            loss.backward()

        with _recording(model, kept):
            step(few)
        seconds, peak = _time_batch(step, few, whole_batch, device, whole)
    moments = MOMENTS.get(stage['optim_wrapper']['optimizer']['type'], 2)
    weights = sum(p.nbytes for p in model.parameters())
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    checkpoint = weights + moments * trained
    activations = WORKSPACE * sum(kept.values()) * whole_batch / few
    memory = round(checkpoint + trained + activations)
    return Trial(seconds, samples.loading, max(memory, peak), weights, checkpoint)


def try_pass(
    network: nn.Module,
    source: Mapping[str, Any],
    image_size: tuple[int, int],
    device: str,
    whole: bool = False,
) -> Trial:
    """A pass without gradients, from cached maps where the source has some.

    Args:
        network: In eval mode.
        source: `dataset`, `batch_size`, and `maps` where they are cached.
        image_size: Height and width of an image file.
        device: 'cpu' or 'cuda'.
        whole: Make the whole batch however long it takes, instead of one image of it.
    """
    with DefaultScope.overwrite_default_scope('mmseg'), sample_randomness(0, 0, 0):
        samples = draw_made_up_samples(source, SAMPLES, image_size)
    network, batch = network.to(device), source['batch_size']
    inputs = [network.data_preprocessor.normalize(samples.few[0]['inputs'][None].to(device))]
    maps, each = (), inputs[0].nbytes
    with torch.inference_mode():
        if isinstance(network, AttendedInference):
            maps = network.feature_maps(inputs[0])
            inputs += [maps[network.in_index]] * bool(source.get('maps'))
            # Scores may be as large as the image, features are not.
            each = max(each, maps[network.in_index].nbytes * network.upsample**2)

        def step(count: int) -> None:
            network(*(x.expand(count, -1, -1, -1).contiguous() for x in inputs))

        step(1)
        seconds, peak = _time_batch(step, 1, batch, device, whole)
    weights = sum(p.nbytes for p in network.parameters())
    memory = max(peak, weights + MAP_COPIES * batch * each)
    sizes = tuple(2 * level.numel() for level in maps)  # float16
    return Trial(seconds, samples.loading, memory, weights, weights, sizes)


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Seconds that a call takes: of the GPU, or of all of torch's threads on a CPU of their own."""
    clock = time.perf_counter if device == 'cuda' else time.process_time
    started = clock()
    work()
    if device == 'cuda':
        torch.cuda.synchronize()
        return clock() - started
    return (clock() - started) / torch.get_num_threads()


def _time_batch(
    step: Callable[[int], Any], few: int, batch: int, device: str, whole: bool
) -> tuple[float, int]:
    """Seconds and peak GPU memory of a batch; of few images where it takes long or has no room."""
    expected = seconds_of(lambda: step(few), device) * batch / few
    if expected > CHEAP and not whole:
        return expected, 0
    try:
        if device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        seconds = min(seconds_of(lambda: step(batch), device) for _ in range(2))
    except torch.OutOfMemoryError:
        return expected, 0
    return seconds, torch.cuda.max_memory_allocated() if device == 'cuda' else 0


def _autocast(wrapper: Mapping[str, Any], device: str) -> AbstractContextManager:
    if wrapper.get('type') != 'AmpOptimWrapper':
        return nullcontext()
    if device == 'cuda':
        return torch.autocast(device, dtype=getattr(torch, wrapper.get('dtype') or 'float16'))
    return torch.autocast(device, dtype=torch.bfloat16, enabled=cpu_has_fast_bfloat16())


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
