"""Iteration-based training resumes exactly; the epoch-based part is in test_hooks.py."""

from itertools import count

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import nn

from luss_mm.datasets import SemiDataset
from luss_mm.engine.hooks import EpochSeedHook
from tests.datasets.semi_layout import semi_config, write_split
from tests.engine.tiny_training import Killed

ITERATIONS, KILLED_AT = 7, 4
_numbers = count()


class KillAtIteration(Hook):
    """Kills before an iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == KILLED_AT:
            raise Killed


@MODELS.register_module()
class DropoutModel(BaseModel):
    """A convolution with dropout; `drawn` notes what dropout kept in each iteration."""

    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor=data_preprocessor)
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d())
        self.drawn = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = self.layers(torch.cat([inputs['labelled'], inputs['weak']]))
        self.drawn.append(tuple(features.abs().sum((2, 3)).ne(0).flatten().tolist()))
        return dict(loss=features.square().mean())


def make_runner(work_dir, config, *hooks, num_workers=0, **settings):
    return Runner(
        model=dict(
            type='DropoutModel',
            data_preprocessor=dict(
                type='SemiPreprocessor', mean=[100.0] * 3, std=[50.0] * 3, size=(12, 12)
            ),
        ),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=config,
            batch_size=6,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            collate_fn=dict(type='collate_views'),
            sampler=dict(
                type='SemiSampler',
                labelled=2,
                unlabelled=2,
                partners=True,
                epoch_iterations=ITERATIONS,
            ),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5, momentum=0.9)),
        train_cfg=dict(by_epoch=False, max_iters=ITERATIONS, val_interval=ITERATIONS),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=99, log_metric_by_epoch=False),
            checkpoint=dict(
                type='CheckpointHook',
                interval=2,
                by_epoch=False,
                backend_args=dict(backend='atomic_local'),
            ),
        ),
        custom_hooks=list(hooks),
        experiment_name=f'iterations-{next(_numbers)}',
        randomness=dict(seed=0),
        default_scope='mmseg',
        log_level='ERROR',
        **settings,
    )


@pytest.fixture
def config(tmp_path):
    root = tmp_path / 'data'
    root.mkdir()
    crop = [dict(type='RandomCrop', crop_size=(12, 12), ignore_index=1000)]
    return semi_config(root, write_split(root), dict(labelled=crop), dict(weak=crop))


@pytest.fixture
def loaded(monkeypatch):
    """Indices of all samples that were loaded in this process."""
    indices, load = [], SemiDataset.__getitem__
    monkeypatch.setattr(
        SemiDataset, '__getitem__', lambda self, i: (indices.append(i), load(self, i))[1]
    )
    return indices


@pytest.mark.parametrize('num_workers', [0, 1])
def test_an_interrupted_training_is_the_uninterrupted_one(tmp_path, config, loaded, num_workers):
    whole = make_runner(tmp_path / 'whole', config, EpochSeedHook(), num_workers=num_workers)
    whole.train()
    seen = list(loaded)
    loaded.clear()
    killed = tmp_path / 'killed'
    with pytest.raises(Killed):
        make_runner(killed, config, EpochSeedHook(), KillAtIteration()).train()
    loaded.clear()
    resumed = make_runner(
        killed,
        config,
        EpochSeedHook(),
        num_workers=num_workers,
        load_from=str(killed / f'iter_{KILLED_AT}.pth'),
        resume=True,
    )
    resumed.train()
    assert len(whole.model.drawn) == ITERATIONS == len(set(whole.model.drawn))
    assert resumed.model.drawn == whole.model.drawn[KILLED_AT:]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    # What was seen before the kill is not loaded again (in this process only with no workers).
    assert loaded == seen[6 * KILLED_AT :]
    assert len(seen) == (0 if num_workers else 6 * ITERATIONS)
    for runner in (whole, resumed):
        runner.train_loop.dataloader_iterator = None  # ends the workers
