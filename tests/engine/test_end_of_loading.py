"""A finished training stage stops its loading processes rather than waiting for them."""

import multiprocessing
import time

from mmengine.config import Config
from mmengine.runner import Runner

from luss_mm.engine.staged_runner import StagedRunner, end_loading
from tests.engine import tiny_training
from tests.small_recipe import OPTIONS, RECIPE


def children():
    """Processes besides those that were there before."""
    return {process.pid for process in multiprocessing.active_children()}


def noting_time(monkeypatch, owner, name, times):
    """Note when the calls of a method end."""
    original = getattr(owner, name)

    def noted(*args, **kwargs):
        result = original(*args, **kwargs)
        times.append((time.monotonic(), children()))
        return result

    monkeypatch.setattr(owner, name, noted)


def test_loaders_of_training_and_validation_stop(tmp_path):
    before = children()
    runner = tiny_training.make_runner(tmp_path, epochs=1, validate=True, num_workers=2)
    runner.train()
    assert len(children() - before) == 4
    end_loading(runner)
    assert children() == before


def test_a_stage_does_not_wait_for_them(tmp_path, monkeypatch):
    """Two workers, collected before they were told to stop, were waited for 5 s each."""
    saved, ended = [], []
    noting_time(monkeypatch, Runner, 'save_checkpoint', saved)
    noting_time(monkeypatch, StagedRunner, '_train_stage', ended)
    config = Config.fromfile(RECIPE)
    options = dict(OPTIONS, stage_order=['data', 'pretrain'], pretrain_epochs=1, num_workers=2)
    config.merge_from_dict(options | dict(work_dir=str(tmp_path / 'run')))
    before = children()
    StagedRunner(config).train()
    (last_saved, while_training), ((stage_end, left),) = saved[-1], ended
    assert len(while_training - before) == 2 and left == before
    assert stage_end - last_saved < 3
