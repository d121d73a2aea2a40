"""Write docs/settings.md: every setting of every recipe, its value, meaning and what it reaches.

    python tools/write_settings_page.py

A setting means what the docstring says of the argument that it reaches, and what the comment
beside it in its config says. tests/test_docs.py compares the page with what this writes.
"""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luss_mm.cli.about import FAMILIES
from luss_mm.cli.arguments import new_parser
from luss_mm.recipes.setting_types import TYPES
from luss_mm.recipes.settings import REFERENCE

from mmengine.config import Config
from mmengine.registry import Registry
from mmseg import registry as mmseg_registry

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'settings.md'
MOST_PLACES = 1  # that a table names
# Arguments that settings reach and whose classes are not ours or leave them to another docstring.
OTHER_ARGUMENTS = dict(
    batch_size='Images of a batch on each process.',
    begin='Where the later part of the schedule begins.',
    by_epoch='Whether epochs or iterations are counted.',
    channels='Channels within the head.',
    checkpoint='Weights to start from.',
    enabled='Whether the stages that it enables run.',
    eta_min='Learning rate at the end.',
    flip='Whether every image is also seen mirrored.',
    img_path='Folders of images below data_root.',
    in_channels='Channels of the feature map.',
    layer_decay='Factor on the learning rate from one layer to the next shallower one.',
    load_from='Weights to start from.',
    lr='Learning rate at the start.',
    lr_mult='Factor on the learning rate of a part of the network.',
    max_epochs='Length of the training in epochs.',
    max_iters='Length of the training in iterations.',
    mean='Of the channels, subtracted from images.',
    num_workers='Loading processes of each process.',
    scales='At which every image is seen.',
    seg_map_path='Folder of label maps.',
    size='Height and width in pixels.',
    std='Of the channels, which images are divided by.',
    unlabelled='Images without masks in a batch.',
    weight_decay='Weight decay.',
)
# Settings that reach nothing whole and have no comment.
OTHER_SETTINGS = dict(
    min_lr='Learning rate of the head at the end.',
    multiple='Finished stage of the recipe rf_convnext_tiny_multiple.',
    search='Finished stage of the recipe rf_convnext_tiny_search.',
    split='Folder of lists below split_root.',
    split_root='Folder of lists of images.',
    use_csd='Whether samples are denoised before the last clustering.',
    use_spo='Whether a segmenter refines the label maps.',
)
REGISTRIES = {
    name: registry
    for name, registry in vars(mmseg_registry).items()
    if isinstance(registry, Registry)
}
WRITTEN_BY = (
    '<!-- Written by tools/write_settings_page.py: change the configs or docstrings instead. -->'
)

Configs = Mapping[str, Mapping[str, Any]]  # recipe name to its keys


def main() -> None:
    """Write the page."""
    new_parser(__doc__).parse_args()
    PAGE.write_text(settings_page())
    print(PAGE)


def settings_page() -> str:
    """Two tables a family of recipes: plain values, and the blocks that they are put into."""
    from luss_mm.recipes.config_check import RUNNER_KEYS

    not_settings = RUNNER_KEYS | {'stages', 'stage_order'}
    lines = [
        WRITTEN_BY,
        '# Settings of all recipes',
        '',
        'Give any of them as `--cfg-options NAME=VALUE`: see [configuration](configuration.md).',
        'Where recipes of a family differ, the value that most of them have comes first. "Reaches"',
        'names the stage and the key, or the setting, that refers to it. *Slanted*: the comment in',
        'the config. The command line reads a value as what it may be; True and False are also',
        'written yes, no, on, off, 1 and 0.',
    ]
    for family, title in FAMILIES.items():
        if family == 'pretraining':
            continue  # its recipes have the settings of luss
        paths = sorted((ROOT / 'configs' / family).glob('*.py'))
        configs = {path.stem: Config.fromfile(path).to_dict() for path in paths}
        settings = [_Setting(name, configs) for name in sorted(set().union(*configs.values()))]
        settings = [setting for setting in settings if setting.name not in not_settings]
        comments, files = _comments_of(paths)
        lines += [
            '',
            f'## {title}: `configs/{family}/`',
            '',
            '| setting | value | may be | meaning | reaches |',
            '|---|---|---|---|---|',
        ]
        lines += [
            _row(
                f'`{s.name}`',
                s.shown(),
                str(TYPES.get(s.name, '')),
                s.meaning(comments.get(s.name)),
                s.places(),
            )
            for s in settings
            if not s.is_block
        ]
        lines += ['', '| block | file | reaches |', '|---|---|---|']
        lines += [
            _row(f'`{s.name}`', f'`{files[s.name]}`', s.places()) for s in settings if s.is_block
        ]
    return '\n'.join(lines) + '\n'


def _row(*cells: str) -> str:
    return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'


