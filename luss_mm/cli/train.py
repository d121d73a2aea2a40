"""Train a recipe of several stages, or any mmseg config.

    luss train pdso_photos data_root=PHOTOS num_categories=12
    luss train pdso_photos --settings
    luss train configs/luss/pass_folder.py --cfg-options data_root=DIR num_categories=14

The same command resumes after an interruption.
"""

import argparse
import logging
import os
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import load_recipe, recipe_parser
from luss_mm.engine.expected_errors import one_line_stops

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Mmseg's usual arguments, and settings without `--cfg-options`."""
    parser = recipe_parser(__doc__)
    parser.add_argument('--settings', action='store_true', help='list the settings of the recipe')
    parser.add_argument('--resume', action='store_true', help='recipes resume by themselves')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parsed = parser.parse_intermixed_args(arguments)
    os.environ.setdefault('LOCAL_RANK', str(parsed.local_rank))
    return parsed


def load_config(parsed: argparse.Namespace) -> 'Config':
    """The config with the command line merged into it."""
    config = load_recipe(parsed)
    config.launcher = parsed.launcher
    config.resume = parsed.resume
    if parsed.amp and 'stages' in config:
        config.amp = True
    elif parsed.amp:
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    return config


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Build the runner that the config asks for and train."""
    parsed = parse_arguments(arguments)
    if parsed.settings:
        from luss_mm.cli.about import settings_table

        print(settings_table(parsed.config))
        return
    logging.raiseExceptions = False  # a log on a full disk would fill the terminal
    config = load_config(parsed)
    with one_line_stops(config.work_dir):
        train(config)


def train(config: 'Config') -> None:
    """By mmengine's Runner, unless the config has another."""
    from mmengine.runner import Runner
    from mmseg.registry import RUNNERS

    from luss_mm.engine.processes import device_overrides, start_process_group
    from luss_mm.recipes.config_file import refuse_incomplete

    if 'runner_type' in config:
        RUNNERS.build(config).train()
        return
    refuse_incomplete(config, config.filename, ('model', 'train_dataloader', 'train_cfg'))
    start_process_group(config.launcher)
    for key, value in device_overrides(config).items():
        config[key] = value  # merged, arguments that the device does not know would stay
    Runner.from_cfg(config).train()
