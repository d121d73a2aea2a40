"""A pretraining step of PASS, ours against a plain float32 (and a plain autocast) loop.

    python tools/benchmarks/pretraining_step.py --out step.json

All three train the same network (ResNet-18 and heads of `configs/luss/pass_s50.py`) on the same
2 x 224 + 6 x 96 pixel views, in turns, on the GPU if there is one. The plain loops keep PyTorch's
default memory format, normalise float views, and update parameter by parameter with LARS as SwAV
writes it; `plain` is float32, `plain_autocast` adds autocast. Ours is what the recipe runs: uint8
views, channels last, autocast where the machine has it, fused LARS. The share of the matrix rate
compares the floating point operations of a step with a square matrix product of the same type.
`--compile` adds ours with torch.compile: the `step`, as `compile=True` has it, or only the
`backbone`.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from timeit import timeit

from luss_mm.cli.arguments import new_parser
from luss_mm.models.cpu_speed import cpu_has_fast_bfloat16
from luss_mm.recipes.recipe import Recipe

import torch
from comparison import rate, write_report
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS, OPTIMIZERS
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

RECIPE = Path(__file__).parents[2] / 'configs' / 'luss' / 'pass_s50.py'
COMPILED = ('step', 'backbone')
PRECISIONS = dict(float32=None, bfloat16=torch.bfloat16, float16=torch.float16)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def main() -> None:
    """Measure, write the JSON file and print the comparisons."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--steps', type=int, default=5, help='of each loop, after one to warm up')
    parser.add_argument('--threads', type=int, help='on a CPU; default: as torch chooses')
    parser.add_argument(
        '--compile', nargs='+', choices=COMPILED, default=[], help='also ours so compiled'
    )
    parser.add_argument(
        '--precision', choices=PRECISIONS, help="of ours; default: the recipe's on this machine"
    )
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    dtype = PRECISIONS[arguments.precision] if arguments.precision else autocast_dtype(device)
    with DefaultScope.overwrite_default_scope('mmseg'):
        steps = build_steps(arguments.batch, device, dtype, arguments.compile)
    # By the clock: the compiler has processes of its own.
    waits = {part: timeit(steps[f'compiled_{part}'], number=1) for part in arguments.compile}
    seconds = measure(steps, arguments.steps, device)
    operations = count_operations(steps['plain'])
    rates = dict(
        float32=matrix_rate(torch.float32, device), bfloat16=matrix_rate(torch.bfloat16, device)
    )
    report = dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu',
        threads=torch.get_num_threads(),
        batch=arguments.batch,
        precision=str(dtype or torch.float32),
        gigaflop_a_step=round(operations / 1e9, 1),
        matrix_gigaflops={name: round(rate / 1e9, 1) for name, rate in rates.items()},
    )
    for name, taken in seconds.items():
        is_float32 = name == 'plain' or (name != 'plain_autocast' and dtype is None)
        own_rate = rates['float32' if is_float32 else 'bfloat16']
        report[name] = dict(
            seconds_a_step=round(taken, 3),
            images_per_second=round(arguments.batch / taken, 2),
            share_of_matrix_rate=round(operations / taken / own_rate, 3),
        )
    report['ratio_to_plain'] = round(seconds['plain'] / seconds['ours'], 2)
    report['ratio_to_plain_autocast'] = round(seconds['plain_autocast'] / seconds['ours'], 2)
    for part, wait in waits.items():
        taken = seconds[f'compiled_{part}']
        report[f'compiled_{part}'] |= dict(
            ratio_to_ours=round(seconds['ours'] / taken, 3), seconds_of_first_step=round(wait, 1)
        )
    report['comparisons'] = describe(report, device)
    write_report(arguments.out, report)


def describe(report: dict, device: torch.device) -> dict[str, dict]:
    """See `comparison.py`."""
    cores = report['threads']
    unit = 'images/s' if device.type == 'cuda' else f'images/s on {cores} core{"s"[: cores > 1]}'
    work = f'pretraining step, ResNet-18, {report["batch"]} images'
    return {
        f'{work}{ending}': rate(
            report['ours']['images_per_second'], report[name]['images_per_second'], unit, against
        )
        for name, ending, against in (
            ('plain', '', 'plain float32 loop'),
            ('plain_autocast', ', autocast', 'plain autocast loop'),
        )
    }


def read_stage(name: str, recipe: Path = RECIPE) -> dict:
    """Resolved config of a stage of a recipe."""
    config = Config.fromfile(recipe)
    config.work_dir = 'unused'
    return Recipe(config).stage(name, 'unused')


