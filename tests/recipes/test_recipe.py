import copy
import json
from pathlib import Path

import pytest
from mmengine.config import Config

from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError

TRAINING = dict(
    model=dict(type='PASSPretrainer', backbone='${backbone}', head=dict(type='PrototypeHead')),
    train_dataloader=dict(
        batch_size='${batch_size}',
        num_workers='${num_workers}',
        dataset=dict(type='LUSSDataset', data_root='${data_root}', pipeline=['${loading}']),
    ),
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr='${lr}')),
    train_cfg=dict(by_epoch=True, max_epochs=3),
)
RECIPE = dict(
    work_dir='work_dirs/test',
    stage_order=['first', 'second'],
    stages=dict(
        first=TRAINING,
        second=TRAINING
        | dict(
            load_from='${work_dir}/first/final.pth',
            labels_used=dict(val_evaluator='masks: scoring', train_dataloader='masks: training'),
            val_dataloader=dict(dataset='${validation}', num_workers='${num_workers}'),
            val_evaluator='${metric}',
            val_cfg=dict(type='ValLoop'),
            param_scheduler=[dict(type='LinearLR', end='${batch_size + 1}')],
        ),
    ),
    backbone=dict(type='ResNet', depth=18),
    loading=dict(type='LoadBoundedImage', max_side=64),
    validation=dict(type='LUSSDataset', data_root='${data_root}', data_prefix=dict(img_path='val')),
    metric=dict(type='UnsupervisedIoUMetric', num_clusters='${num_categories}'),
    data_root='data',
    num_categories=14,
    batch_size=8,
    num_workers=2,
    lr=0.1,
    default_scope='mmseg',
    default_hooks=dict(logger=dict(type='LoggerHook', interval='${batch_size}')),
    log_level='INFO',
)


def recipe(*, without=(), **changes):
    """Recipe as it is after `--cfg-options changes`, dotted keys with __ for the dots."""
    config = Config({k: v for k, v in copy.deepcopy(RECIPE).items() if k not in without})
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return Recipe(config)


def test_settings_of_the_command_line_reach_all_stages():
    found = recipe(
        data_root='/photographs',
        num_categories=3,
        batch_size=5,
        backbone__depth=50,
        loading__max_side=32,
        stages__second__train_cfg__max_epochs=9,
    )
    for name in found.stage_order:
        stage = found.stage(name, f'somewhere/{name}')
        assert stage['model']['backbone'] == dict(type='ResNet', depth=50)
        loader = stage['train_dataloader']
        assert loader['batch_size'] == 5 and loader['dataset']['data_root'] == '/photographs'
        assert loader['dataset']['pipeline'] == [dict(type='LoadBoundedImage', max_side=32)]
        assert stage['default_hooks']['logger']['interval'] == 5
        assert stage['work_dir'] == f'somewhere/{name}'
        assert stage['default_scope'] == 'mmseg' and stage['log_level'] == 'INFO'
        assert '${' not in json.dumps(stage)
    second = found.stage('second', 'x')
    assert second['val_evaluator']['num_clusters'] == 3
    assert second['param_scheduler'][0]['end'] == 6
    assert found.stage('first', 'x')['train_cfg']['max_epochs'] == 3
    assert second['train_cfg']['max_epochs'] == 9
    # absolute, since LUSSDataset reads relative label folders below data_root
    assert second['load_from'] == str(Path('work_dirs/test/first/final.pth').absolute())


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(num_categorys=3), "no stage uses the setting 'num_categorys'; did you mean 'num_cat"),
        (dict(defalt_hooks=dict()), "no stage uses the setting 'defalt_hooks'"),
        (dict(lr='${btch_size}'), "lr refers to the setting 'btch_size'.*mean 'batch_size'"),
        (dict(lr='${lr}'), "the setting 'lr' refers to itself"),
        (dict(stages__second__optim_wraper=dict()), 'stages.second.optim_wraper.*optim_wrapper'),
        (dict(stages__second__model__quee_length=3), "stages.second.model.quee_length.*'queue_len"),
        (dict(backbone__deph=50), r"stages.first.model.backbone.deph: ResNet.*'depth'"),
        (dict(loading__maxside=50), r"dataset.pipeline\[0\].maxside: LoadBoundedImage.*'max_side'"),
        (dict(stages__secnd=dict(train_cfg=dict())), "stages.secnd has neither .*mean 'second'"),
        (dict(stage_order=['first', 'secnd']), "stage_order names 'secnd', .*mean 'second'"),
        (dict(load_from='x.pth'), r"load_from='x.pth' does not say which .*stages.<stage>.load"),
        (dict(stages__second__zzz=1), 'stages.second.zzz: mmengine has no such key$'),
        (dict(stages__second__optim_wrapper__optimizer__momentm=1), "SGD takes no.*'momentum'"),
        (dict(stages__second__model__type='PASSPretrainr'), "nothing .* mean 'PASSPretrainer'"),
        (dict(backbone__type='Resnet'), "backbone.type: nothing .* did you mean 'ResNet'"),
        (dict(stages__first__custom_hooks=[dict(type='PrototypesHook', frozn=1)]), 'takes no such'),
        (dict(stages__first__custom_hooks=[dict(type='CSDHook', kmean_restarts=1)]), 'did you'),
    ],
)
def test_mistakes_are_named_before_anything_runs(changes, message):
    with pytest.raises(SettingsError, match=message):
        recipe(**changes)


