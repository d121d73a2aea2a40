import json
import random
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler as StockSampler
from mmengine.optim import build_optim_wrapper
from mmengine.runner import IterBasedTrainLoop
from mmseg.models import SegDataPreProcessor
from mmseg.registry import METRICS
from torch.utils.data import DataLoader

from luss_mm.checkpoints.loading import find_newest_checkpoint
from luss_mm.datasets import EpochSampler, LUSSDataset
from luss_mm.engine.hooks import (
    EpochSeedHook,
    FeatureQueueHook,
    FinalValidationHook,
    PreflightHook,
    PrototypesHook,
    safeguards,
)
from luss_mm.models import PixelAttentionModel
from luss_mm.work_dir.run_folder import StageFolder
from tests.engine.tiny_training import (
    CountingMetric,
    Killed,
    KillHook,
    TinyModel,
    make_runner,
)
from tests.models.small_networks import RESNET, RESNET_CHANNELS, prototype_head
from tests.models.small_segmentors import small_segmentor

EPOCHS = 3


def killed_and_resumed(work_dir, kill, make_hooks, **settings):
    """A training that dies and is started again from its newest checkpoint; the second runner."""
    with pytest.raises(Killed):
        make_runner(work_dir, *make_hooks(), kill, **settings).train()
    newest = find_newest_checkpoint(work_dir)
    runner = make_runner(work_dir, *make_hooks(), load_from=str(newest), resume=True, **settings)
    runner.train()
    return runner


class TestEpochSeedHook:
    @staticmethod
    def draw(batch_idx=0, **state):
        runner = SimpleNamespace(**dict(seed=0, epoch=0, rank=0) | state)
        EpochSeedHook().before_train_iter(runner, batch_idx)
        return random.random(), np.random.rand(), torch.rand(()).item()

    def test_every_generator_starts_from_seed_epoch_and_rank(self):
        draws = [self.draw(), self.draw(seed=1), self.draw(epoch=1), self.draw(rank=1)]
        for values in zip(*draws, strict=True):
            assert len(set(values)) == 4
        assert self.draw() == draws[0]

    def test_only_the_first_iteration_reseeds(self):
        first = self.draw()
        assert self.draw(batch_idx=1) != first

    @pytest.mark.parametrize('num_workers', [0, 1])
    def test_a_resumed_training_is_the_uninterrupted_one(self, tmp_path, num_workers):
        """With persistent workers, too: they draw no seed at the second epoch."""
        whole, resumed = (
            make_runner(tmp_path / name, EpochSeedHook(), num_workers=num_workers, **settings)
            for name, settings in (
                ('whole', {}),
                ('resumed', dict(load_from=f'{tmp_path}/whole/epoch_2.pth', resume=True)),
            )
        )
        for runner in (whole, resumed):
            runner.train()
            runner.train_dataloader._iterator = None  # ends the workers
        assert len(set(whole.model.drawn)) == 2 * EPOCHS  # no epoch repeats another
        assert resumed.model.drawn == whole.model.drawn[4:]
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[name]), name


