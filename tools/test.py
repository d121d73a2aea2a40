"""Score a checkpoint, or the last stage of a recipe.

python tools/test.py configs/luss/pass_folder.py --work-dir work_dirs/pass_folder
python tools/test.py STAGE/config.py STAGE/final.pth
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.recipes.find_recipe import find_recipe
from luss_mm.recipes.setting_types import OptionAction
from luss_mm.work_dir.run_folder import RunFolder, StageFolder

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_arguments() -> argparse.Namespace:
    """Mmseg's usual arguments."""
    parser = new_parser(__doc__)
    parser.add_argument('config', help='recipe or mmseg config')
    parser.add_argument('checkpoint', nargs='?', help='default for a recipe: its last stage')
    parser.add_argument('--work-dir', help='of the recipe, or where the scores go')
    parser.add_argument('--out', help='write predictions and match.json into this folder')
    parser.add_argument(
        '--refine',
        action='store_true',
        help='score predictions whose foreground GrabCutSegmenter has moved to edges of colour',
    )
    parser.add_argument('--tta', action='store_true', help="augment by the config's tta_pipeline")
    parser.add_argument('--show-dir', help='draw every prediction into this folder')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='KEY=VALUE ...')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    arguments = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    return arguments


def load_config(arguments: argparse.Namespace) -> 'Config':
    """Config of one stage, with the checkpoint to score."""
    from luss_mm.inference.trained_segmentor import refine_predictions
    from luss_mm.recipes.config_file import (
        merge_options,
        read_config,
        read_own_config,
        refuse_incomplete,
    )
    from luss_mm.recipes.stage_config import bounded_loading, innermost_dataset

    config = read_config(find_recipe(arguments.config))
    checkpoint = arguments.checkpoint
    if 'stages' in config:
        work_dir = arguments.work_dir or Path('work_dirs', Path(arguments.config).stem)
        name = config.stage_order[-1]
        stage = RunFolder(work_dir).finished_stage(name, arguments.config)
        config = read_own_config(stage.config)
        checkpoint = checkpoint or str(stage.checkpoint)
        # Beside the finished stage, whose manifest says what lies in it.
        config.work_dir = str(Path(work_dir, f'{name}_test'))
    else:
        config.work_dir = arguments.work_dir or str(Path('work_dirs', Path(arguments.config).stem))
    if checkpoint is None:
        raise ValueError(f'{arguments.config}: name the checkpoint to score after it.')
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'{checkpoint}: no such checkpoint.')
    merge_options(config, arguments.cfg_options)
    refuse_incomplete(config, arguments.config, ('model', 'test_dataloader', 'test_evaluator'))
    if arguments.refine:
        config = refine_predictions(config, dict(type='GrabCutSegmenter'))
    if arguments.tta:
        refuse_incomplete(config, arguments.config, ('tta_model', 'tta_pipeline'))
        config.test_dataloader.dataset.pipeline = config.tta_pipeline
        config.model = dict(config.tta_model, module=config.model)
    if arguments.show_dir:
        config.setdefault('default_hooks', {})['visualization'] = dict(
            type='PredictionVisualizationHook', draw=True
        )
        config.visualizer.save_dir = arguments.show_dir
    config.load_from, config.resume, config.launcher = checkpoint, False, arguments.launcher
    dataset = innermost_dataset(config.test_dataloader.get('dataset', {}))
    if 'pipeline' in dataset:
        dataset.pipeline = bounded_loading(dataset.pipeline)
    _direct_outputs(config, arguments.out)
    return config


def _direct_outputs(config: 'Config', out: str | None) -> None:
    evaluators = config.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        kind = evaluator.get('type')
        if kind == 'PredictionMetric':  # it puts its metric's outputs into a folder of its own
            evaluator.output_dir = out or str(StageFolder(config.work_dir).evaluation.path)
            evaluator, kind = evaluator.metric, evaluator.metric.type
        if kind in ('UnsupervisedIoUMetric', 'CategoryIoUMetric'):
            evaluator.output_dir = out or str(StageFolder(config.work_dir).evaluation.path)
            evaluator.save_predictions = out is not None or evaluator.get('save_predictions', False)
        elif out is not None:
            evaluator.output_dir = out


@one_line_stops()
def main() -> None:
    """Build the runner and test."""
    config = load_config(parse_arguments())

    from luss_mm.engine.processes import device_overrides, start_process_group

    from mmengine.runner import Runner

    start_process_group(config.launcher)
    for key, value in device_overrides(config).items():
        config[key] = value  # merged, arguments that the device does not know would stay
    Runner.from_cfg(config).test()


if __name__ == '__main__':
    main()
