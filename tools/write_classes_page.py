"""Write docs/classes.md: every class that the package registers.

    python tools/write_classes_page.py

tests/test_docs.py compares the page with what this writes.
"""

import argparse
import inspect
from pathlib import Path
from typing import Any

import luss_mm.registered  # noqa: F401

from mmengine.registry import Registry
from mmseg import registry as mmseg_registry

PAGE = Path(__file__).parents[1] / 'docs' / 'classes.md'
REGISTRIES = {
    name: registry
    for name, registry in vars(mmseg_registry).items()
    if isinstance(registry, Registry)
}
WRITTEN_BY = '<!-- Written by tools/write_classes_page.py: change the docstrings instead. -->'


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    PAGE.write_text(classes_page())
    print(PAGE)


def classes_page() -> str:
    """Every registered class: a table a registry, and where mkdocstrings puts the docstrings."""
    lines = [
        WRITTEN_BY,
        '# Registered classes',
        '',
        'Names for `type=` in a config, registered with the registries of mmseg by',
        "`custom_imports = dict(imports=['luss_mm'], allow_failed_imports=False)`. The built site",
        'has the full docstrings below each table; elsewhere read them in the file.',
    ]
    for name, registry in REGISTRIES.items():
        classes = {
            key: target
            for key, target in sorted(registry.module_dict.items())
            if target.__module__.startswith('luss_mm')
        }
        if classes:
            lines += ['', f'## {name}', '', '| name | does | file |', '|---|---|---|']
            lines += [_class_row(key, target) for key, target in classes.items()]
            lines.append('')
            lines += [f'::: {t.__module__}.{t.__qualname__}' for t in classes.values()]
    return '\n'.join(lines) + '\n'


def _class_row(name: str, target: Any) -> str:
    summary = (inspect.getdoc(target) or '').partition('\n\n')[0].replace('\n', ' ')
    path = f'{target.__module__.replace(".", "/")}.py'
    return f'| `{name}` | {summary.replace("|", chr(92) + "|")} | `{path}` |'


if __name__ == '__main__':
    main()