class TestFeatureQueueHook:
    def test_survives_a_restart_bit_for_bit(self, tmp_path):
        def make_hooks():
            return EpochSeedHook(), FeatureQueueHook(start_epoch=0)

        whole = make_runner(tmp_path / 'whole', *make_hooks())
        whole.train()
        resumed = killed_and_resumed(
            tmp_path / 'killed', KillHook('before_train_epoch', epoch=2), make_hooks
        )
        assert torch.equal(whole.model.queue.rows, resumed.model.queue.rows)
        assert resumed.model.queue.filled == whole.model.queue.filled == 8
        # Not trained further, the resumed queue is the one that was saved.
        idle = make_runner(
            tmp_path / 'idle',
            FeatureQueueHook(start_epoch=0),
            load_from=str(tmp_path / 'whole' / 'epoch_3.pth'),
            resume=True,
        )
        idle.train()
        assert torch.equal(idle.model.queue.rows, whole.model.queue.rows)

    def test_a_new_stage_starts_with_an_empty_queue(self, tmp_path):
        make_runner(tmp_path / 'first', FeatureQueueHook(start_epoch=0)).train()
        path = str(tmp_path / 'first' / 'epoch_3.pth')
        saved = torch.load(path, weights_only=False)
        assert saved['feature_queue']['filled'] == 8
        assert not [key for key in saved['state_dict'] if 'queue' in key]
        runner = make_runner(
            tmp_path / 'second',
            FeatureQueueHook(start_epoch=9),
            load_from=path,
            model=TinyModel(queue_length=20),  # another length does not matter either
        )
        runner.train()
        assert runner.model.queue.filled == 0 and not runner.model.queue.rows.any()

    def test_tells_how_evenly_the_prototypes_are_used(self, tmp_path):
        runner = make_runner(tmp_path, FeatureQueueHook(start_epoch=0))
        runner.train()
        prototypes = runner.model.head.prototypes.weight.detach()
        expected = [[0] * 5 for _ in runner.model.queue.rows]
        for counts, rows in zip(expected, runner.model.queue.rows, strict=True):
            for row in rows:
                counts[max(range(5), key=lambda i: float(row @ prototypes[i]))] += 1
        assert StageFolder(tmp_path).prototype_use() == expected

    def test_another_length_cannot_resume(self, tmp_path):
        make_runner(tmp_path, FeatureQueueHook(), epochs=1).train()
        runner = make_runner(
            tmp_path,
            FeatureQueueHook(),
            load_from=str(tmp_path / 'epoch_1.pth'),
            resume=True,
            model=TinyModel(queue_length=20),
        )
        with pytest.raises(ValueError, match=r'\(2, 8, 6\), the model one of \(2, 20, 6\)'):
            runner.train()


class TestPrototypesHook:
    FROZEN = 4

    @staticmethod
    def steps(optimizer, frozen_iters, steps=8, scale=1.0):
        """Prototypes as the forward pass sees them before each step, and after the last."""
        torch.manual_seed(0)
        model = TinyModel()
        model.head.prototypes.weight.data.mul_(scale)
        wrapper = build_optim_wrapper(
            model, dict(type='OptimWrapper', optimizer=dict(optimizer, lr=0.5))
        )
        runner = SimpleNamespace(model=model, optim_wrapper=wrapper, iter=0)
        hook = PrototypesHook(frozen_iters)
        hook.before_train(runner)
        seen = []
        for iteration in range(steps):
            runner.iter = iteration
            hook.before_train_iter(runner, iteration)
            seen.append(model.head.prototypes.weight.detach().clone())
            wrapper.update_params(model(torch.randn(6, 4), mode='loss')['loss'])
        hook.before_train_iter(runner, steps)
        return [*seen, model.head.prototypes.weight.detach().clone()], model

    @pytest.mark.parametrize(
        'optimizer',
        [
            dict(type='SGD', momentum=0.9, weight_decay=0.1),
            dict(type='SGD', momentum=0.9, weight_decay=0.1, nesterov=True),
            dict(type='LARS', momentum=0.9, weight_decay=0.1, trust_coefficient=0.1),
            dict(type='AdamW', weight_decay=0.1),
        ],
        ids=['SGD', 'Nesterov', 'LARS', 'AdamW'],
    )
    @pytest.mark.usefixtures('mmseg_scope')
    def test_frozen_prototypes_do_not_move_at_all(self, optimizer):
        seen, _ = self.steps(optimizer, self.FROZEN)
        for weight in seen[1 : self.FROZEN + 1]:
            assert torch.equal(weight, seen[0])
        for before, after in zip(seen[self.FROZEN :], seen[self.FROZEN + 1 :], strict=False):
            assert (after - before).abs().max() > 1e-4


class TestFinalValidationHook:
    @pytest.fixture(autouse=True)
    def count_from_zero(self, monkeypatch):
        monkeypatch.setattr(CountingMetric, 'validations', 0)

    @pytest.mark.parametrize('kill_at', ['before_val', 'before_val_epoch', 'after_val_iter'])
    def test_validates_after_a_kill_before_the_score(self, tmp_path, kill_at):
        killed_and_resumed(
            tmp_path, KillHook(kill_at), lambda: [FinalValidationHook()], validate=True
        )
        assert CountingMetric.validations == 1
        assert json.loads((tmp_path / 'metrics.json').read_text())['iter'] == 6

    def test_not_twice_after_a_kill_during_training(self, tmp_path):
        kill = KillHook('before_train_epoch', epoch=2)
        killed_and_resumed(tmp_path, kill, lambda: [FinalValidationHook()], validate=True)
        assert CountingMetric.validations == 1


