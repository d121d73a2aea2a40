"""The commands about one run: what it will cost, what it trains on, and how it went."""

import json
import os
from pathlib import Path

from luss_mm.cli.arguments import load_recipe, new_parser, recipe_parser
from luss_mm.engine.expected_errors import one_line_stops

MEGABYTE = 2**20


@one_line_stops()
def estimate(arguments: list[str] | None = None) -> None:
    """What a recipe will cost: iterations, operations, memory, disk and time of every part.

        luss estimate configs/luss/pdso_folder.py --cfg-options data_root=DIR
        luss estimate configs/luss/pass_s919.py              (without the images, too)

    Quick: a step on few made-up images is timed. --measure times steps of whole batches, minutes
    instead of seconds. Nothing is written, nothing is trained. What is finished in the work
    directory is left out.
    """
    parser = recipe_parser(estimate.__doc__)
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
        found = estimate_run(
            recipe,
            images=parsed.images,
            measure=parsed.measure,
            processes=parsed.processes,
        )
    except SettingsError as error:
        if parsed.images is not None:
            raise
        raise SettingsError(f'{error} (--images N estimates without the images)') from error
    print(found.table() if found.costs else 'everything is finished')
    if parsed.json is not None:
        write_atomically(parsed.json, json.dumps(found.as_dict(), indent=1).encode())


@one_line_stops()
def browse(arguments: list[str] | None = None) -> None:
    """Pictures of the samples that a stage trains on, drawn as the training draws them.

    luss browse configs/luss/pass_folder.py --cfg-options data_root=DIR
    luss browse RECIPE --stage finetune --work-dir work_dirs/NAME
    luss browse work_dirs/NAME/pretrain/config.py --epoch 3

    Views of pretraining and attention beside their image, with their boxes and the pairs of points
    of pixel-to-pixel alignment; images under their label maps; weak and strong views with CutMix.
    """
    parser = recipe_parser(browse.__doc__)
    parser.add_argument('--stage', help='of a recipe; default: its first training')
    parser.add_argument('--count', type=int, default=20, help='pictures (%(default)s)')
    parser.add_argument('--epoch', type=int, default=0, help='from 0 (%(default)s)')
    parser.add_argument(
        '--out', type=Path, help='new folder; default: <run>/browse/<stage>-epoch-<epoch>'
    )
    options = parser.parse_intermixed_args(arguments)
    if options.count < 1 or options.epoch < 0:
        raise ValueError(f'--count {options.count} and --epoch {options.epoch}: 1 and 0 or more')
    config = load_recipe(options)

    from luss_mm.engine.browse_samples import draw_samples, stage_config
    from luss_mm.recipes.config_file import refuse_incomplete
    from luss_mm.visualization.pictures import save_picture

    if 'stages' not in config:
        refuse_incomplete(config, options.config, ['train_dataloader'])
    name, stage = stage_config(config, options.stage)
    run = Path(config.work_dir) if 'stages' in config else Path(config.work_dir).parent
    out = options.out or run / 'browse' / f'{name}-epoch-{options.epoch}'
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f'{out}: is there and not empty. Remove it, or name another --out.')
    number = 0
    for number, shown in enumerate(draw_samples(stage, options.epoch, options.count), start=1):
        save_picture(out / f'{number:04d}-{shown.name}.png', shown.picture)
        print(f'{number:04d} {shown.caption}')
    print(f'{number} pictures: {out}')


@one_line_stops()
def report(arguments: list[str] | None = None) -> None:
    """A page about a finished run: score, stages, losses, clusters, matching, classes and images.

        luss report WORK_DIR

    Writes WORK_DIR/report/index.html, which needs neither server nor network. It holds its pictures
    itself while they are few; many clusters get a folder of pictures beside it, which moves with
    it. The end of a recipe writes the same page. Trains and predicts nothing and reads no mask:
    what the run did not leave is left out, with the reason.
    """
    parser = new_parser(report.__doc__)
    parser.add_argument('work_dir', type=Path)
    parser.add_argument(
        '--largest-page',
        type=float,
        default=12,
        metavar='MB',
        help='pictures beyond this go into a folder beside the page (%(default)s; 0: always)',
    )
    parsed = parser.parse_args(arguments)
    with os.scandir(parsed.work_dir):
        pass  # names a folder that is not there or may not be read

    from luss_mm.visualization.report import write_report

    page = write_report(parsed.work_dir, int(parsed.largest_page * MEGABYTE))
    print(f'report: {page} ({page.stat().st_size / MEGABYTE:.1f} MB)')
