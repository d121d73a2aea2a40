"""A recipe: several trainings, one after another, in one process and one command."""

import gc
import logging
import shutil
import traceback
from functools import partial
from itertools import takewhile
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import MMLogger, print_log
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin
from mmseg.registry import RUNNERS, TASK_UTILS

from luss_mm.checkpoints.loading import find_newest_checkpoint
from luss_mm.costs.run_estimate import TimeLeft, announce_estimate
from luss_mm.engine.hooks.results import ClassNamesHook, TrainingProgressHook
from luss_mm.engine.hooks.safeguards import StopRequestHook
from luss_mm.engine.processes import device_overrides, forget, start_process_group
from luss_mm.pipeline.image_counts import judge_run
from luss_mm.recipes.config_check import check_compile, check_features
from luss_mm.recipes.data_check import (
    bad_image_lines,
    check_data,
    check_images_of,
    fitting_batch,
)
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import plain
from luss_mm.recipes.stage_config import ordinary_config
from luss_mm.recipes.trials import check_extremes
from luss_mm.terminal import announce, prints_logged, quieten
from luss_mm.visualization.report import report_is_current, report_page, write_report
from luss_mm.work_dir.artifact import decide_on_main, on_change, produce, take_up
from luss_mm.work_dir.atomic_files import remove_leftovers
from luss_mm.work_dir.lock import locked_work_dir
from luss_mm.work_dir.manifest import finished_outputs, read_manifest
from luss_mm.work_dir.run_folder import FINAL_CHECKPOINT, RunFolder, StageFolder
from luss_mm.work_dir.stop_request import finishing_before_interrupt, stopping_on_sigterm


class StageRunner(Runner):
    """mmengine's Runner with a quiet terminal; its log file is as long as ever."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build mmengine's logger with a quiet terminal, see `quieten`."""
        return quieten(super().build_logger(*args, **kwargs))

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint as mmengine does; keys that do not match are logged, not printed."""
        with prints_logged(self.logger):
            return super().load_checkpoint(*args, **kwargs)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint as mmengine does; Ctrl-C waits until it is written."""
        with finishing_before_interrupt():
            super().save_checkpoint(*args, **kwargs)

    def _init_model_weights(self) -> None:
        with prints_logged(self.logger):  # which checkpoint is loaded
            super()._init_model_weights()


