"""A training of a second in mmengine's Runner, with a PASS head and feature queue."""

from itertools import count

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from luss_mm.models import FeatureQueue, PrototypeHead

CHANNELS = 6
_numbers = count()


class Killed(BaseException):
    """Stands for a kill: nothing handles it."""


class Points(Dataset):
    """Eight points."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.full((4,), float(index)) + torch.arange(4.0))


class TinyModel(BaseModel):
    """Projects points; its loss depends on a random number, which it notes in `drawn`."""

    def __init__(self, queue_length=8, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        torch.manual_seed(0)
        self.head = PrototypeHead(4, 8, CHANNELS, num_prototypes=5)
        self.queue = FeatureQueue(queue_length, CHANNELS)
        self.drawn = []

    def forward(self, inputs, mode='tensor'):
        embeddings = self.head.embed(inputs)
        if mode == 'predict':
            return [embeddings.detach()]
        noise = torch.rand(())
        self.drawn.append(noise.item())
        self.queue.push([embeddings.detach(), embeddings.detach() + noise])
        return dict(loss=(self.head.score(embeddings) * noise).square().sum())


class CountingMetric(BaseMetric):
    """Counts validations."""

    validations = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        CountingMetric.validations += 1
        return dict(score=float(len(results)))


class KillHook(Hook):
    """Kills at an event: `at='before_val'`, or `at='before_train_epoch', epoch=2`."""

    def __init__(self, at, epoch=None):
        def kill(runner, *_, **__):
            if epoch is None or runner.epoch == epoch:
                raise Killed

        setattr(self, at, kill)


def make_runner(work_dir, *hooks, epochs=3, validate=False, num_workers=0, model=None, **settings):
    """A Runner of two iterations an epoch with a checkpoint after each epoch."""
    loading = dict(
        dataset=Points(),
        batch_size=4,
        collate_fn=dict(type='default_collate'),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    if validate:
        settings |= dict(
            val_dataloader=dict(loading, sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(),
            val_evaluator=[CountingMetric()],
        )
    return Runner(
        model=model or TinyModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(loading, sampler=dict(type='DefaultSampler')),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.01)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=epochs),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=1, backend_args=dict(backend='atomic_local')
            )
        ),
        custom_hooks=list(hooks),
        # Runners of one name and second would share logger, message hub and visualizer.
        experiment_name=f'tiny-{next(_numbers)}',
        randomness=dict(seed=0),
        default_scope='mmseg',
        log_level='WARNING',
        **settings,
    )