def build_steps(
    batch: int,
    device: torch.device,
    autocast: torch.dtype | None,
    compiled: Sequence[str] = (),
    recipe: Path = RECIPE,
) -> dict[str, Callable[[], None]]:
    """One training step of each loop, and of ours with each compiled part."""
    stage = read_stage('pretrain', recipe)
    views, crops = draw_batch(stage['train_dataloader']['dataset']['pipeline'][1]['views'], batch)

    def ours(part: str | None = None) -> Callable[[], None]:
        model = MODELS.build(stage['model']).to(device).train()
        if part == 'backbone':
            model.backbone.compile(dynamic=False)  # one graph for each of the two view sizes
        settings = dict(stage['optim_wrapper']['optimizer'], params=model.parameters())
        optimizer = OPTIMIZERS.build(settings)

        def step() -> None:
            data = model.data_preprocessor(dict(inputs=views, crops=crops), training=True)
            with torch.autocast(device.type, dtype=autocast) if autocast else nullcontext():
                losses = model.loss(data['inputs'], data['crops'])
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()

        return torch.compile(step) if part == 'step' else step

    def plain(dtype: torch.dtype | None) -> Callable[[], None]:
        model = MODELS.build(stage['model']).to(device).train()
        model.to(memory_format=torch.contiguous_format)
        optimizer = stage['optim_wrapper']['optimizer']
        buffers: dict[torch.nn.Parameter, Tensor] = {}
        mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        std = torch.tensor(STD, device=device).view(1, 3, 1, 1)

        def step() -> None:
            inputs = [(view.float().to(device) - mean) / std for view in views]
            with torch.autocast(device.type, dtype=dtype) if dtype else nullcontext():
                losses = model.loss(inputs, crops.to(device))
            model.zero_grad()
            sum(losses.values()).backward()
            update_one_by_one(model, buffers, optimizer['lr'], optimizer['weight_decay'])

        return step

    low = autocast or torch.bfloat16
    loops = dict(ours=ours(), plain=plain(None), plain_autocast=plain(low))
    return loops | {f'compiled_{part}': ours(part) for part in compiled}


@torch.no_grad()
def update_one_by_one(
    model: torch.nn.Module, buffers: dict[torch.nn.Parameter, Tensor], rate: float, decay: float
) -> None:
    """LARS and momentum .9, one parameter after another, its norms read on the host."""
    for parameter in model.parameters():
        if parameter.grad is None:
            continue
        gradient = parameter.grad
        norm, gradient_norm = parameter.norm().item(), gradient.norm().item()
        if norm and gradient_norm:
            trust = 0.001 * norm / (gradient_norm + decay * norm + 1e-8)
            gradient = (gradient + decay * parameter) * trust
        buffer = buffers.setdefault(parameter, torch.zeros_like(parameter))
        buffer.mul_(0.9).add_(gradient)
        parameter.add_(buffer, alpha=-rate)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """What the recipe's mixed precision is on this device."""
    if device.type == 'cuda':
        return torch.float16
    return torch.bfloat16 if cpu_has_fast_bfloat16() else None


def draw_batch(groups: list[dict], batch: int) -> tuple[list[Tensor], Tensor]:
    """Random uint8 views and overlapping crops."""
    generator = torch.Generator().manual_seed(0)
    views = [
        torch.randint(
            0,
            256,
            (batch, 3, group['size'], group['size']),
            generator=generator,
            dtype=torch.uint8,
        )
        for group in groups
        for _ in range(group['num'])
    ]
    crops = torch.tensor([10.0, 20.0, 300.0, 280.0, 0.0]).repeat(batch, len(views), 1)
    crops[:, 1, :2] += 30
    return views, crops


def measure(
    steps: dict[str, Callable[[], None]], count: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each loop's step, the loops taking turns; CPU seconds on a CPU."""
    clock = time.perf_counter if device.type == 'cuda' else time.process_time
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(count + 1):
        for name, step in steps.items():
            started = clock()
            step()
            if device.type == 'cuda':
                torch.cuda.synchronize()
            if turn:
                taken[name].append(clock() - started)
    threads = 1 if device.type == 'cuda' else torch.get_num_threads()
    return {name: sorted(times)[len(times) // 2] / threads for name, times in taken.items()}


def count_operations(step: Callable[[], None]) -> float:
    """Floating point operations of matrix products and convolutions in a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def matrix_rate(dtype: torch.dtype, device: torch.device, size: int = 2048) -> float:
    """Floating point operations a second of a square matrix product."""
    left = torch.randn(size, size, device=device, dtype=dtype)
    clock = time.perf_counter if device.type == 'cuda' else time.process_time
    best = float('inf')
    for _ in range(5):
        started = clock()
        left @ left
        if device.type == 'cuda':
            torch.cuda.synchronize()
        best = min(best, clock() - started)
    threads = 1 if device.type == 'cuda' else torch.get_num_threads()
    return 2 * size**3 / (best / threads)


if __name__ == '__main__':
    main()