@RUNNERS.register_module()
class StagedRunner:
    """Runs the stages of a recipe in order with mmengine's Runner.

    Finished stages are skipped, an interrupted one resumes at its newest valid checkpoint. Every
    stage leaves `<work_dir>/<stage>/config.py` and `final.pth`, which mmseg's own tools take.

    Args:
        cfg: The recipe. `stage_order` names the stages, `stages` holds their configs; keys that
            mmengine's Runner knows are shared by all stages; every other key is a setting that
            stages refer to as '${name}'.
    """

    def __init__(self, cfg: Config) -> None:
        self.recipe = Recipe(cfg)
        self.work_dir = self.recipe.work_dir
        self.folder = RunFolder(self.work_dir)
        # Of the last training: what follows it is in its log.
        self._last_instances: tuple[ManagerMixin, ...] = ()

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'StagedRunner':
        """Build from a config; mmseg's tools/train.py calls this."""
        return cls(cfg)

    def train(self) -> None:
        """Run all stages that are not finished, then print score and places and write a report."""
        start_process_group(self.recipe.launcher)
        quieten(level=self.recipe.shared.get('log_level'))
        get_temp_dir()  # inherited by loading processes, each of which would leave one of its own
        try:
            with locked_work_dir(self.work_dir), stopping_on_sigterm():
                with on_change(self.recipe.on_change):
                    self._run_stages()
        finally:
            forget(self._last_instances)

    def _run_stages(self) -> None:
        if is_main_process():
            # Of kills between the stages; theirs go when they are taken up again.
            remove_leftovers(self.work_dir, below=False)
            remove_leftovers(self.folder.pictures)
            self.folder.write_settings(plain(self.recipe.settings.values))
            # Sizes may have changed since an earlier start, which times of folders do not tell.
            if self.folder.image_index.is_dir():
                shutil.rmtree(self.folder.image_index)
        barrier()
        self.recipe.image_index = self.folder.image_index
        order = self.recipe.stage_order
        checked: set[str] = set()
        time_left = TimeLeft()
        for line in self.recipe.notes:
            print_log(line, logger='current')
        for number, name in enumerate(order, start=1):
            print_log(f'stage {number}/{len(order)}: {name}', logger='current')
            if name not in checked:
                trainings = list(takewhile(self.recipe.is_training, order[number - 1 :]))
                check_data(self.recipe, trainings)
                stages = {t: self.recipe.stage(t, self.work_dir / t) for t in trainings}
                check_features(stages)
                check_compile(stages)
                if estimate := announce_estimate(self.recipe, trainings):
                    time_left.expect(estimate)
                checked.update(trainings)
                self._check_images([name for name in order if name in checked])
                check_extremes(self.recipe, trainings)
            from_start = not list(self.work_dir.glob(f'{name}.partial-*'))
            if line := time_left.begin(name, from_start):
                print_log(line, logger='current')
            self._run_stage(name)
            time_left.end(name)
        if is_main_process():
            announce('\n'.join([*self.closing_lines(), report_line(self.work_dir)]))

    def closing_lines(self) -> list[str]:
        """Score, labels used, what has probably failed, and where the outputs lie."""
        lines = ['', f'finished: {self.work_dir}']
        for name in self.recipe.stage_order:
            if figures := self.folder.stage(name).metrics():
                shown = ', '.join(f'{key} {value:.2f}' for key, value in figures.items())
                lines.append(f'score ({name}): {shown}')
        finished = RunFolder(self.work_dir)  # as it is now
        lines.append('labels used: ' + ('; '.join(finished.labels_used) or 'none'))
        if finished.used_sam:
            lines.append('SAM, which human masks trained, took part')
        lines += judge_run(self.work_dir, self.recipe.stage_order[-1]).lines
        lines += bad_image_lines(self.work_dir)
        if finished.pictures.is_dir():
            lines.append(f'pictures: {finished.pictures}')
        last = finished.stage(self.recipe.stage_order[-1])
        lines.append(f'model: {last.checkpoint} with {last.config}')
        return lines

    def _check_images(self, trainings: list[str]) -> None:
        if trainings:
            with on_change('redo'):  # of the images as they are, whatever it was of
                bad_images = check_images_of(self.recipe, trainings)
            self.recipe.bad_images = bad_images if self.recipe.on_bad_image == 'skip' else None

    def _run_stage(self, name: str) -> None:
        directory = self.work_dir / name
        inputs = self.recipe.stage_inputs(name)
        for other in self.recipe.stages_read_by(name):
            inputs[other] = read_manifest(self.work_dir / other)['key']
        produce(
            directory,
            lambda unfinished: self._make_stage(name, unfinished),
            inputs,
            self.recipe.settings_of(name),
            used_ground_truth=tuple(self.recipe.labels_used(name)),
            used_sam=self.recipe.used_sam(name),
        )
        if is_main_process():
            self._take_up_outputs(directory)
        barrier()

    def _take_up_outputs(self, directory: Path) -> None:
        """A stage that was finished before gets back what its hooks had made by then."""
        for name, key in (StageFolder(directory).outputs() or {}).items():
            if not take_up(self.work_dir / name, key):
                print_log(f'{self.work_dir / name} of {directory.name} is gone', 'current')

    def _make_stage(self, name: str, directory: Path) -> None:
        task = self.recipe.task(name, directory)
        if task is None:
            self._train_stage(name, directory)
        elif is_main_process():
            TASK_UTILS.build(task)(directory)
        if is_main_process():
            outputs = finished_outputs(self.work_dir)
            between = {o: k for o, k in outputs.items() if o not in self.recipe.templates}
            StageFolder(directory).write_outputs(between)

    def _train_stage(self, name: str, directory: Path) -> None:
        config = self.recipe.stage(name, directory)
        newest = decide_on_main(partial(find_newest_checkpoint, directory))
        # `resume=True` with `load_from` resumes that file: only one of the two is ever meant.
        config['resume'] = newest is not None
        config['load_from'] = str(newest) if newest else config.get('load_from')
        self._fit_batch(name, config['train_dataloader'])
        config |= device_overrides(config)
        # mmengine writes the config's text into every checkpoint, and formatting it takes seconds.
        forget(self._last_instances)
        runner = StageRunner.from_cfg(Config(config, format_python_code=False))
        self._last_instances = runner.logger, runner.message_hub, runner.visualizer
        runner.register_hook(StopRequestHook())
        runner.register_hook(TrainingProgressHook(f'{name}, images'))
        runner.train()
        runner.register_hook(ClassNamesHook())  # now that clusters are matched, if they ever are
        runner.save_checkpoint(
            str(directory),
            FINAL_CHECKPOINT,
            save_optimizer=False,
            save_param_scheduler=False,
            backend_args=dict(backend='atomic_local'),
        )
        if is_main_process():
            resolved = self.recipe.stage(name, self.work_dir / name)
            wrapper = config.get('optim_wrapper')
            final_config = ordinary_config(resolved, self.recipe.test_parts(name), wrapper)
            Config(final_config).dump(StageFolder(directory).config)
        end_loading(runner)
        del runner
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fit_batch(self, name: str, loader: dict[str, Any]) -> None:
        """Make a batch as small as there are images, of which earlier stages may have left few."""
        fitting = fitting_batch(self.recipe, loader)
        if fitting < loader.get('batch_size', 1):
            print_log(
                f'{name}: batches of {fitting} images rather than {loader["batch_size"]}, as many '
                'as there are to train on',
                'current',
                logging.WARNING,
            )
            loader['batch_size'] = fitting


def end_loading(runner: Runner) -> None:
    """Tell persistent loading processes to stop.

    Garbage collection may close their queues first; they would then be waited for 5 s each.
    """
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        iterator = getattr(getattr(loop, 'dataloader', None), '_iterator', None)
        if iterator is not None:
            iterator._shutdown_workers()


def report_line(work_dir: str | Path) -> str:
    """Write the report if it is not of these outputs already; a line for the end of a run.

    A failure is logged in full and stops nothing: the training is finished.
    """
    try:
        current = report_is_current(work_dir)
        return f'report: {report_page(work_dir) if current else write_report(work_dir)}'
    except Exception as error:
        print_log(
            f'the report failed:\n{traceback.format_exc()}', logger='current', level=logging.ERROR
        )
        return f'report: none, it failed ({type(error).__name__}: {error}); the log has more'
