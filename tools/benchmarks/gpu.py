"""What has to be known of a GPU, in one command of some minutes: a JSON file and a Markdown table.

    python tools/benchmarks/gpu.py --minutes 8 --out DIR
    python tools/benchmarks/gpu.py --minutes 1 --out DIR --quick     (tiny sizes: does it all run?)

Pretraining and fine-tuning against plain autocast of the same network, views with their colours on
the device, embeddings and pixel labels, SPO by SAM with random weights and by GrabCut, k-means, and
one rank of NCCL. Images are generated. Each section is a process of its own with a share of the
time that is left: where one fails or is stopped, its row says why and the next goes on. Without a
GPU the same is measured on the CPU. DIR then holds `gpu.json` and `gpu.md`, also of the sections so
far while it runs.
"""

import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luss_mm.cli.arguments import new_parser

# Forked processes cannot use a GPU that torch has looked for in its usual way, as mmengine does.
os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '1'

import luss_mm.registered  # noqa: F401  once, for all sections
from luss_mm.engine.run_records import describe_machine
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.recipes.trials import build_model, collate, draw_made_up_samples
from luss_mm.work_dir.atomic_files import write_atomically

import features_and_labels
import pretraining_step
import spo_throughput
import torch
import views
import weak_scaling
from comparison import HEADER, cost, rate, rows
from kmeans import draw_points
from mmengine.registry import init_default_scope
from mmseg.registry import OPTIMIZERS
from pretraining_step import RECIPE, autocast_dtype, read_stage, update_one_by_one

TINY_RECIPE = RECIPE.with_name('pass_tiny.py')
IMAGE_SIZE = (375, 500)
LEAST_SECONDS = 5.0  # in which nothing is begun any more
Step = Callable[[], None]
Comparisons = dict[str, dict[str, Any]]
# Loading processes are children too, so the sections may not be daemons; a fork has torch already.
FORK = multiprocessing.get_context('fork')


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        recipe: Recipe of the trainings.
        batch: Images of a training step.
        steps: Number of steps of each training loop, after one to warm up.
        images: Images of views, embeddings and label maps.
        sam: Further words of the command line of `spo_throughput.py`.
        sam_sizes: Sizes from `SAMSizes`, in the place of ViT-B.
        points: Rows, channels and clusters of k-means.
    """

    recipe: Path = RECIPE
    batch: int = 64
    steps: int = 20
    images: int = 256
    sam: str = '--num-images 16 --num-grabcut-images 16 --images-per-batch 4'
    sam_sizes: Mapping[str, Any] | None = None
    points: tuple[int, int, int] = (64_431, 512, 50)


TINY = Sizes(
    recipe=TINY_RECIPE,
    batch=2,
    steps=1,
    images=2,
    sam='--num-images 1 --num-grabcut-images 1 --size 64 64 --boxes 1',
    sam_sizes=dict(
        image_size=64,
        encoder_channels=16,
        encoder_depth=1,
        encoder_heads=2,
        global_attention=(0,),
        prompt_channels=32,
    ),
    points=(500, 8, 3),
)


def main() -> None:
    """Measure section after section, and write the files after each."""
    parser = new_parser(__doc__)
    parser.add_argument('--minutes', type=float, default=8, help='for all of it (%(default)g)')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--quick', action='store_true', help='tiny sizes: figures say nothing')
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    sizes = TINY if options.quick else Sizes()
    options.out.mkdir(parents=True, exist_ok=True)
    report = dict(
        machine=measured(describe_machine, 60)['result'],
        command=f'gpu.py --minutes {options.minutes:g}' + ' --quick' * options.quick,
        date=time.strftime('%Y-%m-%d'),
        sections={},
    )
    for position, (name, section) in enumerate(SECTIONS.items()):
        left = deadline - time.monotonic()
        limit = left / (len(SECTIONS) - position) * 2  # most need less than their share
        entry = measured(lambda section=section: section(sizes), min(left, limit))
        report['sections'][name] = entry
        print(f'{name}: {entry["status"]}, {entry["seconds"]} s', flush=True)
        text = json.dumps(report | dict(load_average=os.getloadavg()), indent=1)
        write_atomically(options.out / 'gpu.json', text.encode())
        write_atomically(options.out / 'gpu.md', table(report).encode())


def measured(section: Callable[[], Any], limit: float) -> dict[str, Any]:
    """What a section returns, measured in a process of its own.

    Args:
        section: Without arguments.
        limit: Seconds after which it is stopped.

    Returns:
        `status`, 'finished' or what went wrong; `seconds`; `result`, None where it went wrong, and
        the peaks of the process in MB: `memory`, and `gpu_memory` where there is a GPU.
    """
    if limit < LEAST_SECONDS:
        return dict(status='no time was left', seconds=0, result=None)
    started = time.monotonic()
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_run, args=(section, sender))
    process.start()
    sender.close()
    entry = dict(status=f'stopped after {limit:.0f} s', result=None)
    if receiver.poll(limit):
        try:
            entry = receiver.recv()
        except EOFError:
            process.join()
            entry = dict(status=f'failed: exit status {process.exitcode}', result=None)
    process.join(LEAST_SECONDS if entry['result'] is not None else 0)
    process.kill()
    return entry | dict(seconds=round(time.monotonic() - started, 1))


def _run(section: Callable[[], Any], sender: Any) -> None:
    try:
        entry = dict(status='finished', result=section())
    except Exception as error:  # whatever it is, the other sections go on
        lines = f'{type(error).__name__}: {error}'.splitlines()
        entry = dict(status=f'failed: {lines[0][:200]}', result=None)
    entry['memory'] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    if torch.cuda.is_initialized():
        entry['gpu_memory'] = round(torch.cuda.max_memory_allocated() / 1e6)
    sender.send(entry)


def table(report: Mapping[str, Any]) -> str:
    """Markdown of the sections so far."""
    machine = report['machine']
    lines = [
        f'{machine["gpu"]}, {machine["cores"]} CPU cores ({machine["cpu"]}), torch '
        f'{torch.__version__}, {report["date"]}, `{report["command"]}`.',
        '',
        HEADER,
    ]
    for name, entry in report['sections'].items():
        if entry['result'] is None:
            lines.append(f'| {name} | {entry["status"]} | | |'.replace('\n', ' '))
            continue
        lines += rows(entry['result'])
        if 'gpu_memory' in entry:
            lines.append(f'| {name}: peak memory on the GPU | {entry["gpu_memory"]:,} MB | | |')
    return '\n'.join(lines) + '\n'


# ---------------------------------------------------------------- sections


def device() -> torch.device:
    """The GPU, if there is one."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def pretraining(sizes: Sizes) -> Comparisons:
    """A step of PASS's pretraining."""
    init_default_scope('mmseg')
    dtype = autocast_dtype(device())
    steps = pretraining_step.build_steps(sizes.batch, device(), dtype, recipe=sizes.recipe)
    return compare_training('pretraining', steps, sizes)


