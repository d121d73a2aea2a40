"""All benchmarks by one command: a JSON file each, a summary, and the table of docs/performance.md.

    python tools/benchmarks/run.py --out DIR --work-dir RUN --images IMAGES   (hours on two cores)
    python tools/benchmarks/run.py --out DIR --quick                  (minutes: does all of it run?)
    python tools/benchmarks/run.py --out DIR --only kmeans views --page docs/performance.md

RUN is the work directory of a trained recipe, IMAGES a folder; without them two are left out.
Each runs as its own process; what it prints goes to DIR/<name>.log. Finished ones are kept as long
as their command and the machine stay the same (`--again` repeats them). One that fails is a row of
the table that says so, and the exit status is then 1. `--quick` results are small on purpose: their
figures say nothing, so they never go to a page.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.work_dir.atomic_files import write_atomically

from performance_table import current_machine, make_table, replace_table

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark is run.

    Attributes:
        name: Of its file, without `.py`.
        arguments: The standard ones; `{out}`, `{work_dir}` and `{images}` are put in.
        quick: Those of `--quick`.
        packages: Import names that it needs beyond ours.
        goals: Start of a comparison's name to the ratio that it should reach, or to a text.
    """

    name: str
    arguments: str
    quick: str
    packages: tuple[str, ...] = ()
    goals: dict[str, float | str] = field(default_factory=dict)


