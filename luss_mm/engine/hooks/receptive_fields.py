"""The search for dilations, step by step."""

import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS

from luss_mm.models import ReceptiveFieldSegmentor
from luss_mm.work_dir.atomic_files import write_atomically

STRUCTURE = 'receptive_fields.json'


@HOOKS.register_module()
class ReceptiveFieldHook(Hook):
    """Moves the dilations of a `ReceptiveFieldSegmentor` and writes down what was found.

    `<work_dir>/receptive_fields.json` holds the dilations after the latest step and, when training
    ends, the mean dilations of the branches as trained: what modes 'single' and 'multiple' take.
    Steps are counted by the epoch, so a resumed search makes the same ones.

    Args:
        interval: Epochs between two steps.
        steps: Their number; training goes on after the last.
    """

    priority = 'NORMAL'  # before the checkpoint of the epoch is written

    def __init__(self, interval: int = 10, steps: int = 3) -> None:
        self.interval = interval
        self.steps = steps

    def after_train_epoch(self, runner) -> None:
        """Make a step where one is due."""
        step, rest = divmod(runner.epoch + 1, self.interval)
        if rest == 0 and step <= self.steps:
            model = _unwrapped(runner.model)
            model.search_step()
            _write(runner, model.dilations())

    def after_train(self, runner) -> None:
        """Write the final structure."""
        _write(runner, _unwrapped(runner.model).estimated_dilations())


def _unwrapped(model) -> ReceptiveFieldSegmentor:
    return model.module if is_model_wrapper(model) else model


def _write(runner, dilations: Mapping[str, tuple[int, int]]) -> None:
    if is_main_process():
        write_atomically(Path(runner.work_dir, STRUCTURE), json.dumps(dilations, indent=2).encode())
        changed = sum(max(dilation) > 1 for dilation in dilations.values())
        print_log(f'{changed} of {len(dilations)} convolutions are dilated', logger='current')