def fine_tuning(sizes: Sizes) -> Comparisons:
    """A step of the segmentor's fine-tuning."""
    return compare_training('fine-tuning', fine_tuning_steps(sizes), sizes)


def fine_tuning_steps(sizes: Sizes) -> dict[str, Step]:
    """A step as the recipe makes it, and one of a plain loop with autocast."""
    init_default_scope('mmseg')
    stage = read_stage('finetune', sizes.recipe)
    loader, dtype = stage['train_dataloader'], autocast_dtype(device())
    samples = draw_made_up_samples(loader, sizes.batch, IMAGE_SIZE).few
    batch = collate(loader, samples)

    def loop(plain: bool) -> Step:
        model = build_model(stage['model'], str(device()))
        settings, buffers = stage['optim_wrapper']['optimizer'], {}
        optimizer = OPTIMIZERS.build(dict(settings, params=model.parameters()))
        if plain:
            model.to(memory_format=torch.contiguous_format)

        def step() -> None:
            data = model.data_preprocessor(batch, training=True)
            enabled = dtype is not None or plain
            with torch.autocast(device().type, dtype=dtype or torch.bfloat16, enabled=enabled):
                losses = model(**data, mode='loss')
            model.zero_grad()
            sum(value for name, value in losses.items() if 'loss' in name).backward()
            if plain:
                update_one_by_one(model, buffers, settings['lr'], settings['weight_decay'])
            else:
                optimizer.step()

        return step

    return dict(ours=loop(plain=False), plain_autocast=loop(plain=True))


def compare_training(name: str, steps: dict[str, Step], sizes: Sizes) -> Comparisons:
    """Images a second of training loops, and on a GPU the memory of a step beyond the weights."""
    taken = pretraining_step.measure(steps, sizes.steps, device())
    work = f'{name} step, {sizes.recipe.stem}, {sizes.batch} images'
    unit = 'images/s' if device().type == 'cuda' else 'images/s of CPU time'
    found = {}
    for key, ending, against in (
        ('plain', '', 'plain float32 loop'),
        ('plain_autocast', ', autocast', 'plain autocast loop'),
    ):
        if key in taken:
            pair = (sizes.batch / taken[way] for way in ('ours', key))
            found[f'{work}{ending}'] = rate(*pair, unit, against)
    if device().type == 'cuda':
        peaks = {way: megabytes_of(step) for way, step in steps.items()}
        found[f'{work}: memory beyond the weights'] = cost(
            peaks['ours'], peaks['plain_autocast'], 'MB', 'plain autocast loop'
        )
    return found


