"""What a run can count on: matrix rate, memory and disk of the machine it is on."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from luss_mm.models.cpu_speed import cpu_has_fast_bfloat16

FLOAT32, BFLOAT16, FLOAT16 = 'float32', 'bfloat16', 'float16'
MATRIX_SIDE = dict(cpu=1024, cuda=8192)
REPEATS = 5
MEMORY_LIMITS = (  # of a container, cgroup 2 and 1
    Path('/sys/fs/cgroup/memory.max'),
    Path('/sys/fs/cgroup/memory/memory.limit_in_bytes'),
)


@dataclass(frozen=True)
class Machine:
    """One process's share of a machine.

    Attributes:
        name: Of the GPU, or 'CPU'.
        device: 'cuda' or 'cpu'.
        cores: CPU cores of this process.
        threads: Of torch.
        memory: Main memory in bytes, or the container's limit.
        gpu_memory: In bytes; 0 without a GPU.
        free_disk: Bytes at the work directory.
        free_files: Inodes at the work directory; None where the file system does not count them.
        rates: Floating point operations a second of a square matrix product, by type of number.
    """

    name: str
    device: str
    cores: int
    threads: int
    memory: int
    gpu_memory: int
    free_disk: int
    free_files: int | None
    rates: Mapping[str, float] = field(default_factory=dict)


def look_at_machine(work_dir: str | Path, num_processes: int = 1) -> Machine:
    """Sizes of this machine and its matrix rates; takes about a second.

    Args:
        work_dir: May not exist yet.
        num_processes: That share the cores.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    free_disk, free_files = free_space(work_dir)
    return Machine(
        name=torch.cuda.get_device_name() if device == 'cuda' else 'CPU',
        device=device,
        cores=max(1, len(os.sched_getaffinity(0)) // num_processes),
        threads=torch.get_num_threads(),
        memory=main_memory(),
        gpu_memory=torch.cuda.get_device_properties(0).total_memory if device == 'cuda' else 0,
        free_disk=free_disk,
        free_files=free_files,
        rates={kind: matrix_rate(kind, device) for kind in _kinds(device)},
    )


def _kinds(device: str) -> tuple[str, ...]:
    if device == 'cuda':
        return FLOAT32, BFLOAT16, FLOAT16
    return (FLOAT32, BFLOAT16) if cpu_has_fast_bfloat16() else (FLOAT32,)


def matrix_rate(kind: str, device: str) -> float:
    """Operations a second of the fastest of a few square matrix products.

    On a CPU its own time is counted, so that other programs do not make the machine slower.

    Args:
        kind: Name of a torch dtype.
        device: 'cpu' or 'cuda'.
    """
    side = MATRIX_SIDE[device]
    matrix = torch.ones(side, side, dtype=getattr(torch, kind), device=device)
    best = min(seconds_of(lambda: matrix @ matrix, device) for _ in range(1 + REPEATS))
    return 2 * side**3 / best


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Seconds that a call takes: of the GPU, or of all of torch's threads on a CPU of their own."""
    clock = time.perf_counter if device == 'cuda' else time.process_time
    started = clock()
    work()
    if device == 'cuda':
        torch.cuda.synchronize()
        return clock() - started
    return (clock() - started) / torch.get_num_threads()


def main_memory() -> int:
    """Bytes that processes here may use together."""
    installed = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    limits = [_read_limit(path) for path in MEMORY_LIMITS]
    return min([installed, *(limit for limit in limits if limit)])


def _read_limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # 'max': none


def free_space(directory: str | Path) -> tuple[int, int | None]:
    """Free bytes and inodes of the file system that a directory is, or will be, on."""
    place = Path(directory).absolute()
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None
