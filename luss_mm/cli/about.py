"""The commands about what is there: recipes and their settings, this machine, completion."""

import os
import platform
import re
import shutil
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.find_recipe import CONFIGS, about, find_recipe, recipes
from luss_mm.recipes.setting_types import TYPES
from luss_mm.version import __version__

SETTINGS_PAGE = CONFIGS.parent / 'settings.md'  # docs/settings.md
FIRST = ('data_root', 'num_categories', 'seed')  # settings that most people want
FAMILIES = dict(
    luss='Unsupervised, on any images',
    imagenet_s='Fine-tuning on 1 % of ImageNet-S',
    pretraining='Unsupervised pretraining alone',
    semi='Few masks, many images',
)
SCRIPT = "complete -o default -o nospace -C 'luss complete' luss"  # bash then sets COMP_LINE
WITH_RECIPE = ('train', 'estimate', 'browse')
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
def list_recipes(arguments: list[str] | None = None) -> None:
    """The recipes of this package with what they cost and reach.

    luss recipes
    luss train RECIPE --settings     (its settings with type, default and meaning)
    """
    new_parser(list_recipes.__doc__).parse_args(arguments)
    for family, title in FAMILIES.items():
        print(f'{title}:')
        for name, path in recipes().items():
            if path.parent.name == family:
                print(f'  {name:32} {about(path)}')
        print()
    print('luss train RECIPE --settings lists the settings of one.')


def settings_table(recipe: str) -> str:
    """Settings of a recipe with default, type and meaning.

    Args:
        recipe: Its name or file.

    Raises:
        FileNotFoundError: If there is no such recipe.
    """
    from mmengine.config import Config

    path = find_recipe(recipe)
    config = Config.fromfile(path, import_custom_modules=False)
    meanings = _meanings(path.parent.name)
    width = max(40, shutil.get_terminal_size().columns)
    blocks = []
    known = [name for name in config if name in TYPES]
    for name in sorted(known, key=lambda name: (name not in FIRST, name)):
        blocks.append(f'{name}={config[name]!s}')
        told = f'{TYPES[name]}. {meanings.get(name, "")}'
        blocks.append(textwrap.fill(told, width, initial_indent='    ', subsequent_indent='    '))
    return '\n'.join(blocks)


def _meanings(family: str) -> dict[str, str]:
    """Setting -> meaning, from the rows of docs/settings.md about a family of recipes."""
    text = SETTINGS_PAGE.read_text(encoding='utf-8')
    parts = re.split(r'^## ', text, flags=re.MULTILINE)
    own = next((part for part in parts if f'configs/{family}/' in part.split('\n')[0]), text)
    rows = (re.split(r'(?<!\\)\|', line)[1:-1] for line in own.splitlines() if line[:3] == '| `')
    return {row[0].strip(' `'): _plain(row[3]) for row in rows if len(row) == 5}


def _plain(cell: str) -> str:
    return re.sub(r'(?<!\\)[`*]', '', cell).replace('\\|', '|').replace('\\*', '*').strip()


def complete(arguments: list[str]) -> None:
    """Completion in bash: commands, recipes, and the settings of a recipe.

    eval "$(luss complete --print)"
    """
    if '--print' in arguments:
        print(SCRIPT)
        return
    line = os.environ.get('COMP_LINE', '')[: int(os.environ.get('COMP_POINT', 10**6))]
    print('\n'.join(candidates(line)))


def candidates(line: str) -> list[str]:
    """What the last word of a line may become.

    Args:
        line: Line of the shell, up to the cursor.
    """
    from luss_mm.cli import COMMANDS

    *before, word = line.split(' ')
    before = [part for part in before if part]
    if len(before) <= 1:
        known = [f'{name} ' for name in COMMANDS]
    elif before[1] not in WITH_RECIPE:
        known = []
    elif len(before) == 2:
        known = [f'{name} ' for name in recipes()]
    else:
        known = [f'{name}=' for name in _settings_of(before[2])]
    return [name for name in known if name.startswith(word)]


def _settings_of(recipe: str) -> list[str]:
    from mmengine.config import Config

    path = recipes().get(recipe, Path(recipe))
    if not path.is_file():
        return []
    return [name for name in Config.fromfile(path, import_custom_modules=False) if name in TYPES]


@one_line_stops()
def doctor(arguments: list[str] | None = None) -> None:
    """What a run can count on here: versions, GPU, CPU, memory, disk and weights.

    luss doctor
    luss doctor --work-dir DIR
    """
    parser = new_parser(doctor.__doc__)
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
