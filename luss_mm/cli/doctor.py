"""What a run can count on here: versions, GPU, CPU, memory, disk and weights.

luss doctor
luss doctor --work-dir DIR
"""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.version import __version__

GIGABYTE = 1e9
# Name of the distribution, or of the one that takes its place.
PACKAGES = (
    ('torch',),
    ('torchvision',),
    ('onedl-mmengine', 'mmengine'),
    ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    ('onedl-mmsegmentation', 'mmsegmentation'),
    ('onedl-mmpretrain', 'mmpretrain'),
    ('faiss-gpu', 'faiss-cpu', 'faiss-gpu-cu12'),
    ('segment-anything',),
    ('timm',),
    ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python'),
)


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Print a line for each of them."""
    parser = new_parser(__doc__)
    parser.add_argument('--work-dir', default='.', help='whose disk is looked at (here)')
    parsed = parser.parse_args(arguments)
    for name, told in findings(parsed.work_dir):
        print(f'{name:22} {told}')


def findings(work_dir: str) -> Iterator[tuple[str, str]]:
    """Names and what was found.

    Args:
        work_dir: Whose disk is looked at; may not exist yet.
    """
    yield 'luss_mm', __version__
    yield 'Python', platform.python_version()
    for names in PACKAGES:
        yield names[0], _version(names)

    import torch

    from luss_mm.costs.machine import free_space, main_memory
    from luss_mm.packaged_weights import PACKAGED_WEIGHTS, PREFIX, checkpoint_file

    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / GIGABYTE
        yield f'GPU {index}', f'{properties.name}, {memory:.0f} GB'
    if not torch.cuda.is_available():
        yield 'GPU', 'none that torch can use: everything runs on the CPU'
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    yield 'CPU', f'{cores} cores; torch uses {torch.get_num_threads()} threads'
    yield 'waiting of threads', os.environ.get('OMP_WAIT_POLICY', 'active')
    yield 'memory', f'{main_memory() / GIGABYTE:.1f} GB'
    yield f'free disk, {work_dir}', f'{free_space(work_dir) / GIGABYTE:.1f} GB'
    if os.path.isdir('/dev/shm'):
        free = shutil.disk_usage('/dev/shm').free / GIGABYTE
        yield 'free shared memory', f'{free:.1f} GB (loading processes send samples through it)'
    for name in PACKAGED_WEIGHTS:
        try:
            yield PREFIX + name, str(checkpoint_file(PREFIX + name))
        except FileNotFoundError as error:
            yield PREFIX + name, str(error)


def _version(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return version if name == names[0] else f'{version} ({name})'
    return 'not installed'