class _Setting:
    """A setting of a family of recipes.

    Args:
        name: Name of the setting.
        configs: Recipe name to its keys.
    """

    def __init__(self, name: str, configs: Configs) -> None:
        self.name = name
        self.recipes = list(configs)
        self.values = {r: config[name] for r, config in configs.items() if name in config}
        self.is_block = any(_holds_block(v, configs[r]) for r, v in self.values.items())
        self.uses: dict[str, str] = {}  # place to what is said of the argument there
        for recipe in self.values:
            self.uses.update(_uses(name, configs[recipe]))

    def shown(self) -> str:
        """The most frequent value, then the others with the recipes that have them."""
        owners: dict[str, list[str]] = {}
        for recipe, value in self.values.items():
            owners.setdefault(f'`{value!r}`', []).append(recipe)
        (usual, having), *others = sorted(owners.items(), key=lambda item: -len(item[1]))
        few = len(having) < len(self.values) / 2
        parts = [f'{usual} ({self._shorten(having)})' if few else usual]
        return '; '.join(parts + [f'{value} ({self._shorten(having)})' for value, having in others])

    def meaning(self, comment: str | None) -> str:
        """What the docstring of the argument says, and the comment beside it in the config."""
        told = [text for text in self.uses.values() if text]
        told.append(OTHER_SETTINGS.get(self.name, ''))
        text = next((text for text in told if len(text.split()) > 2), told[0])
        return f'{text} *{comment}*'.strip() if comment and comment not in text else text

    def places(self) -> str:
        """The first places that refer to it."""
        more = len(self.uses) - MOST_PLACES
        first = ', '.join(f'`{place}`' for place in list(self.uses)[:MOST_PLACES])
        return f'{first} and {more} more' if more > 0 else first or 'the runner'

    def _shorten(self, having: list[str]) -> str:
        """Names of recipes, or `dssn_voc_*` where all that begin so are meant."""
        names = {}
        for recipe in having:
            words = recipe.split('_')
            starts = ['_'.join(words[: i + 1]) + '_' for i in range(len(words) - 1)]
            alike = {s: [r for r in self.recipes if r.startswith(s)] for s in starts}
            whole = (s for s in starts if len(alike[s]) > 1 and set(alike[s]) <= set(having))
            start = next(whole, None)
            names[f'{start}\\*' if start else recipe] = None
        return ', '.join(names)


def _holds_block(value: Any, config: Mapping[str, Any]) -> bool:
    """Whether a value is a dict, refers to one, or is a list of such."""
    if isinstance(value, (list, tuple)):
        return any(_holds_block(inner, config) for inner in value)
    if isinstance(value, str):
        names = {name for text in REFERENCE.findall(value) for name in re.findall(r'\w+', text)}
        return any(_holds_block(config[name], config) for name in names & config.keys())
    return isinstance(value, Mapping)


def _uses(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Places whose value refers to a setting, with what is said of the argument there."""
    wanted = re.compile(rf'\b{re.escape(name)}\b')
    for place, key, value, block in _strings(config):
        if place != name and any(wanted.search(r) for r in REFERENCE.findall(value)):
            whole = value == f'${{{name}}}'
            yield place, argument_text(block.get('type'), key) if whole else ''


def _strings(
    value: Any, place: str = '', key: str = '', block: Mapping | None = None
) -> Iterator[tuple[str, str, str, Mapping]]:
    """Place, last key, text and innermost dict of every string in nested values."""
    if isinstance(value, str):
        yield place.removeprefix('stages.'), key, value, block
    elif isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _strings(item, f'{place}.{inner}'.lstrip('.'), str(inner), value)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _strings(item, f'{place}[{i}]', key, block)


def argument_text(kind: Any, argument: str) -> str:
    """What a docstring of ours says of an argument of a registered class, else ''."""
    for cls in getattr(_find(kind), '__mro__', ()):
        if not cls.__module__.startswith('luss_mm'):
            continue
        found = re.search(
            rf'^    {argument}: (.*(?:\n {{8}}.*)*)', inspect.getdoc(cls) or '', re.MULTILINE
        )
        if found and not found[1].startswith(('As ', 'See ', 'The same')):
            text = ' '.join(found[1].split())
            return text if len(text.split()) > 1 else f'{text.rstrip(".")} of `{cls.__name__}`.'
    return OTHER_ARGUMENTS.get(argument, '')


def _find(kind: Any) -> Any:
    known = (registry.get(kind) for registry in REGISTRIES.values() if isinstance(kind, str))
    return next((target for target in known if target is not None), None)


def _comments_of(paths: list[Path]) -> tuple[dict[str, str], dict[str, str]]:
    """Setting to its comment in a base config, and to the file that sets it first.

    Comments of recipes are left out: they tell why one recipe differs.
    """
    comments: dict[str, str] = {}
    files: dict[str, str] = {}
    for path in _with_bases(paths):
        for name, comment in _comments_in(path).items():
            files.setdefault(name, str(path.relative_to(ROOT)))
            if comment and '_base_' in path.parts:
                comments.setdefault(name, comment)
    return comments, files


def _with_bases(paths: list[Path]) -> list[Path]:
    ordered: dict[Path, None] = {}
    for path in paths:
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.Assign) and statement.targets[0].id == '_base_':
                bases = ast.literal_eval(statement.value)
                bases = [bases] if isinstance(bases, str) else bases
                inner = [(path.parent / base).resolve() for base in bases]
                ordered.update(dict.fromkeys(_with_bases(inner)))
        ordered[path] = None
    return list(ordered)


def _comments_in(path: Path) -> dict[str, str]:
    """Top-level name to the comment that ends its line, else to the one right above it."""
    text = path.read_text()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}
    lines = text.splitlines()
    names = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            above, row = [], statement.lineno - 1
            while row in comments and lines[row - 1].startswith('#') and not _is_head(lines, row):
                above.insert(0, comments[row])
                row -= 1
            beside = comments.get(statement.lineno, '')
            names[statement.targets[0].id] = beside or ' '.join(above)
    return names


def _is_head(lines: list[str], row: int) -> bool:
    """Whether a comment row belongs to the comment that a file opens with."""
    return all(line.startswith('#') for line in lines[:row])


if __name__ == '__main__':
    main()
