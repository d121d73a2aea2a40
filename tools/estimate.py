"""What a recipe will cost: iterations, memory, disk and time of every part.

    python tools/estimate.py configs/luss/pdso_folder.py --cfg-options data_root=DIR
    python tools/estimate.py configs/luss/pass_s919.py --images 1281167       (without the images)

A step of every network is timed on made-up images of the real view sizes: the whole batch where
that takes a second at most, else a few images of it. --measure times whole batches, minutes instead
of seconds. Nothing is written, nothing is trained. What is finished in the work directory is left
out.
"""

import argparse
import json
from pathlib import Path

import luss_mm  # noqa: F401  registers everything
from luss_mm.costs.run_estimate import estimate_run
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.command_line import OptionAction
from luss_mm.recipes.config_file import read_config, refuse_incomplete
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from luss_mm.work_dir.atomic_files import refuse_unwritable, write_atomically


@one_line_stops()
def main() -> None:
    """Print a table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='recipe')
    parser.add_argument('--work-dir', help='default: work_dirs/<name of the config>')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='KEY=VALUE ...')
    parser.add_argument('--measure', action='store_true', help='time whole batches; takes minutes')
    parser.add_argument('--images', type=int, help='in each training folder, without looking')
    parser.add_argument('--processes', type=int, default=1, help='one a GPU')
    parser.add_argument('--json', type=Path, help='file for the same as JSON')
    arguments = parser.parse_args()
    config = read_config(arguments.config, arguments.cfg_options)
    refuse_incomplete(config, arguments.config, ['stages'])
    config.work_dir = arguments.work_dir or str(Path('work_dirs', Path(arguments.config).stem))
    recipe = Recipe(config)
    if arguments.json is not None:
        refuse_unwritable(arguments.json)
    print('\n'.join(recipe.notes))
    try:
        estimate = estimate_run(
            recipe,
            images=arguments.images,
            measure=arguments.measure,
            processes=arguments.processes,
        )
    except SettingsError as error:
        if arguments.images is not None:
            raise
        raise SettingsError(f'{error} (--images N estimates without the images)') from error
    print(estimate.table() if estimate.costs else 'everything is finished')
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(estimate.as_dict(), indent=1).encode())


if __name__ == '__main__':
    main()
