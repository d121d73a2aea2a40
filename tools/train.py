"""Train a recipe of several stages, or any mmseg config.

    python tools/train.py configs/luss/pass_folder.py --cfg-options data_root=DIR num_categories=14

The same command resumes after an interruption.
"""

import argparse
import logging
import os
from pathlib import Path

import luss_mm  # noqa: F401  registers everything, also for configs without custom_imports
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.engine.processes import device_overrides, start_process_group
from luss_mm.recipes.command_line import OptionAction
from luss_mm.recipes.config_file import read_config, refuse_incomplete

from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import RUNNERS


def parse_arguments() -> argparse.Namespace:
    """Mmseg's usual arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='recipe or mmseg config')
    parser.add_argument('--work-dir', help='default: work_dirs/<name of the config>')
    parser.add_argument('--resume', action='store_true', help='recipes resume by themselves')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='KEY=VALUE ...')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    arguments = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    return arguments


def load_config(arguments: argparse.Namespace) -> Config:
    """The config with the command line merged into it."""
    config = read_config(arguments.config, arguments.cfg_options)
    config.launcher = arguments.launcher
    config.resume = arguments.resume
    if arguments.work_dir is not None:
        config.work_dir = arguments.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs', Path(arguments.config).stem))
    if arguments.amp and 'stages' in config:
        config.amp = True
    elif arguments.amp:
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    return config


@one_line_stops()
def main() -> None:
    """Build the runner that the config asks for and train."""
    logging.raiseExceptions = False  # a log on a full disk would fill the terminal
    config = load_config(parse_arguments())
    with one_line_stops(config.work_dir):
        train(config)


def train(config: Config) -> None:
    """By mmengine's Runner, unless the config has another."""
    if 'runner_type' in config:
        RUNNERS.build(config).train()
        return
    refuse_incomplete(config, config.filename, ('model', 'train_dataloader', 'train_cfg'))
    start_process_group(config.launcher)
    config.merge_from_dict(device_overrides(config))
    Runner.from_cfg(config).train()


if __name__ == '__main__':
    main()
