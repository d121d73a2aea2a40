"""The docs say what is there: links, commands, paths, messages, generated pages, metafiles."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from mmengine.config import Config

from luss_mm.functional.mask_prompts import MaskPrompt
from luss_mm.recipes.config_check import RUNNER_KEYS
from luss_mm.recipes.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
RECIPES = sorted(
    p for family in ('luss', 'imagenet_s', 'semi') for p in ROOT.glob(f'configs/{family}/*.py')
)
PATH = re.compile(r'(?<![\w/.<>])(?:configs|docs|luss_mm|tests|tools)/[\w*./-]*\w')
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
WRAPPERS = {'dist_train.sh': 'train.py', 'slurm_train.sh': 'train.py', 'dist_test.sh': 'test.py'}
GENERATED = {
    'settings.md': 'write_settings_page',
    'classes.md': 'write_classes_page',
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


def anchors(page):
    """Names by which headings can be linked to."""
    headings = re.findall(r'^#+ (.*)$', FENCE.sub('', page.read_text()), re.MULTILINE)
    plain = (re.sub(r'[^\w\s-]', '', heading).strip().lower() for heading in headings)
    return {re.sub(r'[-\s]+', '-', heading) for heading in plain}


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCE.sub('', page.read_text())):
        if '://' in target:
            continue
        path, _, anchor = target.partition('#')
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f'{target}: no such file'
        assert not anchor or anchor in anchors(linked), f'{target}: no such heading'


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_named_paths_exist(page):
    for path in PATH.findall(page.read_text()):
        if not re.search(r'[A-Z]{4}', path.removesuffix('README')):  # NAME stands for many
            assert any(ROOT.glob(path.rstrip('/'))), f'{path}: no such file'


def test_there_are_blocks():
    assert len(blocks('bash')) > 10 and len(blocks('python')) > 3


@pytest.mark.parametrize('text', blocks('bash'))
def test_bash_parses(text):
    subprocess.run(['bash', '-n'], input=text, text=True, check=True)


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


def test_a_wrong_option_is_found():
    with pytest.raises(AssertionError, match='no --work-dri'):
        test_tools_take_these_options(
            'bash tools/dist_train.sh configs/luss/pass_s50.py 8 --work-dri x'
        )
    with pytest.raises(AssertionError, match='no setting pretrain_epoch='):
        test_recipes_have_these_settings(
            'python tools/train.py configs/luss/pass_s50.py --cfg-options pretrain_epoch=3'
        )


@pytest.mark.parametrize('text', blocks('python'))
def test_python_compiles_and_recipes_resolve(text, tmp_path):
    compile(text, 'docs', 'exec')
    if '_base_' in text and '# model, ' not in text:  # what is only a part says so
        config = tmp_path / 'config.py'
        config.write_text(text.replace("'./", f"'{ROOT}/configs/luss/"))
        recipe = Config.fromfile(config)
        recipe.work_dir = str(tmp_path)
        Recipe(recipe)


def test_the_segmenter_of_the_docs_works():
    text = next(b.values[0] for b in blocks('python') if 'BoxSegmenter' in b.values[0])
    names = {'__name__': 'docs'}
    exec(text, names)
    segmenter = names['BoxSegmenter']()
    region = np.eye(4, dtype=bool)
    prompt = MaskPrompt(1, np.array([[0, 0, 3, 3]], dtype=np.float32), None, region)
    encoded = segmenter.encode([np.zeros((4, 4, 3), dtype=np.uint8)])
    assert (segmenter.segment(encoded[0], [prompt])[0] == region).all()


def templates():
    """Every text of the package and the tools, with a line break where values are put in."""
    for path in [*(ROOT / 'luss_mm').rglob('*.py'), *(ROOT / 'tools').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield ''.join(v.value if is_text(v) else '\n' for v in node.values)
            elif is_text(node):
                yield node.value


def quoted_messages():
    page = (ROOT / 'docs' / 'troubleshooting.md').read_text()
    ours = page[: page.index('## Messages of others')]
    return re.findall(r'^\| `([^|]*)` \|', ours, re.MULTILINE)


def is_quoted_from(message, template):
    """Whether the parts of a message between its `...` are in a template, in order."""
    parts = [re.escape(part.strip()) for part in message.split('...') if part.strip(' :')]
    return re.search('.*'.join(parts), template, re.DOTALL) is not None


def test_quoted_messages_are_in_the_source():
    known = list(templates())
    assert len(quoted_messages()) > 50
    lost = [m for m in quoted_messages() if not any(is_quoted_from(m, t) for t in known)]
    assert not lost, f'docs/troubleshooting.md quotes what no file says: {lost}'
    assert not any(is_quoted_from('... images do not fill two batches', t) for t in known)


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('page', GENERATED)
def test_generated_pages_are_up_to_date(page):
    tool = load_tool(GENERATED[page])
    written = getattr(tool, page.replace('.md', '_page'))()
    assert (ROOT / 'docs' / page).read_text() == written, f'run python tools/{GENERATED[page]}.py'


def test_every_setting_has_a_meaning():
    rows = (ROOT / 'docs' / 'settings.md').read_text().splitlines()
    unexplained = [row for row in rows if re.match(r'\| `\w+` \|.*\|  \|', row)]
    assert not unexplained, 'write a comment beside the setting in its config'


def test_docstrings_and_comments_are_found():
    page = (ROOT / 'docs' / 'settings.md').read_text()
    assert 'Share of all samples that the rule keeps' in page  # of CSDHook.keep_fraction
    assert '*short side for label maps and inference*' in page  # beside resize_side
    assert '`919` (pass_s919, pdso_s919)' in page


def test_every_page_is_in_the_navigation():
    def files(entries):
        for entry in entries:
            inner = list(entry.values())[0] if isinstance(entry, dict) else entry
            yield from [inner] if isinstance(inner, str) else files(inner)

    listed = list(files(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']))
    there = [str(p.relative_to(ROOT / 'docs')) for p in PAGES[1:]]
    assert sorted(listed) == sorted(there), 'list each page once in nav of mkdocs.yml'


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