def test_what_may_be_right_passes():
    """Arguments of base classes, of what timm takes, and of types that no registry knows."""
    recipe(
        stages__first__optim_wrapper__accumulative_counts=2,
        stages__first__train_dataloader__dataset__serialize_data=False,
        stages__first__custom_hooks=[dict(type='CSDHook', kmeans_restarts=1, priority='LOW')],
        stages__second__model__head=dict(_delete_=True, type='of_somebody_else', anything=1),
        backbone=dict(_delete_=True, type='TIMMBackbone', model_name='x', output_stride=16),
    )


@pytest.mark.parametrize('key', ['stages', 'stage_order', 'work_dir'])
def test_needed_keys(key):
    with pytest.raises(SettingsError, match=f"needs the key '{key}'"):
        recipe(without=[key])


def test_a_missing_setting_is_named():
    with pytest.raises(SettingsError, match="optimizer.lr refers to the setting 'lr', which"):
        recipe(without=['lr'])


def test_without_evaluation():
    found = recipe(evaluate=False)
    stage = found.stage('second', 'x')
    assert not {'val_dataloader', 'val_evaluator', 'val_cfg'} & set(stage)
    assert found.labels_used('second') == ['masks: training']
    assert recipe().labels_used('second') == ['masks: scoring', 'masks: training']
    assert recipe().labels_used('first') == []


@pytest.mark.parametrize(('amp', 'dtype'), [(True, 'float16'), ('bfloat16', 'bfloat16')])
def test_mixed_precision(amp, dtype):
    for name in ('first', 'second'):
        wrapper = recipe(amp=amp).stage(name, 'x')['optim_wrapper']
        assert wrapper['type'] == 'AmpOptimWrapper' and wrapper['dtype'] == dtype
        assert wrapper['optimizer'] == dict(type='SGD', lr=0.1)
    assert recipe().stage('first', 'x')['optim_wrapper']['type'] == 'OptimWrapper'


def same_output(name='second', **changes):
    return recipe(**changes).settings_of(name) == recipe().settings_of(name)


def test_what_decides_the_output_of_a_stage():
    for changes in (
        dict(lr=0.2),
        dict(backbone__depth=50),
        dict(amp=True),
        dict(loading__max_side=3),
        dict(num_categories=3),
        dict(evaluate=False),
    ):
        assert not same_output(**changes), changes
    assert same_output('first', num_categories=3)  # used by the second alone


def test_what_does_not_decide_it():
    for changes in (
        dict(num_workers=0),
        dict(work_dir='/elsewhere/other'),
        dict(data_root='/elsewhere/data'),  # its content is an input, see the fingerprints
        dict(log_level='DEBUG'),
        dict(stages__first__train_cfg__max_epochs=99),  # of the other stage
        dict(env_cfg=dict(cudnn_benchmark=True)),
    ):
        assert same_output(**changes), changes