class TestPreflightHook:
    @staticmethod
    def check(dataset, sampler=EpochSampler, batch_size=2, drop_last=True, loop=None, model=None):
        loader = DataLoader(
            dataset, batch_size, sampler=sampler(dataset, seed=0), drop_last=drop_last
        )
        runner = SimpleNamespace(train_dataloader=loader, world_size=1, train_loop=loop)
        runner.model = model or TinyModel()
        PreflightHook().before_train(runner)

    @pytest.fixture
    def dataset(self, data_root):
        return LUSSDataset(data_root, dict(img_path='train'), pipeline=[])

    @pytest.mark.parametrize(
        'loop, better', [(None, 'EpochSampler'), (IterBasedTrainLoop, 'IterationSampler')]
    )
    def test_a_sampler_without_epochs_is_told(self, dataset, loop, better, monkeypatch):
        told = []
        monkeypatch.setattr(safeguards, 'print_log', lambda text, *_: told.append(text))
        self.check(dataset, StockSampler, loop=loop and loop.__new__(loop))
        (line,) = told
        assert line.startswith('DefaultSampler tells no epoch') and f"type='{better}'" in line

    def test_attention_is_refused_a_head_that_nothing_trained(self):
        channels = RESNET_CHANNELS[-1]
        model = PixelAttentionModel(
            backbone=RESNET, head=prototype_head(channels), channels=channels
        )
        state = model.state_dict()
        check = PreflightHook().after_load_checkpoint
        check(SimpleNamespace(model=model), dict(state_dict=state))
        without = {k: v for k, v in state.items() if not k.startswith('head.')}
        with pytest.raises(
            ValueError, match=r"first head\.proj.*put 'projection' into stage_order"
        ):
            check(SimpleNamespace(model=model), dict(state_dict=without))

    def test_too_few_images_for_one_batch(self, dataset):
        with pytest.raises(ValueError, match='6 training images do not fill one batch of 7'):
            self.check(dataset, batch_size=7)
        self.check(dataset, batch_size=7, drop_last=False)

    @pytest.mark.parametrize('num_classes, refused', [(255, False), (256, True)])
    @pytest.mark.parametrize('key', ['decode_head.ignore_index', 'data_preprocessor.seg_pad_val'])
    def test_category_255_is_not_ignored(self, dataset, num_classes, refused, key):
        ignored = dict.fromkeys(('decode_head.ignore_index', 'data_preprocessor.seg_pad_val'), 1000)
        head, padding = (ignored | {key: 255}).values()
        model = small_segmentor(
            num_classes=num_classes,
            head=dict(ignore_index=head),
            data_preprocessor=SegDataPreProcessor(size=(8, 8), seg_pad_val=padding),
        )
        refusal = pytest.raises(ValueError, match=f'{key}=255, .* is one of the 256 ids')
        with refusal if refused else nullcontext():
            self.check(dataset, model=model)

    @pytest.mark.parametrize('wrapped', [False, True])
    def test_mmsegs_metric_writes_no_ids_that_8_bits_cut(self, tmp_path, wrapped):
        metric = dict(type='IoUMetric', output_dir=str(tmp_path / 'maps'))
        if wrapped:
            metric = dict(type='PredictionMetric', metric=metric, prediction='other', prefix='p')
        runner = make_runner(tmp_path, PreflightHook(), validate=True)
        runner._val_loop = runner.build_val_loop(runner._val_loop)
        runner.val_evaluator.metrics[:] = [METRICS.build(metric)]
        runner.model.num_classes = 256
        runner.call_hook('before_run')
        runner.model.num_classes = 257
        with pytest.raises(ValueError, match=r"output_dir='.*8 bits, which cannot hold 257 ids"):
            runner.train()
        assert runner.model.drawn == []

    def test_before_the_first_iteration_of_a_training(self, tmp_path, data_root):
        config = dict(
            type='LUSSDataset',
            data_root=str(data_root),
            data_prefix=dict(img_path='train'),
            pipeline=[],
        )
        runner = make_runner(tmp_path, PreflightHook())
        runner._train_dataloader.update(dataset=config, sampler=dict(type='IterationSampler'))
        with pytest.raises(ValueError, match='IterationSampler never ends an epoch'):
            runner.train()
        assert runner.model.drawn == []
