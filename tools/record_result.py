"""Add a finished run, or a plain baseline, to the file of results that docs/results.md shows.

    python tools/record_result.py WORK_DIR --set caltech13 --weights lite0 --method PASS --seed 0
    python tools/record_result.py --baseline FILE.json --set caltech13 --weights lite0
    python tools/write_results_tables.py

Call it on the machine of the run, whose cores, CPU and GPU are recorded with scores, time, versions
and labels used. An entry of the same set, weights, method, seed and setting is replaced.
"""

from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.engine.run_records import METHODS, REFINED, check_method

RESULTS = Path(__file__).parents[1] / 'docs' / 'results.json'


@one_line_stops()
def main() -> None:
    """Record and say what."""
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', type=Path, nargs='?', help='of a finished, scored run')
    parser.add_argument(
        '--baseline', type=Path, metavar='FILE.json', help='of tools/plain_baseline.py --out'
    )
    parser.add_argument('--set', required=True, help='name of the images')
    parser.add_argument('--weights', required=True, help='name of the weights it started from')
    names = ', '.join(f"'{name}'" for name in METHODS[1:])
    parser.add_argument('--method', help=f"{names}, each also with '{REFINED}'")
    parser.add_argument('--seed', type=int)
    parser.add_argument(
        '--setting', default='', help='what else differs, in a few words; has tables of its own'
    )
    parser.add_argument('--command', help='that made it, to be recorded as it is')
    parser.add_argument('--file', type=Path, default=RESULTS, help='(docs/results.json)')
    arguments = parser.parse_args()
    if (arguments.work_dir is None) == (arguments.baseline is None):
        parser.error('name either a WORK_DIR or a --baseline FILE.json')
    given = arguments.method is not None, arguments.seed is not None
    if arguments.work_dir is not None and not all(given):
        parser.error('WORK_DIR needs --method and --seed')
    if arguments.baseline is not None and any(given):
        parser.error('--baseline has a method and seeds of its own')

    from luss_mm.engine.run_records import append_results, record_baseline, record_run

    if arguments.baseline is not None:
        found = record_baseline(arguments.baseline)
    else:
        method = check_method(arguments.method)
        found = [record_run(arguments.work_dir, method, arguments.seed)]
    names = dict(set=arguments.set, weights=arguments.weights, setting=arguments.setting)
    if arguments.command:
        names['command'] = arguments.command
    entries = [dict(names, **entry) for entry in found]
    append_results(arguments.file, entries)
    for entry in entries:
        print(
            f'{entry["set"]}, {entry["weights"]}, {entry["method"]}, seed {entry["seed"]}: '
            f'mIoU {entry["metrics"]["mIoU"]:.2f}'
        )
    print(f'recorded in {arguments.file}; python tools/write_results_tables.py shows it')


if __name__ == '__main__':
    main()