def test_stages_that_a_stage_reads():
    assert recipe().stages_read_by('first') == []
    assert recipe().stages_read_by('second') == ['first']
    reads_more = dict(stages__second__load_from='${work_dir}/first-again/final.pth')
    assert recipe(**reads_more).stages_read_by('second') == []  # only the beginning of a name


def test_a_stage_without_training():
    task = dict(type='RenderTinyShapes', num_train='${batch_size}', num_validation=1)
    changes = dict(
        stages__data=dict(task=task),
        stage_order=['data', 'first', 'second'],
        data_root='${work_dir}/data',
    )
    found = recipe(**changes)
    assert found.task('data', 'x') == dict(type='RenderTinyShapes', num_train=8, num_validation=1)
    assert found.task('first', 'x') is None
    assert found.stage_inputs('data') == {} and found.stages_read_by('data') == []
    assert found.stages_read_by('first') == ['data']
    assert found.stages_read_by('second') == ['data', 'first']
    assert found.settings_of('data') == dict(task=found.task('data', 'x'))
    moved = recipe(**changes, work_dir='/other')
    assert moved.settings_of('first') == found.settings_of('first')
    with pytest.raises(SettingsError, match='stages.data.task.num_train refers to'):
        recipe(**changes | dict(stages__data=dict(task=dict(task, num_train='${gone}'))))


def test_a_task_is_made_again_when_its_files_change(tmp_path):
    task = dict(type='MergeReceptiveFields', checkpoint='${merged}/final.pth')
    order = ['merge', 'first', 'second']
    changes = dict(stages__merge=dict(task=task), stage_order=order, merged=str(tmp_path))
    with pytest.raises(SettingsError, match='final.pth: no such file'):
        recipe(**changes).stage_inputs('merge')
    found = []
    for content in (b'weights', b'WEIGHTS', b'weights'):
        (tmp_path / 'final.pth').write_bytes(content)
        found.append(recipe(**changes).stage_inputs('merge'))
    assert found[0] == found[2] != found[1]
    changes |= dict(merged='${work_dir}/first', stage_order=['first', 'merge', 'second'])
    assert recipe(**changes).stages_read_by('merge') == ['first']


def test_hooks_outside_of_the_stages_are_added_to_those_of_each():
    own, further = dict(type='FeatureQueueHook'), dict(type='EMAHook')
    found = recipe(stages__first__custom_hooks=[own], custom_hooks=[further])
    assert found.stage('first', 'x')['custom_hooks'] == [own, further]
    assert found.stage('second', 'x')['custom_hooks'] == [further]


def test_hooks_and_transforms_may_be_left_out():
    changes = dict(
        use_it=True,
        hook=dict(type='EpochSeedHook'),
        keep=dict(type='KeepLoadedImage'),
        stages__first__custom_hooks=['${hook if use_it else None}', dict(type='FeatureQueueHook')],
        stages__first__train_dataloader__dataset__pipeline=[
            '${loading}',
            '${keep if use_it else None}',
        ],
    )
    for use_it, hooks, transforms in ((True, 2, 2), (False, 1, 1)):
        stage = recipe(**changes | dict(use_it=use_it)).stage('first', 'x')
        assert len(stage['custom_hooks']) == hooks
        assert len(stage['train_dataloader']['dataset']['pipeline']) == transforms


def test_sam_is_noticed_wherever_it_is():
    hook = dict(
        type='PseudoLabelHook', label_transform=dict(type='GeneratePseudoLabel', segmenter='${s}')
    )
    changes = dict(stages__second__custom_hooks=[hook])
    with_sam = recipe(**changes, s=dict(type='SAMSegmenter', checkpoint='x'))
    assert with_sam.used_sam('second') and not with_sam.used_sam('first')
    assert not recipe(**changes, s=dict(type='GrabCutSegmenter')).used_sam('second')
