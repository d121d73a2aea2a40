"""Prepare ImageNet-S from ILSVRC 2012.

    git clone https://github.com/LUSSeg/ImageNet-S
    python tools/prepare_imagenet_s.py IMAGENET data/imagenet_s --subset 50 \
        --lists ImageNet-S/data --annotations ImageNetS50-*.zip

The same command resumes, and checks what is there. See docs/data.md.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.imagenet_s.archives import MODES
from luss_mm.imagenet_s.lists import MASKED_SPLITS, NUM_IMAGES, SUBSETS

if TYPE_CHECKING:
    from luss_mm.imagenet_s.prepare import SplitReport


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
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
    return parser.parse_args(arguments)


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


def prepare(arguments: argparse.Namespace) -> dict[int, list['SplitReport']]:
    """Prepare the subsets after looking at lists, folders and archives of all of them."""
    from luss_mm.imagenet_s.archives import look_through
    from luss_mm.imagenet_s.prepare import ImageNetSPreparation
    from luss_mm.terminal import quieten

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
def main(arguments: list[str] | None = None) -> None:
    """Prepare, say what is there and what is missing; exit status 1 if anything is."""
    if not print_reports(prepare(parse_arguments(arguments))):
        raise SystemExit(1)
