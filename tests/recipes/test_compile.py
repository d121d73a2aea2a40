"""mmengine's key `compile`: same losses, same checkpoints, one clear error, no stage made again."""

from itertools import count

import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import Dataset

from luss_mm.engine.hooks import FeatureQueueHook, PrototypesHook
from luss_mm.recipes.config_check import check_compile
from luss_mm.recipes.settings import SettingsError
from tests.models.small_networks import RESNET, RESNET_CHANNELS, random_views
from tests.models.test_pass_pretrainer import small_model, some_crops

SIZES = (32, 32, 16)
_numbers = count()


@pytest.fixture(autouse=True)
def forget_compiled():
    """Else what one test compiled counts towards the limit of recompilations of the next."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Views(Dataset):
    """Eight samples of two global views and a smaller local one."""

    views, crops = random_views(8, SIZES), some_crops(8, len(SIZES))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=[view[index] for view in self.views], crops=self.crops[index])


def tiny_model(**settings):
    """All three losses on two stages of a ResNet."""
    stages = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
    return small_model(RESNET | stages, RESNET_CHANNELS[:2], shallow=(0,), **settings)


def train(folder, epochs=2, **settings):
    """Two iterations an epoch; the queue is full after the first, the prototypes move after it."""
    runner = Runner(
        model=tiny_model(queue_length=4),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=Views(),
            batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='LARS', lr=0.5, weight_decay=1e-4)),
        param_scheduler=dict(type='LinearLR', start_factor=0.5, end=4, by_epoch=False),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[PrototypesHook(frozen_iters=1), FeatureQueueHook(start_epoch=0)],
        experiment_name=f'compile-{next(_numbers)}',
        randomness=dict(seed=0),
        default_scope='mmseg',
        log_level='WARNING',
        **settings,
    )
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0].tolist()
    return losses, torch.load(folder / f'epoch_{epochs}.pth', weights_only=False)


@pytest.mark.parametrize(
    'wanted', [dict(backend='eager'), pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_compiled_training_is_the_same_and_resumes(tmp_path, wanted):
    losses, expected = train(tmp_path / 'plain')
    calls = torch._dynamo.utils.counters['stats']['calls_captured']
    first, saved = train(tmp_path / 'compiled', epochs=1, cfg=dict(compile=wanted))
    assert torch._dynamo.utils.counters['stats']['calls_captured'] > calls
    assert saved['feature_queue']['filled'] == 4
    newest = str(tmp_path / 'compiled' / 'epoch_1.pth')
    found_losses, found = train(
        tmp_path / 'compiled', cfg=dict(compile=wanted), resume=True, load_from=newest
    )
    assert found_losses == pytest.approx(losses, rel=1e-4)  # those of the first epoch are saved
    assert found_losses[:2] == first and len(set(losses)) == 4
    assert list(found['state_dict']) == list(expected['state_dict'])
    for name, value in expected['state_dict'].items():
        # a compiler sums in another order, and four steps of LARS carry that on
        torch.testing.assert_close(found['state_dict'][name], value, rtol=1e-3, atol=1e-3)
    rows = (checkpoint['feature_queue']['rows'] for checkpoint in (found, expected))
    torch.testing.assert_close(*rows, rtol=1e-3, atol=1e-3)
    tiny_model().load_state_dict(found['state_dict'])


def without_compiler(graph, inputs):
    raise RuntimeError('no compiler found\n\nand how to look for it')


@pytest.mark.parametrize(
    'wanted, said',
    [
        ('yes', "True, False or the arguments of torch.compile, not 'yes'"),
        (dict(backend='inductr'), "fails here: .*'inductr'"),
        (dict(modes='x'), "fails here: .*'modes'"),
        (dict(backend=without_compiler), 'fails here: .*no compiler found. Set compile=False, or'),
    ],
)
def test_what_does_not_work_is_said_before_the_training(wanted, said):
    with pytest.raises(SettingsError, match=f'^stages.second.compile: .*{said}'):
        check_compile(dict(first={}, second=dict(compile=wanted)))
