"""Pictures of the samples that a stage trains on, drawn as the training draws them.

luss browse configs/luss/pass_folder.py --cfg-options data_root=DIR
luss browse RECIPE --stage finetune --work-dir work_dirs/NAME
luss browse work_dirs/NAME/pretrain/config.py --epoch 3

Views of pretraining and attention beside their image, with their boxes and the pairs of points of
pixel-to-pixel alignment; images under their label maps; weak and strong views with CutMix.
"""

from pathlib import Path

from luss_mm.cli.recipe_arguments import load_recipe, recipe_parser
from luss_mm.engine.expected_errors import one_line_stops


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Draw and say where the pictures are."""
    parser = recipe_parser(__doc__)
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
    from luss_mm.visualization.overlays import save_picture

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
