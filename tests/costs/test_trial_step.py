import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS, OPTIMIZERS

from luss_mm.costs import trial_step
from luss_mm.costs.part_costs import kmeans_seconds, sam_seconds
from luss_mm.costs.trial_step import MAP_COPIES, try_pass, try_training
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.models.segmenters.sam_segmenter import resolve_sizes
from luss_mm.recipes.trials import draw_made_up_samples
from tests.engine.small_folder_recipe import recipe

SIZE = (48, 64)
SMALL_SAM = dict(
    image_size=64,
    encoder_channels=32,
    encoder_depth=4,
    encoder_heads=2,
    global_attention=(1, 3),
    window_size=2,
    prompt_channels=16,
)


@pytest.fixture(scope='module')
def stages(tmp_path_factory):
    """Resolved trainings of the small recipe."""
    found = recipe(tmp_path_factory.mktemp('run'))
    return {name: found.stage(name, 'x') for name in found.stage_order}


@pytest.fixture
def batches(monkeypatch):
    """Images of each batch that a model is given."""
    sizes = []

    def note(loader, samples):
        sizes.append(len(samples))
        return collate(loader, samples)

    collate = trial_step.collate
    monkeypatch.setattr(trial_step, 'collate', note)
    return sizes


def test_the_whole_batch_is_made_only_where_that_is_cheap(stages, batches, monkeypatch):
    stage = stages['dff_f']
    size = stage['train_dataloader']['batch_size']
    assert size > trial_step.SAMPLES
    assert try_training(stage, SIZE, 'cpu').seconds > 0 and batches[-1] == size
    monkeypatch.setattr(trial_step, 'CHEAP', 0.0)
    del batches[:]
    assert try_training(stage, SIZE, 'cpu').seconds > 0 and set(batches) == {trial_step.SAMPLES}
    try_training(stage, SIZE, 'cpu', whole=True)
    assert batches[-1] == size


def test_memory_grows_with_the_batch(stages):
    loader = stages['dff_f']['train_dataloader']
    small, large = (
        try_training(
            dict(stages['dff_f'], train_dataloader=dict(loader, batch_size=size)), SIZE, 'cpu'
        )
        for size in (8, 16)
    )
    parameters = 2 * small.memory - large.memory  # what does not grow
    assert small.weights == large.weights < parameters < small.memory


def test_a_pass_does_not_take_the_channels_at_the_size_of_its_scores(mmseg_scope):
    """Sharpened scores are as large as the image; 13.6 GB were said for 1.7."""
    model = MODELS.build(
        dict(
            type='ForegroundModel',
            data_preprocessor=dict(type='ViewsPreprocessor'),
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            in_index=3,
            channels=64,
            upsample=1,
            foreground=dict(type='FeatureLength'),
            pooling=dict(gate_power=2.0, sharpen_radius=0.25),
        )
    )
    pipeline = [dict(type='LoadBoundedImage'), dict(type='PackImage')]
    source = dict(dataset=dict(pipeline=pipeline), batch_size=4)
    trial = try_pass(AttendedInference(model), source, (96, 128), 'cpu')
    images = 4 * 4 * 3 * 96 * 128
    assert trial.memory == trial.weights + MAP_COPIES * images


def test_estimating_draws_nothing_from_the_generator(stages):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    try_training(stages['pretrain'], SIZE, 'cpu')
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize('optimizer', ['LARS', 'SGD', 'AdamW'])
def test_checkpoints_are_as_large_as_said(stages, tmp_path, optimizer):
    momentum = {} if optimizer == 'AdamW' else dict(momentum=0.9)
    wrapper = dict(type='OptimWrapper', optimizer=dict(type=optimizer, lr=0.1, **momentum))
    stage = dict(stages['dff_f'], optim_wrapper=wrapper)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(stage['model'])
    chosen = OPTIMIZERS.build(dict(wrapper['optimizer'], params=list(model.parameters())))
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    chosen.step()
    torch.save((model.state_dict(), chosen.state_dict()), tmp_path / 'whole')
    torch.save(model.state_dict(), tmp_path / 'weights')
    trial = try_training(stage, SIZE, 'cpu')
    assert trial.checkpoint == pytest.approx((tmp_path / 'whole').stat().st_size, rel=0.15)
    assert trial.weights == pytest.approx((tmp_path / 'weights').stat().st_size, rel=0.15)


def test_labels_are_loaded_where_the_pipeline_loads_them(mmseg_scope):
    pipeline = [
        dict(type='LoadBoundedImage'),
        dict(type='ResizeShortSide', side=32),
        dict(type='LoadLabelMap', match_image=False),
        dict(type='PackSegInputs', meta_keys=('ori_shape',)),
    ]
    loader = dict(dataset=dict(type='LUSSDataset', pipeline=pipeline), batch_size=1)
    (sample,) = draw_made_up_samples(loader, 1, (48, 72)).few
    assert sample['inputs'].shape == (3, 32, 48)
    assert sample['data_samples'].gt_sem_seg.shape == (32, 48)


def test_clustering_and_segmenting_are_timed():
    assert 0 < kmeans_seconds(4, 3, 'cpu') < 1e-4
    assert sam_seconds(resolve_sizes(SMALL_SAM), 'float32', 'cpu') > 0
