"""Pictures of the samples that a stage trains on, drawn as the training draws them.

python tools/browse_dataset.py configs/luss/pass_folder.py --cfg-options data_root=DIR
python tools/browse_dataset.py RECIPE --stage finetune --work-dir work_dirs/NAME
python tools/browse_dataset.py work_dirs/NAME/pretrain/config.py --epoch 3

Views of pretraining and attention beside their image, with their boxes and the pairs of points of
pixel-to-pixel alignment; images under their label maps; weak and strong views with CutMix.
"""

import argparse
from pathlib import Path

import luss_mm  # noqa: F401  registers everything
from luss_mm.engine.browse_samples import draw_samples, stage_config
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.command_line import OptionAction
from luss_mm.recipes.config_file import read_config, refuse_incomplete
from luss_mm.visualization import save_picture

from mmengine.config import Config


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """What follows the name of the tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='recipe or mmseg config')
    parser.add_argument('--stage', help='of a recipe; default: its first training')
    parser.add_argument('--count', type=int, default=20, help='pictures (%(default)s)')
    parser.add_argument('--epoch', type=int, default=0, help='from 0 (%(default)s)')
    parser.add_argument('--work-dir', help='of the recipe; default: work_dirs/<name of the config>')
    parser.add_argument(
        '--out', type=Path, help='new folder; default: <run>/browse/<stage>-epoch-<epoch>'
    )
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='KEY=VALUE ...')
    return parser.parse_args(arguments)


def load_config(arguments: argparse.Namespace) -> Config:
    """The config with the command line merged into it."""
    config = read_config(arguments.config, arguments.cfg_options)
    if arguments.work_dir is not None:
        config.work_dir = arguments.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs', Path(arguments.config).stem))
    return config


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Draw and say where the pictures are."""
    options = parse_arguments(arguments)
    if options.count < 1 or options.epoch < 0:
        raise ValueError(f'--count {options.count} and --epoch {options.epoch}: 1 and 0 or more')
    config = load_config(options)
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


if __name__ == '__main__':
    main()
