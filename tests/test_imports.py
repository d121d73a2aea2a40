"""The house: data goes one way, mathematics knows no framework, files stay short."""

import ast
import sys
from pathlib import Path

import pytest

import luss_mm

PACKAGE = Path(luss_mm.__file__).parent
FILES = sorted(PACKAGE.rglob('*.py'))
LEVELS = dict(
    functional=0,
    work_dir=1,
    datasets=2,
    models=2,
    pipeline=3,
    evaluation=4,
    imagenet_s=4,
    visualization=5,
    recipes=6,
    checkpoints=7,
    inference=8,
    costs=9,
    engine=10,
    cli=11,
)
MATHEMATICS = {'torch', 'numpy', 'scipy', 'faiss'}
MAX_LINES = 600


def name_of(path):
    return str(path.relative_to(PACKAGE))


def imported_modules(path):
    """Absolute names of everything that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{name_of(path)}: a relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def folder_of(module):
    """Which folder of ours a module belongs to; None for version and foreign ones."""
    parts = module.split('.')
    return parts[1] if parts[0] == 'luss_mm' and len(parts) > 1 and parts[1] in LEVELS else None


def test_every_folder_has_a_level():
    assert {p.parent.name for p in PACKAGE.glob('*/__init__.py')} == set(LEVELS)
    assert len(FILES) > 40


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0]
    if own not in LEVELS:  # luss_mm/__init__.py imports all, the other files nothing
        return
    for module in imported_modules(path):
        other = folder_of(module)
        assert module != 'luss_mm' and (other in (None, own) or LEVELS[other] < LEVELS[own]), (
            f'{name_of(path)} imports {module}'
        )


@pytest.mark.parametrize('path', sorted((PACKAGE / 'functional').rglob('*.py')), ids=name_of)
def test_mathematics_imports_mathematics_only(path):
    for module in imported_modules(path):
        outermost = module.split('.')[0]
        assert (
            folder_of(module) == 'functional'
            or outermost in MATHEMATICS
            or outermost in sys.stdlib_module_names
        ), f'{name_of(path)} imports {module}'


def test_what_every_folder_may_import_imports_nothing_of_ours():
    for name in (
        'version.py',
        'lazy_names.py',
        'registration.py',
        'terminal.py',
        'work_dir/atomic_files.py',
        'packaged_weights.py',
        'pickle_check.py',
    ):
        assert not any(m.startswith('luss_mm') for m in imported_modules(PACKAGE / name))


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES
