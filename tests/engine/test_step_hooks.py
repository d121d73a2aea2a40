import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from luss_mm.engine.hooks import ClusterHook, CSDHook
from luss_mm.pipeline.clusters import DenoisingRules, KMeans, denoise_clusters
from luss_mm.pipeline.step import check_order, steps_of
from luss_mm.work_dir.manifest import is_finished, read_manifest
from luss_mm.work_dir.run_folder import load_clusters, load_features
from tests.models.small_networks import RESNET, RESNET_CHANNELS, prototype_head


@pytest.fixture
def arguments(tmp_path, data_root, mmseg_scope):
    """Arguments of the hook, with a network on disk that embeds the six images of data_root."""
    model = dict(
        type='PixelAttentionModel',
        data_preprocessor=dict(type='ViewsPreprocessor'),
        backbone=RESNET,
        channels=RESNET_CHANNELS[-1],
        head=prototype_head(RESNET_CHANNELS[-1]),
    )
    Config(dict(model=model)).dump(tmp_path / 'config.py')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(model).state_dict()), tmp_path / 'final.pth')
    dataset = dict(
        type='LUSSDataset',
        data_root=str(data_root),
        data_prefix=dict(img_path='train'),
        pipeline=[
            dict(type='LoadBoundedImage'),
            dict(type='Resize', scale=(32, 32)),
            dict(type='PackImage'),
        ],
    )
    source = dict(
        config=str(tmp_path / 'config.py'),
        checkpoint=str(tmp_path / 'final.pth'),
        dataset=dataset,
        batch_size=4,
        num_workers=0,
    )
    return dict(directory=str(tmp_path / 'run'), source=source, num_clusters=2, kmeans_restarts=3)


def test_the_steps_of_a_stage_are_listed_and_run_without_a_training(arguments, tmp_path):
    names = dict(features='dff_features', clusters='csd_clusters')
    label = dict(
        label_dataset=arguments['source']['dataset'],
        label_transform=dict(type='GeneratePseudoLabel'),
    )
    shared = {key: arguments[key] for key in ('directory', 'source')}
    csd = dict(type='CSDHook', **arguments)
    labels = dict(type='PseudoLabelHook', **shared, **label, **names)
    found = steps_of(dict(custom_hooks=[csd, dict(type='FinalValidationHook'), labels]))
    expected = ['features', 'clusters', 'denoised', 'threshold', 'labels']
    assert [step.name for step in found] == expected
    assert len({id(step.source) for step in found}) == 1  # one network for all of them
    check_order(found)
    for step in found:
        step.run()
        assert is_finished(step.makes)
    assert len(list((tmp_path / 'run' / 'pseudo_labels').rglob('*.png'))) == 6  # of data_root


def test_a_step_before_what_it_reads_is_refused(arguments):
    clusters = ClusterHook(**arguments).steps
    with pytest.raises(ValueError, match="'clusters' would be run before 'features'"):
        check_order(clusters[::-1])


def test_result_is_that_of_the_pipeline(arguments, tmp_path):
    CSDHook(**arguments, cap=1.5, floor=1.0, keep_fraction=0.8, seed=4).before_train(None)
    run = tmp_path / 'run'
    before, after = load_clusters(run / 'dff_clusters'), load_clusters(run / 'csd_clusters')
    rules = DenoisingRules('margin', keep_fraction=0.8, limit=None, cap=1.5, floor=1.0)
    embeddings = load_features(run / 'dff_features').embeddings
    expected = denoise_clusters(
        tmp_path / 'again', embeddings, before, rules, 2, {}, KMeans(restarts=2, seed=4)
    )
    for one, other in zip(vars(after).values(), vars(expected).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    manifest = read_manifest(run / 'csd_clusters')
    assert manifest['inputs'] == {
        name: read_manifest(run / f'dff_{name}')['key'] for name in ('features', 'clusters')
    }
    assert manifest['used_ground_truth'] == [] and manifest['used_sam'] is False


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(rule='best'), "margin, ratio, distance, got 'best'"),
        (dict(limit=0.1), 'keep_fraction=0.665 and limit=0.1: give one'),
        (dict(keep_fraction=None), 'keep_fraction=None and limit=None: give one'),
        (dict(keep_fraction=0), r'in \(0, 1\], got 0'),
        (dict(keep_fraction=None, limit=-1), '>= 0, got -1'),
        (dict(cap=0.9), 'cap must be >= 1'),
        (dict(floor=-0.5), 'floor must be > 0'),
        (dict(cap=1.5, floor=2), 'floor 2 is above cap 1.5'),
        (dict(num_clusters=5), '4 of 6 training images are kept.*cannot form 5 clusters'),
        (
            dict(num_clusters=7, keep_fraction=None, limit=0.1),
            '6 training images cannot form 7 clusters',
        ),
    ],
)
def test_check_refuses_what_cannot_work(arguments, changed, message):
    with pytest.raises(ValueError, match=message):
        CSDHook(**arguments | changed).check()
