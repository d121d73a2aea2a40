"""The commands about ImageNet-S: its preparation, and predictions for its benchmark."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.imagenet_s.archives import MODES
from luss_mm.imagenet_s.lists import MASKED_SPLITS, NUM_IMAGES, SUBSETS
from luss_mm.imagenet_s.submission import (
    METHOD_LINES,
    SubmittedSplit,
    check_submission,
    make_submission,
    method_text,
)
from luss_mm.terminal import quieten

if TYPE_CHECKING:
    from luss_mm.imagenet_s.prepare import SplitReport

METHOD_OPTIONS = (
    '--method-name',
    '--training-data',
    '--training-scheme',
    '--networks',
    '--link',
    '--description',
)


@one_line_stops()
def prepare(arguments: list[str] | None = None) -> None:
    r"""Prepare ImageNet-S from ILSVRC 2012; exit status 1 if anything is missing.

        git clone https://github.com/LUSSeg/ImageNet-S
        python tools/prepare_imagenet_s.py IMAGENET data/imagenet_s --subset 50 \
            --lists ImageNet-S/data --annotations ImageNetS50-*.zip

    The same command resumes, and checks what is there. See docs/data.md.
    """
    parser = new_parser(prepare.__doc__)
    parser.add_argument('imagenet', type=Path, help='folder with train/ and val/ of ILSVRC 2012')
    parser.add_argument('out', type=Path, help='gets ImageNetS50/ and so on')
    parser.add_argument('--subset', required=True, choices=[*map(str, SUBSETS), 'all'])
    parser.add_argument(
        '--lists', required=True, type=Path, help='data/ of the official repository'
    )
    parser.add_argument(
        '--annotations', nargs='+', type=Path, default=[], help='zip or tar archives with masks'
    )
    parser.add_argument(
        '--download', action='store_true', help='fetch archives that are needed from the release'
    )
    parser.add_argument('--mode', choices=MODES, default='link')
    parser.add_argument('--splits', nargs='+', choices=list(NUM_IMAGES[919]), help='default: all')
    parser.add_argument('--sample', type=int, default=200, help='files to read of each folder')
    parser.add_argument(
        '--accept-train-counts', action='store_true', help='of another number than published'
    )
    if not print_reports(prepare_subsets(parser.parse_args(arguments))):
        raise SystemExit(1)


def missing_archives(arguments: argparse.Namespace, subsets: list[int]) -> list[Path]:
    """Fetch the archives of subsets whose masks are not finished."""
    from luss_mm.imagenet_s.archives import download

    splits = [s for s in MASKED_SPLITS if arguments.splits is None or s in arguments.splits]
    return [
        download(subset, arguments.out)
        for subset in subsets
        if not all(
            (arguments.out / f'ImageNetS{subset}' / f'{split}-segmentation').is_dir()
            for split in splits
        )
    ]


def prepare_subsets(arguments: argparse.Namespace) -> dict[int, list['SplitReport']]:
    """Prepare the subsets after looking at lists, folders and archives of all of them."""
    from luss_mm.imagenet_s.archives import look_through
    from luss_mm.imagenet_s.prepare import ImageNetSPreparation

    quieten()
    subsets = list(SUBSETS) if arguments.subset == 'all' else [int(arguments.subset)]
    paths = list(arguments.annotations)
    if arguments.download:
        paths += missing_archives(arguments, subsets)
    archives = [look_through(path) for path in paths]
    preparations = {
        subset: ImageNetSPreparation(
            arguments.imagenet,
            arguments.out,
            subset,
            arguments.lists,
            archives,
            arguments.mode,
            arguments.splits,
            arguments.sample,
            arguments.accept_train_counts,
        )
        for subset in subsets
    }
    return {subset: preparation.run() for subset, preparation in preparations.items()}


def print_reports(reports: dict[int, list['SplitReport']]) -> bool:
    """Print a line a folder, then what is wrong; whether all is finished."""
    print(f'{"folder":40}{"files":>12}{"published":>12}{"new":>10}{"read":>6}')
    for subset, folders in reports.items():
        for report in folders:
            name = f'ImageNetS{subset}/{report.folder}'
            counts = f'{report.found:>12,}{report.expected:>12,}{report.made:>10,}'
            state = '' if not report.problems else '  NOT FINISHED'
            print(f'{name:40}{counts}{report.checked:>6}{state}')
    problems = [
        f'ImageNetS{subset}/{report.folder}: {text}'
        for subset, folders in reports.items()
        for report in folders
        for text in report.problems + [f'note: {note}' for note in report.notes]
    ]
    print('\n'.join(problems))
    return not any(report.problems for folders in reports.values() for report in folders)


@one_line_stops()
def submit(arguments: list[str] | None = None) -> None:
    r"""Pack predictions for the ImageNet-S benchmark, or check a zip.

        python tools/make_submission.py PRED_DIR OUT.zip --subset 50 --split test --images DIR \
            --match match.json --method method.txt
        python tools/make_submission.py --check OUT.zip --subset 50 --split test --images DIR

    Instead of --method, the six lines of method.txt can be given one by one.
    """
    parser = new_parser(submit.__doc__)
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


def read_method(path: Path) -> str:
    """Text of method.txt.

    Raises:
        ValueError: If it is no text.
    """
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: is no UTF-8 text. Save it as UTF-8.') from error
