"""The docs say what is there: links, commands, paths, messages, generated pages, metafiles."""

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import mmseg.registry
import pytest
from mmengine.config import Config
from mmengine.registry import Registry

from luss_mm.recipes.config_check import RUNNER_KEYS
from luss_mm.recipes.find_recipe import recipes
from luss_mm.recipes.recipe import Recipe
from tests.conftest import load_tool

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
RECIPES = sorted(recipes().values())
PATH = re.compile(r'(?<![\w/.<>])(?:configs|docs|luss_mm|tests|tools)/[\w*./-]*\w')
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
WRAPPERS = {
    f'{launcher}_{tool}.sh': f'{tool}.py'
    for launcher in ('dist', 'slurm')
    for tool in ('train', 'test')
}
GENERATED = {
    'settings.md': 'write_settings_page',
    'results.md': 'write_results_tables',
}


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(language):
    """Fenced blocks of a language, with the page that they are in."""
    found = [
        (page, text)
        for page in PAGES
        for lang, text in FENCE.findall(page.read_text())
        if lang == language
    ]
    return [pytest.param(text, id=f'{name_of(page)}-{i}') for i, (page, text) in enumerate(found)]


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_named_paths_exist(page):
    for path in PATH.findall(page.read_text()):
        if not re.search(r'[A-Z]{4}', path.removesuffix('README')):  # NAME stands for many
            assert any(ROOT.glob(path.rstrip('/'))), f'{path}: no such file'


@pytest.mark.parametrize('text', blocks('bash'))
def test_tools_take_these_options(text):
    for tool, words in tool_calls(text):
        known = texts_in(ROOT / 'tools' / WRAPPERS.get(tool, tool))
        for word in words:
            option = word.partition('=')[0]
            assert not option.startswith('--') or option in known, f'{tool} has no {option}'


@pytest.mark.parametrize('text', blocks('bash'))
def test_recipes_have_these_settings(text):
    for _, words in tool_calls(text):
        recipe = next((w for w in words if w.startswith('configs/')), None)
        if recipe is None or '--cfg-options' not in words:
            continue
        known = set(Config.fromfile(ROOT / recipe)) | RUNNER_KEYS
        for word in words[words.index('--cfg-options') + 1 :]:
            if word.startswith(('--', '&')):
                break
            assert re.split(r'[.=]', word)[0] in known, f'{recipe} has no setting {word}'


def tool_calls(text):
    """Name of the tool and words after it of every call in a block of bash."""
    lines = text.replace('\\\n', ' ').replace('&&', '\n').splitlines()
    for line in lines:
        words = shlex.split(line, comments=True)
        for i, word in enumerate(words):
            found = re.fullmatch(r'tools/([\w.]+)', word)
            if found:
                yield found[1], words[i + 1 :]


def texts_in(script):
    """All texts of a script and of the modules of luss_mm.cli that it and they import."""
    nodes = list(ast.walk(ast.parse(script.read_text())))
    modules = [n.module for n in nodes if isinstance(n, ast.ImportFrom)]
    inner = [ROOT / f'{m.replace(".", "/")}.py' for m in modules if m.startswith('luss_mm.cli.')]
    return {node.value for node in nodes if is_text(node)}.union(*map(texts_in, inner))


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize('text', blocks('python'))
def test_python_compiles_and_recipes_resolve(text, tmp_path):
    compile(text, 'docs', 'exec')
    if '_base_' in text and '# model, ' not in text:  # what is only a part says so
        config = tmp_path / 'config.py'
        config.write_text(text.replace("'./", f"'{ROOT}/configs/luss/"))
        recipe = Config.fromfile(config)
        recipe.work_dir = str(tmp_path)
        Recipe(recipe)


@pytest.mark.parametrize('page', GENERATED)
def test_generated_pages_are_up_to_date(page):
    tool = load_tool(GENERATED[page])
    written = getattr(tool, page.replace('.md', '_page'))()
    assert (ROOT / 'docs' / page).read_text() == written, f'run python tools/{GENERATED[page]}.py'


def test_every_registered_class_is_on_the_page_of_classes():
    importlib.import_module('luss_mm.registered')
    listed = re.findall(r'^::: (\S+)$', (ROOT / 'docs' / 'classes.md').read_text(), re.MULTILINE)
    shown = {name.rpartition('.')[2] for name in listed}
    registered = {
        kind.__name__
        for registry in vars(mmseg.registry).values()
        if isinstance(registry, Registry)
        for kind in registry.module_dict.values()
        if kind.__module__.startswith('luss_mm')
    }
    assert len(registered) > 60 and registered <= shown


def test_every_setting_has_a_meaning():
    rows = (ROOT / 'docs' / 'settings.md').read_text().splitlines()
    unexplained = [row for row in rows if re.match(r'\| `\w+` \|.*\|  \|', row)]
    assert not unexplained, 'write a comment beside the setting in its config'


def test_site_builds_without_warnings(tmp_path):
    for package in ('mkdocs', 'material', 'mkdocstrings', 'latex2mathml'):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[docs]'")
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert 'Dual-level Siamese training' in (tmp_path / 'classes.html').read_text()
    formulas = (tmp_path / 'methods' / 'pass.html').read_text()
    assert '<math' in formulas and 'arithmatex' not in formulas


def test_model_index_is_valid_and_complete():
    modelindex = pytest.importorskip('modelindex')
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert index.check(silent=True) == []
    models = {model.name: model for model in index.models}
    assert sorted(models) == sorted(path.stem for path in RECIPES)
    for path in RECIPES:
        model = models[path.stem]
        assert model.config == name_of(path) and model.full_model.readme
        depth = Config.fromfile(path).to_dict()['backbone'].get('depth')
        assert depth is None or f'ResNet-{depth}' in model.metadata.data['Architecture']