BENCHMARKS = (
    Benchmark(
        'evaluation',
        '--out {out}',
        '--out {out} --pairs 6 --categories 5 --images 0 --workers 1',
        goals={'twelve figures': 10.0, 'matching': 'under .5 s'},
    ),
    Benchmark('views', '--out {out}', '--out {out} --count 4 --rounds 1', goals={'views': 2.0}),
    Benchmark(
        'pretraining_step',
        '--out {out} --threads 1',
        '--out {out} --batch 2 --steps 1',
        goals={
            'pretraining step': 2.0,
            'pretraining step, ResNet-18, 8 images, autocast': '1.3 on a GPU',
        },
    ),
    Benchmark(
        'kmeans',
        '--out {out} --restarts 1',
        '--out {out} --points 2000 --channels 16 --clusters 5 --restarts 1',
        packages=('sklearn',),
    ),
    Benchmark(
        'features_and_labels',
        '--out {out}',
        '--out {out} --count 4',
        goals={'embeddings': 3.0, 'pixel labels': 3.0},
    ),
    Benchmark('weak_scaling', '--out {out}', '--out {out} --processes 1 2 --batch 2 --steps 1'),
    Benchmark(
        'inference',
        '{work_dir} {images} --out {out}',
        '{work_dir} {images} --out {out} --rounds 1 --batch-sizes 2',
    ),
    Benchmark(
        'spo_throughput',
        '{out} --clock processor',
        '{out} --num-images 1 --num-grabcut-images 1 --size 64 64 --boxes 1',
        packages=('segment_anything',),
        goals={'SAM vit_b, decoder': 3.0},
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and return the exit status."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path, required=True, help='folder of the results')
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument('--only', nargs='+', choices=names, metavar='NAME', help=', '.join(names))
    parser.add_argument('--quick', action='store_true', help='tiny sizes')
    parser.add_argument('--again', action='store_true', help='also what is finished')
    parser.add_argument('--page', type=Path, help='Markdown page whose table is replaced')
    parser.add_argument('--work-dir', type=Path, help='of a trained recipe, for some')
    parser.add_argument('--images', type=Path, help='folder of images, for inference')
    options = parser.parse_args(arguments)
    if options.quick and options.page:
        parser.error('--quick figures say nothing: leave out --page')
    options.out.mkdir(parents=True, exist_ok=True)
    machine = current_machine()
    entries = read_entries(options.out, machine)
    summary = dict(machine=machine, benchmarks=entries)
    chosen = [b for b in BENCHMARKS if not options.only or b.name in options.only]
    for number, benchmark in enumerate(chosen, start=1):
        progress = f'[{number}/{len(chosen)}] {benchmark.name}:'
        words = command(benchmark, options)
        if not options.again and is_finished(entries.get(benchmark.name), words, options.out):
            print(f'{progress} kept, took {entries[benchmark.name]["seconds"]} s', flush=True)
            continue
        reason = missing(benchmark, options)
        if reason is None:
            print(f'{progress} {shlex.join(words)}', flush=True)
            entry = run(benchmark, words, options.out)
            entry['quick'] = options.quick
            print(f'{progress} {entry["status"]} after {entry["seconds"]} s', flush=True)
        else:
            entry = dict(status=f'skipped: {reason}')
            print(f'{progress} {entry["status"]}', flush=True)
        entries[benchmark.name] = entry
        write_results(options.out, summary)
    if options.page:
        measured = {name: entry for name, entry in entries.items() if not entry.get('quick')}
        replace_table(options.page, make_table(summary | dict(benchmarks=measured), goals()))
    failed = [b.name for b in chosen if entries[b.name]['status'].startswith('failed')]
    if failed:
        print(f'failed: {", ".join(failed)}. What they printed is in {options.out}/<name>.log')
    return 1 if failed else 0


def command(benchmark: Benchmark, options: argparse.Namespace) -> list[str]:
    """Words of the command line, run in the repository's root."""
    places = dict(
        out=options.out.resolve() / f'{benchmark.name}.json',
        work_dir=options.work_dir and options.work_dir.resolve(),
        images=options.images and options.images.resolve(),
    )
    arguments = benchmark.quick if options.quick else benchmark.arguments
    words = [word.format(**places) for word in arguments.split()]
    return ['python', str(FOLDER / f'{benchmark.name}.py'), *words]


def missing(benchmark: Benchmark, options: argparse.Namespace) -> str | None:
    """What the benchmark lacks here."""
    packages = [name for name in benchmark.packages if find_spec(name) is None]
    if packages:
        return f"needs {', '.join(packages)}: pip install -e '.[benchmarks]'"
    places = dict(work_dir='--work-dir of a trained recipe', images='--images')
    unnamed = [
        text
        for place, text in places.items()
        if f'{{{place}}}' in benchmark.arguments and getattr(options, place) is None
    ]
    return f'needs {" and ".join(unnamed)}' if unnamed else None


def run(benchmark: Benchmark, words: list[str], out: Path) -> dict[str, object]:
    """Run a benchmark; its entry of the summary."""
    result = out / f'{benchmark.name}.json'
    result.unlink(missing_ok=True)
    started = time.perf_counter()
    with open(out / f'{benchmark.name}.log', 'wb') as log:
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    entry = dict(
        command=shlex.join(words),
        seconds=round(time.perf_counter() - started),
        date=time.strftime('%Y-%m-%d'),
    )
    if done.returncode:
        return entry | dict(status=f'failed with exit status {done.returncode}')
    if not result.exists():
        return entry | dict(status=f'failed: it wrote no {result.name}')
    comparisons = json.loads(result.read_text()).get('comparisons', {})
    return entry | dict(status='finished', comparisons=comparisons)


def read_entries(out: Path, machine: dict[str, object]) -> dict[str, dict]:
    """Entries of an earlier run on this machine."""
    path = out / 'summary.json'
    if not path.exists():
        return {}
    summary = json.loads(path.read_text())
    if summary['machine'] != machine:
        print(f'{path} is of another machine or torch: all is measured again')
        return {}
    return summary['benchmarks']


def is_finished(entry: dict | None, words: list[str], out: Path) -> bool:
    """Whether the same command already gave a result that is still there."""
    if entry is None or entry['status'] != 'finished' or entry['command'] != shlex.join(words):
        return False
    return Path(out, f'{Path(words[1]).stem}.json').exists()


def write_results(out: Path, summary: dict) -> None:
    """Summary and table so far."""
    write_atomically(out / 'summary.json', json.dumps(summary, indent=1).encode())
    write_atomically(out / 'performance.md', make_table(summary, goals()).encode())


def goals() -> dict[str, dict[str, float | str]]:
    """Of every benchmark that has some."""
    return {benchmark.name: benchmark.goals for benchmark in BENCHMARKS}


if __name__ == '__main__':
    sys.exit(main())