def megabytes_of(step: Step) -> float:
    """Peak memory of a step beyond what is on the GPU before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def view_making(sizes: Sizes) -> Comparisons:
    """The eight views of an image, colours on the CPU and on the device."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = views.write_images(Path(folder), min(sizes.images, views.GENERATED))
        made = views.compare(paths, rounds=1)
    unit, all_of_it = 'images/s a core', made['ours_images_per_cpu_second']
    left = made['ours_colours_left_to_the_device_images_per_cpu_second']
    batched = made['batched_colours_images_per_cpu_second']
    batch = min(sizes.images, 32)
    on_device = views.batched_colours_rate(batch, device().type)
    return {
        'views 2 x 224 + 6 x 96, all on the CPU': rate(
            all_of_it, made['torchvision_on_pil_images_per_cpu_second'], unit, 'torchvision on PIL'
        ),
        'those views, colours left to the device': rate(left, all_of_it, unit, 'all on the CPU'),
        f'colours of those views, batches of {batch}, on the device': rate(
            on_device, batched, 'images/s', 'the same on a core'
        ),
    }


def features_and_label_maps(sizes: Sizes) -> Comparisons:
    """Embeddings and pixel labels of image files."""
    init_default_scope('mmseg')
    cores = len(os.sched_getaffinity(0))
    words = f'--out unused --count {sizes.images} --cores {min(cores, 16)}'
    with tempfile.TemporaryDirectory() as folder:
        arguments = features_and_labels.parse_arguments(words.split())
        return features_and_labels.compare(Path(folder), arguments)['comparisons']


def prompted_masks(sizes: Sizes) -> Comparisons:
    """SAM prompt optimisation: SAM's encoder and decoder, and GrabCut."""
    words = ['unused', '--device', device().type, *sizes.sam.split()]
    arguments = spo_throughput.parse_args(words)
    if sizes.sam_sizes:
        arguments.model_type = sizes.sam_sizes
    figures = spo_throughput.measure(arguments)
    grabcut = rate(figures['grabcut']['images_per_second'], None, 'images/s on the CPU')
    return figures['comparisons'] | {'GrabCut': grabcut}


def clustering(sizes: Sizes) -> Comparisons:
    """k-means, on all GPUs that faiss has."""
    import faiss

    count, channels, clusters = sizes.points
    points = draw_points(*sizes.points)
    started = time.perf_counter()
    fit_kmeans(points, clusters, 20, 3, seed=0)
    seconds = time.perf_counter() - started
    place = f'{faiss.get_num_gpus()} GPU' if faiss.get_num_gpus() else 'the CPU'
    work = f'k-means, {count:,} x {channels}, K = {clusters}, 3 x 20 iterations, on {place}'
    return {work: cost(seconds, None, 's')}


def one_rank(sizes: Sizes) -> Comparisons:
    """A process group of one rank: how long it takes to connect, and a step in it."""
    with tempfile.TemporaryDirectory() as folder:
        weak_scaling.run_rank(0, 1, folder, sizes.batch, sizes.steps, sizes.recipe)
        found = json.loads(Path(folder, 'result.json').read_text())
    backend = 'NCCL' if device().type == 'cuda' else 'gloo'
    sent = f'{found["gradient_megabytes"]:g} MB of gradients'
    return {
        f'{backend}, one rank: connecting': cost(found['seconds_to_connect'], None, 's'),
        f'{backend}, one rank: all_reduce of {sent}': cost(
            1000 * found['seconds_to_sum_gradients'], None, 'ms'
        ),
        f'{backend}, one rank: pretraining step, {sizes.batch} images, float32, '
        'DistributedDataParallel': rate(sizes.batch / found['seconds_a_step'], None, 'images/s'),
    }


SECTIONS: dict[str, Callable[[Sizes], Comparisons]] = {
    'pretraining': pretraining,
    'fine-tuning': fine_tuning,
    'one rank': one_rank,
    'SPO': prompted_masks,
    'k-means': clustering,
    'views': view_making,
    'embeddings and pixel labels': features_and_label_maps,
}

if __name__ == '__main__':
    main()
