"""What a run can count on: cores, memory and disk of the machine it is on."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

MEMORY_LIMITS = (  # of a container, cgroup 2 and 1
    Path('/sys/fs/cgroup/memory.max'),
    Path('/sys/fs/cgroup/memory/memory.limit_in_bytes'),
)


@dataclass(frozen=True)
class Machine:
    """One process's share of a machine.

    Attributes:
        name: Name of the GPU, or 'CPU'.
        device: 'cuda' or 'cpu'.
        cores: CPU cores of this process.
        threads: Number of threads of torch.
        memory: Main memory in bytes, or the container's limit.
        gpu_memory: In bytes; 0 without a GPU.
        free_disk: Bytes at the work directory.
    """

    name: str
    device: str
    cores: int
    threads: int
    memory: int
    gpu_memory: int
    free_disk: int


def look_at_machine(work_dir: str | Path, num_processes: int = 1) -> Machine:
    """Sizes of this machine.

    Args:
        work_dir: May not exist yet.
        num_processes: That share the cores.
    """
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return Machine(
        name=torch.cuda.get_device_name() if device == 'cuda' else 'CPU',
        device=device,
        cores=max(1, len(os.sched_getaffinity(0)) // num_processes),
        threads=torch.get_num_threads(),
        memory=main_memory(),
        gpu_memory=torch.cuda.get_device_properties(0).total_memory if device == 'cuda' else 0,
        free_disk=free_space(work_dir),
    )


def main_memory() -> int:
    """Bytes that processes here may use together."""
    installed = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    limits = [path.read_text().strip() for path in MEMORY_LIMITS if path.is_file()]
    return min([installed, *(int(limit) for limit in limits if limit != 'max')])


def free_space(directory: str | Path) -> int:
    """Free bytes of the file system that a directory is, or will be, on."""
    place = Path(directory).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
