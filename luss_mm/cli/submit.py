"""Pack predictions for the ImageNet-S benchmark, or check a zip.

    python tools/make_submission.py PRED_DIR OUT.zip --subset 50 --split test --images DIR \
        --match match.json --method method.txt
    python tools/make_submission.py --check OUT.zip --subset 50 --split test --images DIR

Instead of --method, the six lines of method.txt can be given one by one.
"""

import argparse
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.imagenet_s.lists import SUBSETS
from luss_mm.imagenet_s.submission import (
    METHOD_LINES,
    SubmittedSplit,
    check_submission,
    make_submission,
    method_text,
)
from luss_mm.terminal import quieten

METHOD_OPTIONS = (
    '--method-name',
    '--training-data',
    '--training-scheme',
    '--networks',
    '--link',
    '--description',
)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument('predictions', nargs='?', type=Path, help='folder with <wnid>/<name>.png')
    parser.add_argument('out', nargs='?', type=Path, help='zip to write')
    parser.add_argument('--check', type=Path, metavar='ZIP', help='check this zip, write nothing')
    parser.add_argument('--subset', required=True, type=int, choices=SUBSETS)
    parser.add_argument('--split', required=True, choices=['validation', 'test'])
    parser.add_argument('--images', required=True, type=Path, help="the split's images")
    parser.add_argument('--match', type=Path, help='match.json, if the ids are generated ones')
    parser.add_argument('--method', type=Path, help='method.txt')
    for option, line in zip(METHOD_OPTIONS, METHOD_LINES, strict=True):
        parser.add_argument(option, help=f'"{line}" of method.txt', dest=line, default='')
    parsed = parser.parse_args(arguments)
    if (parsed.check is None) == (parsed.out is None):
        parser.error('give PRED_DIR and OUT.zip, or --check ZIP')
    if parsed.method is not None and any(getattr(parsed, line) for line in METHOD_LINES):
        parser.error('give --method FILE or the six lines one by one, not both')
    return parsed


def read_method(path: Path) -> str:
    """Text of method.txt.

    Raises:
        ValueError: If it is no text.
    """
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: is no UTF-8 text. Save it as UTF-8.') from error


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Pack or check."""
    parsed = parse_arguments(arguments)
    quieten()
    split = SubmittedSplit(parsed.subset, parsed.split, parsed.images)
    if parsed.check is not None:
        count = check_submission(parsed.check, split)
    else:
        if parsed.method is not None:
            method = read_method(parsed.method)
        else:
            method = method_text({line: getattr(parsed, line) for line in METHOD_LINES})
        count = make_submission(parsed.predictions, parsed.out, split, method, parsed.match)
    print(f'{parsed.check or parsed.out}: {count:,} predictions, nothing wrong')
