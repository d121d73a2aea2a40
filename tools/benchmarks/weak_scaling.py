"""Weak scaling of a pretraining step over processes on this machine, and what they send.

    python tools/benchmarks/weak_scaling.py --out scaling.json

Starts 1, 2, 4 processes, one thread each, with gloo and DistributedDataParallel, or one process a
GPU with NCCL, each with its own batch of `configs/luss/pass_s50.py`'s views. Efficiency is the time
of one process over that of n. More processes than cores only show that it works. The message sizes
are those of a step: gradients, and what Sinkhorn and the queue exchange.
"""

import json
import os
import tempfile
import time
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.work_dir.atomic_files import write_atomically

import torch
from comparison import rate, write_report
from mmengine.dist import get_world_size
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS, OPTIMIZERS
from pretraining_step import RECIPE, draw_batch, read_stage
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    """Measure, write the JSON file and print the comparisons."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--processes', type=int, nargs='*', default=[1, 2, 4])
    parser.add_argument('--batch', type=int, default=8, help='images of each process')
    parser.add_argument('--steps', type=int, default=5)
    arguments = parser.parse_args()
    gpus = torch.cuda.device_count()
    report = dict(cores=os.cpu_count(), gpus=gpus, batch=arguments.batch)
    alone = None
    for count in arguments.processes:
        if gpus and count > gpus:
            continue
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(
                run_rank, (count, folder, arguments.batch, arguments.steps), nprocs=count
            )
            found = json.loads(Path(folder, 'result.json').read_text())
        alone = alone or found['seconds_a_step'] * arguments.processes[0]
        found['images_per_second'] = round(count * arguments.batch / found['seconds_a_step'], 2)
        found['efficiency'] = round(alone / found['seconds_a_step'], 2)
        report[f'{count} process(es)'] = found
    first = arguments.processes[0]
    report['comparisons'] = {
        f'pretraining step on {count} processes': rate(
            report[f'{count} process(es)']['images_per_second'],
            report[f'{first} process(es)']['images_per_second'],
            'images/s',
            f'{first} process(es)',
        )
        for count in arguments.processes[1:]
        if f'{count} process(es)' in report
    }
    write_report(arguments.out, report)


def run_rank(
    rank: int, world: int, folder: str, batch: int, steps: int, recipe: Path = RECIPE
) -> None:
    """One process; the first writes the result."""
    torch.set_num_threads(1)
    cuda = torch.cuda.is_available()
    device = torch.device('cuda', rank) if cuda else torch.device('cpu')
    started = time.perf_counter()
    distributed.init_process_group(
        'nccl' if cuda else 'gloo', f'file://{folder}/rendezvous', rank=rank, world_size=world
    )
    distributed.all_reduce(torch.zeros(1, device=device))  # NCCL connects when it is first used
    seconds_to_connect = time.perf_counter() - started
    with DefaultScope.overwrite_default_scope('mmseg'):
        stage = read_stage('pretrain', recipe)
        torch.manual_seed(0)
        model = MODELS.build(stage['model']).to(device).train()
        wrapped = DistributedDataParallel(
            model, device_ids=[rank] if cuda else None, broadcast_buffers=False
        )
        optimizer = OPTIMIZERS.build(
            dict(stage['optim_wrapper']['optimizer'], params=model.parameters())
        )
    loader = stage['train_dataloader']['dataset']['pipeline']
    views, crops = draw_batch(loader[1]['views'], batch)
    times = []
    for _ in range(steps + 1):
        distributed.barrier()
        started = time.perf_counter()
        data = model.data_preprocessor(dict(inputs=views, crops=crops), training=True)
        losses = wrapped(**data, mode='loss')
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()
        distributed.barrier()
        times.append(time.perf_counter() - started)
    sum_of_gradients = seconds_to_sum_gradients(model, device)
    if rank == 0:
        result = dict(
            seconds_a_step=round(sorted(times[1:])[steps // 2], 4),
            seconds_to_connect=round(seconds_to_connect, 3),
            seconds_to_sum_gradients=sum_of_gradients,
        ) | message_sizes(model, batch)
        write_atomically(Path(folder, 'result.json'), json.dumps(result).encode())
    distributed.barrier()
    distributed.destroy_process_group()


def seconds_to_sum_gradients(model: torch.nn.Module, device: torch.device) -> float:
    """The quickest of some sums over all ranks of as many numbers as there are gradients."""
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    buffer, taken = torch.zeros(count, device=device), []
    for _ in range(5):
        started = time.perf_counter()
        distributed.all_reduce(buffer)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return round(min(taken), 6)


def message_sizes(model: torch.nn.Module, batch: int) -> dict[str, float]:
    """Megabytes that a rank sends in a step: float32 gradients, queue rows, Sinkhorn's sums."""
    gradients = sum(p.numel() for p in model.parameters() if p.requires_grad)
    prototypes, channels = model.head.prototypes.weight.shape
    rows = 2 * batch * channels  # of the two global views
    iterations = model.sinkhorn_settings['iterations']
    sums = 2 * (iterations + 1) * (prototypes + 1)
    return dict(
        gradient_megabytes=round(4 * gradients / 1e6, 2),
        queue_megabytes_gathered=round(4 * rows * get_world_size() / 1e6, 4),
        sinkhorn_megabytes=round(4 * sums / 1e6, 4),
    )


if __name__ == '__main__':
    main()
