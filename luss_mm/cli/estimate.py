"""What a recipe will cost: iterations, operations, memory, disk and time of every part.

    luss estimate configs/luss/pdso_folder.py --cfg-options data_root=DIR
    luss estimate configs/luss/pass_s919.py              (without the images, too)

Quick: operations are counted and divided by this machine's matrix rate. --measure builds each
network at its real batch and view sizes and times it, minutes instead of seconds. Nothing is
written, nothing is trained. What is finished in the work directory is left out.
"""

import json
from pathlib import Path

from luss_mm.cli.recipe_arguments import load_recipe, recipe_parser
from luss_mm.engine.expected_errors import one_line_stops


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Print a table, and write it as JSON if asked to."""
    parser = recipe_parser(__doc__)
    parser.add_argument('--measure', action='store_true', help='time every part; takes minutes')
    parser.add_argument('--images', type=int, help='in each training folder, without looking')
    parser.add_argument('--processes', type=int, default=1, help='one a GPU')
    parser.add_argument('--json', type=Path, help='file for the same as JSON')
    parsed = parser.parse_intermixed_args(arguments)
    config = load_recipe(parsed, needs_images=False)

    from luss_mm.costs.run_estimate import estimate_run
    from luss_mm.recipes.config_file import refuse_incomplete
    from luss_mm.recipes.recipe import Recipe
    from luss_mm.recipes.settings import SettingsError
    from luss_mm.work_dir.atomic_files import refuse_unwritable, write_atomically

    refuse_incomplete(config, parsed.config, ['stages'])
    recipe = Recipe(config)
    if parsed.json is not None:
        refuse_unwritable(parsed.json)
    print('\n'.join(recipe.notes))
    try:
        estimate = estimate_run(
            recipe,
            images=parsed.images,
            measure=parsed.measure,
            processes=parsed.processes,
        )
    except SettingsError as error:
        if parsed.images is not None:
            raise
        raise SettingsError(f'{error} (--images N estimates without the images)') from error
    print(estimate.table() if estimate.costs else 'everything is finished')
    if parsed.json is not None:
        write_atomically(parsed.json, json.dumps(estimate.as_dict(), indent=1).encode())
