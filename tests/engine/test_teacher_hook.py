import copy
from itertools import count

import pytest
import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from luss_mm.engine.hooks import TeacherHook
from tests.engine.tiny_training import TinyModel
from tests.models.small_dssn import batch, small_dssn
from tests.two_ranks import run_on_two_ranks

_numbers = count()


class Batches(Dataset):
    """Each item is a batch of all views; perturbations are drawn from the epoch and iteration."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        inputs, data_samples = batch(seed=index)
        return dict(inputs=inputs, data_samples=data_samples)


def only_item(items):
    return items[0]


class SpyHook(Hook):
    """Seeds each iteration, and notes the networks before and after the teacher's update."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.states = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        torch.manual_seed(100 + runner.iter)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.states.append(copy.deepcopy(runner.model.state_dict()))


def make_runner(work_dir, *hooks, model=None, epochs=2, by_epoch=True, accumulate=1, **settings):
    limits = dict(max_epochs=epochs) if by_epoch else dict(max_iters=4 * epochs)
    return Runner(
        model=small_dssn(teacher=False, network=dict(norm=True)) if model is None else model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Batches(),
            batch_size=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=only_item,
        ),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4),
            accumulative_counts=accumulate,
        ),
        train_cfg=dict(by_epoch=by_epoch, **limits),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)),
        custom_hooks=list(hooks),
        experiment_name=f'teacher-{next(_numbers)}',
        randomness=dict(seed=0),
        default_scope='mmseg',
        log_level='WARNING',
        **settings,
    )


def follow(states):
    """The teacher from the students of all iterations, literally."""
    teacher = None
    for state in states:
        student = {k[8:]: v.double() for k, v in state.items() if k.startswith('student.')}
        if teacher is None:
            teacher = student
        else:
            teacher = {k: 0.996 * teacher[k] + 0.004 * v for k, v in student.items()}
        yield teacher


def parameters_only(state, prefix):
    return {
        k[len(prefix) :]: v.double()
        for k, v in state.items()
        if k.startswith(prefix) and ('weight' in k or 'bias' in k)
    }


def test_the_teacher_follows_every_step(tmp_path):
    spy = SpyHook()
    runner = make_runner(tmp_path, TeacherHook(), spy)
    runner.train()
    model = runner.model
    for state, expected in zip(spy.states, follow(spy.states), strict=True):
        for name, value in parameters_only(state, 'teacher.module.').items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert model.teacher.steps == 8 and model.epoch == 1
    known = {id(p) for g in runner.optim_wrapper.param_groups for p in g['params']}
    assert known == {id(p) for p in model.student.parameters()}
    first, last = spy.states[0], spy.states[-1]
    assert not torch.equal(
        first['teacher.module.backbone.fine.weight'], last['teacher.module.backbone.fine.weight']
    )


def test_strong_losses_wait_for_their_epoch(tmp_path):
    spy = SpyHook()
    model = small_dssn(teacher=False, strong_from_epoch=1)
    make_runner(tmp_path, TeacherHook(), spy, model=model).train()
    for i, state in enumerate(spy.states):
        same = torch.equal(
            state['student.backbone.fine.weight'], state['teacher.module.backbone.fine.weight']
        )
        assert same == (i < 4)


def test_mistakes_are_named(tmp_path):
    model = small_dssn(teacher=False, strong_from_epoch=1)
    with pytest.raises(ValueError, match='strong_from_epoch=1 needs epochs'):
        make_runner(tmp_path, TeacherHook(), model=model, by_epoch=False).train()
    with pytest.raises(TypeError, match='needs a DSSNSegmentor, not a TinyModel'):
        make_runner(tmp_path, TeacherHook(), model=TinyModel()).train()


# ---------------------------------------------------------------- two processes


def trained_on_rank(rank, ranks):
    """Three steps of plain SGD on this rank's half of each batch, gradients averaged."""
    model = small_dssn(teacher=False, selection='all', dropout=0.0)
    model.build_teacher()
    optimizer = torch.optim.SGD(model.student.parameters(), lr=0.05)
    for step in range(3):
        losses = model.loss(*_part(batch(seed=step), rank, ranks))
        optimizer.zero_grad()
        sum(v for n, v in losses.items() if n.startswith('loss')).backward()
        if ranks > 1:
            for parameter in model.student.parameters():
                dist.all_reduce(parameter.grad)
                parameter.grad /= ranks
        optimizer.step()
        model.update_teacher()
    return {k: v.clone() for k, v in model.teacher.state_dict().items()}


def _part(views, rank, ranks):
    """Part of each of two ranks: one labelled image, one unlabelled one and its partner."""
    if ranks == 1:
        return views
    inputs, samples = views
    rows = {view: [rank] if view == 'labelled' else [rank, 2 + rank] for view in inputs}
    return (
        {view: images[rows[view]] for view, images in inputs.items()},
        {view: [known[i] for i in rows[view]] for view, known in samples.items()},
    )


def test_two_ranks_have_the_teacher_of_one():
    first, second = run_on_two_ranks(trained_on_rank, 2)
    whole = trained_on_rank(0, 1)
    for name, value in whole.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5, msg=name)
        assert torch.equal(first[name], second[name])


def test_the_model_knows_the_iteration(tmp_path):
    seen = []

    class NoteHook(Hook):
        priority = 'VERY_LOW'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.model.epoch, runner.model.iteration))

    make_runner(tmp_path, TeacherHook(), NoteHook()).train()
    assert seen == [(i // 4, i) for i in range(8)]
