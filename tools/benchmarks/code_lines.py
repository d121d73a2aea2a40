"""How large the code is: files and code lines by room.

    python tools/benchmarks/code_lines.py                     # this checkout
    python tools/benchmarks/code_lines.py BEFORE AFTER        # two checkouts beside each other

A code line holds at least one token that is neither a comment nor part of a docstring; a statement
or string over several lines counts each of them. Only files that git tracks are counted.
"""

import ast
import io
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from luss_mm.cli.arguments import new_parser

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def main() -> None:
    """Print a Markdown table."""
    parser = new_parser(__doc__)
    here = Path(__file__).resolve().parents[2]
    parser.add_argument('checkouts', nargs='*', type=Path, default=[here])
    counts = [count_rooms(checkout) for checkout in parser.parse_args().checkouts]
    print('| room |' + ' files | code lines |' * len(counts))
    print('|---|' + '---|---|' * len(counts))
    for room in sorted(set().union(*counts)):
        cells = ''.join(f' {found[room][0]} | {found[room][1]:,} |' for found in counts)
        print(f'| {room} |{cells}')


def count_rooms(checkout: Path) -> dict[str, Counter]:
    """Files (0) and code lines (1) of each room of a checkout, and of what they belong to."""
    names = subprocess.run(
        ['git', 'ls-files', 'luss_mm/*.py', 'tools/*.py', 'tests/*.py'],
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    rooms = Rooms()
    for name in filter(lambda name: (checkout / name).exists(), names):
        lines = len(code_lines((checkout / name).read_text()))
        for room in rooms_of(Path(name).parts):
            rooms[room] += Counter({0: 1, 1: lines})
    return rooms


class Rooms(dict):
    """Zero where a checkout lacks a room."""

    def __missing__(self, room: str) -> Counter:
        return Counter()


def rooms_of(parts: tuple[str, ...]) -> Iterator[str]:
    """Rows that a file counts for, e.g. `luss_mm/models` and `luss_mm, all`."""
    top, inner = parts[0], parts[1:-1]
    if top == 'luss_mm':
        yield f'{top}/{inner[0]}' if inner else f'{top}, files at the top'
    yield 'tools/benchmarks' if parts[:2] == ('tools', 'benchmarks') else f'{top}, all'


def code_lines(source: str) -> set[int]:
    """Numbers of the lines of a Python file that hold code, from 1."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


if __name__ == '__main__':
    main()
