import json
import re
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

from luss_mm.datasets import ClassLabelDataset, EpochIndex, LUSSDataset
from luss_mm.recipes import data_check
from luss_mm.recipes.data_check import bad_image_lines, check_data, check_images_of
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from luss_mm.work_dir.manifest import read_manifest
from luss_mm.work_dir.run_folder import TRAINING_CHECK
from tests.bad_images import encoded, picture, without_code_tables, write
from tests.permissions import closed
from tests.tiny_layout import write_image, write_label_map
from tests.two_ranks import run_on_two_ranks

pytestmark = pytest.mark.usefixtures('mmseg_scope')

BAD = 'train/ant/train_ant_1.JPEG'
UNDECODABLE = without_code_tables(encoded(picture(), 'JPEG'))
LOADING = [dict(type='LoadBoundedImage'), dict(type='PackImage')]


def loader(split, masks='', kind='LUSSDataset', **settings):
    dataset = dict(
        type=kind,
        data_root='${data_root}',
        data_prefix=dict(img_path=split, seg_map_path=masks),
        pipeline=[dict(type='LoadBoundedImage'), dict(type='LoadLabelMap')],
        **settings,
    )
    return dict(batch_size=1, dataset=dataset)


def recipe(data_root, work_dir, **changes):
    """Two stages of the same images; the second is scored."""
    embedding = loader('train')['dataset']
    first = dict(
        model=dict(type='PASSPretrainer'),
        train_dataloader=loader('train'),
        custom_hooks=[dict(type='ClusterHook', source=dict(dataset=embedding))],
    )
    second = dict(
        model=dict(type='LUSSSegmentor'),
        train_dataloader=loader('train', '${work_dir}/pseudo_labels'),
        val_dataloader=loader(
            'validation', 'validation-segmentation', categories=[f'c{i}' for i in range(919)]
        ),
    )
    config = dict(
        work_dir=str(work_dir),
        stage_order=['first', 'second'],
        stages=dict(first=first, second=second),
        data_root=str(data_root),
        default_scope='mmseg',
    )
    return Recipe(Config(config | changes))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-50])
    return path.stat().st_size


def check(*args, **kwargs):
    found = recipe(*args, **kwargs)
    found.bad_images = check_images_of(found, found.stage_order)
    return found


def refusal(*args, **kwargs):
    with pytest.raises(SettingsError) as error:
        check(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_good_images_pass_and_are_looked_at_once(data_root, tmp_path, monkeypatch):
    found = check(data_root, tmp_path / 'run')
    assert json.loads(found.bad_images.read_text()) == []
    assert bad_image_lines(tmp_path / 'run') == []
    assert len(read_manifest(found.bad_images.parent)['inputs']) == 1  # both stages have the same
    monkeypatch.setattr('luss_mm.pipeline.check_images.find_image_problem', None)
    check(data_root, tmp_path / 'run')


def test_a_bad_training_image_stops_the_run(data_root, tmp_path):
    size = truncate(data_root / BAD)
    (data_root / 'train/bee/train_bee_0.JPEG').write_bytes(b'')
    listed = tmp_path / 'run' / TRAINING_CHECK / 'bad_images.json'
    assert refusal(data_root, tmp_path / 'run') == (
        f'{data_root / BAD}: truncated after {size:,} bytes. Delete it or set '
        f"on_bad_image='skip' (1 of 2, listed in {listed})."
    )


def test_skipped_images_are_missing_in_every_stage(data_root, tmp_path):
    truncate(data_root / BAD)
    found = check(data_root, tmp_path / 'run', on_bad_image='skip')
    assert [bad['image'] for bad in json.loads(found.bad_images.read_text())] == [
        str(data_root / BAD)
    ]
    stages = [found.stage(name, '<stage_dir>') for name in ('first', 'second')]
    configs = [stage['train_dataloader']['dataset'] for stage in stages]
    configs.append(stages[0]['custom_hooks'][0]['source']['dataset'])
    expected = [f'ant/train_ant_{i}.JPEG' for i in (0, 2)] + [
        f'bee/train_bee_{i}.JPEG' for i in range(3)
    ]
    for config in configs:
        dataset = DATASETS.build(config)
        assert [dataset.relative_path(i) for i in range(len(dataset))] == expected
    assert 'bad_images' not in stages[1]['val_dataloader']['dataset']
    (line,) = bad_image_lines(tmp_path / 'run')
    assert line == f'bad images: 1, see {tmp_path / "run" / TRAINING_CHECK}'


def test_a_folder_that_may_not_be_read(data_root, tmp_path):
    """Nobody trains on half of the data unnoticed; leaving it out is deleting it."""
    folder, run = data_root / 'train' / 'ant', tmp_path / 'run'
    problem = 'a folder that may not be read, change its permissions'
    listed = run / TRAINING_CHECK / 'bad_images.json'
    with closed(folder):
        assert refusal(data_root, run) == (
            f"{folder}/: {problem}. Delete it or set on_bad_image='skip' (listed in {listed})."
        )
        skipped = check(data_root, run, on_bad_image='skip')
        inputs = skipped.stage_inputs('first')
    assert json.loads(listed.read_text()) == [dict(image=f'{folder}/', problem=problem)]
    assert bad_image_lines(run) == [
        f'bad images: 1, 1 of them a folder with all that lies in it, see {run / TRAINING_CHECK}'
    ]
    shutil.rmtree(folder)
    assert check(data_root, tmp_path / 'b').stage_inputs('first') == inputs


@pytest.mark.parametrize('rule', ['error', 'skip'])
def test_a_validation_folder_that_may_not_be_read(data_root, tmp_path, rule):
    folder = data_root / 'validation' / 'bee'
    with closed(folder):
        check_data(found := recipe(data_root, tmp_path / 'run', on_bad_image=rule), ['second'])
        assert found.dataset_facts(found.stage('second', 'x')['val_dataloader']['dataset'])
        message = refusal(data_root, tmp_path / 'run', on_bad_image=rule)
    assert (
        f'{folder}/: a folder that may not be read' in message and 'Replace it: scores' in message
    )


@pytest.mark.parametrize('rule', ['error', 'skip'])
def test_bad_validation_images_are_never_skipped(data_root, tmp_path, rule):
    size = truncate(data_root / 'validation/bee/validation_bee_1.JPEG')
    message = refusal(data_root, tmp_path / 'run', on_bad_image=rule)
    assert f'validation_bee_1.JPEG: truncated after {size:,} bytes. Replace it: scores' in message
    check(data_root, tmp_path / 'run', on_bad_image=rule, evaluate=False)


@pytest.mark.parametrize(
    ('labels', 'problem'),
    [
        (np.zeros((5, 5), int), r'the mask is \(5, 5\), its image \(\d+, \d+\)'),
        (None, 'has the id 920, and only 0 to 919 and ignore_index=1000'),
    ],
)
def test_bad_masks_are_found_before_training(data_root, tmp_path, labels, problem):
    mask = data_root / 'validation-segmentation/ant/validation_ant_0.png'
    if labels is None:
        image = LUSSDataset(data_root, dict(img_path='validation'), pipeline=LOADING)[0]
        labels = np.full(image['ori_shape'], 920)
    write_label_map(mask, labels)
    message = refusal(data_root, tmp_path / 'run', on_bad_image='skip')
    assert re.search(re.escape(f'{mask}: ') + problem + '.*Correct or replace it', message)


def labelled_recipe(data_root, work_dir, reader='LoadLabelMap', void=None, **dataset):
    """One training with given masks, whose network knows the ids 0 to 2."""
    training = loader('train', 'train-segmentation', **dataset)
    training['dataset']['pipeline'][1] = dict(type=reader) | (void or {})
    head = dict(type='FCNHead', num_classes=3)
    stage = dict(model=dict(type='EncoderDecoder', decode_head=head), train_dataloader=training)
    config = dict(
        work_dir=str(work_dir),
        stage_order=['only'],
        stages=dict(only=stage),
        data_root=str(data_root),
        default_scope='mmseg',
    )
    return Recipe(Config(config))


@pytest.mark.parametrize('reader', ['LoadLabelMap', 'LoadIndexedLabelMap'])
def test_masks_of_a_training_are_compared_with_its_network(data_root, tmp_path, reader):
    dataset = LUSSDataset(data_root, dict(img_path='train'), pipeline=LOADING)
    write = write_label_map if reader == 'LoadLabelMap' else write_grey
    for index in range(len(dataset)):
        path = data_root / 'train-segmentation' / dataset.relative_path(index)
        labels = np.full(dataset[index]['ori_shape'], 2)
        labels[0] = 255
        write(path.with_suffix('.png'), labels)
    void = dict(ignore_index=255) if reader == 'LoadIndexedLabelMap' else None
    found = labelled_recipe(data_root, tmp_path / 'void', reader, void, ignore_index=255)
    check_images_of(found, ['only'])
    if void:  # 255 means in the file what 1000 means to the data set
        check_images_of(labelled_recipe(data_root, tmp_path / 'run', reader), ['only'])
        return
    first = data_root / 'train-segmentation/ant/train_ant_0.png'
    with pytest.raises(SettingsError) as error:
        check_images_of(labelled_recipe(data_root, tmp_path / 'run'), ['only'])
    assert str(error.value).startswith(
        f'{first}: has the id 255, and only 0 to 2 and ignore_index=1000 are allowed; set '
        'ignore_index=255 if such pixels do not count, or a larger num_categories. Correct or '
        'replace it (1 of 6, listed in '
    )


def test_masks_that_count_categories_otherwise_are_told(data_root, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(data_check, 'print_log', lambda text, *_: told.append(text))
    dataset = LUSSDataset(data_root, dict(img_path='train'), pipeline=LOADING)
    for index in range(len(dataset)):
        name = dataset.relative_path(index)
        path = (data_root / 'train-segmentation' / name).with_suffix('.png')
        labels = np.zeros(dataset[index]['ori_shape'], int)
        labels[2:] = 1 if name.startswith('ant') else 2
        write_label_map(path, labels)
    check_images_of(labelled_recipe(data_root, tmp_path / 'run'), ['only'])
    assert not told
    write_image(data_root / 'validation/aardvark/0.png', np.zeros((4, 4, 3)))
    check_images_of(labelled_recipe(data_root, tmp_path / 'shifted'), ['only'])
    (line,) = told
    assert line.startswith('6 of 6 masks lack the id of their category folder, as ')
    assert "'ant' is the id 2, and the mask has 0, 1. Ids follow the sorted" in line
    (data_root / 'classes.txt').write_text('ant\nbee\naardvark\n')
    check_images_of(labelled_recipe(data_root, tmp_path / 'listed'), ['only'])
    assert len(told) == 1


def test_tags_that_the_network_cannot_learn_are_refused(data_root, tmp_path):
    tagged = loader('train', tags='folders')
    tagged['dataset']['pipeline'].pop()
    found = labelled_recipe(data_root, tmp_path / 'run')
    found.templates['only']['train_dataloader'] = tagged
    check_images_of(found, ['only'])
    for name in ('bat', 'ant'):
        write_image(data_root / f'validation/{name}/0.png', np.zeros((4, 4, 3)))
    with pytest.raises(SettingsError, match='train: 3 categories .* for num_categories=2. Set num'):
        check_images_of(found, ['only'])


@pytest.mark.parametrize('num_clusters, left', [(1, '1 categories'), (2, ''), (4, '2 clusters')])
def test_clusters_or_categories_without_a_partner_are_told(
    data_root, tmp_path, monkeypatch, num_clusters, left
):
    told = []
    monkeypatch.setattr(data_check, 'print_log', lambda text, *_: told.append(text))
    found = labelled_recipe(data_root, tmp_path / 'run')
    found.templates['only']['train_dataloader'] = loader('train')
    for mask in (data_root / 'validation-segmentation').rglob('*.png'):
        write_label_map(mask, np.full(cv2.imread(str(mask)).shape[:2], 1 + ('bee' in str(mask))))
    scored = loader('validation', 'validation-segmentation', categories='folders')
    metric = dict(type='UnsupervisedIoUMetric', num_clusters=num_clusters)
    found.templates['only'] |= dict(val_dataloader=scored, val_evaluator=metric)
    check_images_of(found, ['only'])
    assert [left in line and 'Set num_categories=2' in line for line in told] == [True] * bool(left)


def test_validation_images_without_categories_are_refused(data_root, tmp_path):
    write_image(data_root / 'flat/0.png', np.zeros((4, 4, 3)))
    write_label_map(data_root / 'flat-masks/0.png', np.ones((4, 4), int))
    found = labelled_recipe(data_root, tmp_path / 'run')
    found.templates['only']['train_dataloader'] = loader('train')
    scored = loader('flat', 'flat-masks', categories='folders')
    metric = dict(type='UnsupervisedIoUMetric', num_clusters=2)
    found.templates['only'] |= dict(val_dataloader=scored, val_evaluator=metric)
    with pytest.raises(SettingsError, match='flat: no image lies in the folder of a category'):
        check_images_of(found, ['only'])
    (data_root / 'classes.txt').write_text('ant\nbee\n')
    check_images_of(found, ['only'])


def write_grey(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint8)).save(path)


def skipping(data_root, tmp_path, kind=LUSSDataset, **settings):
    """A data set with an image that only decoding finds to be bad, and the list of a run."""
    write(data_root / BAD, UNDECODABLE)
    listed = check(data_root, tmp_path / 'run', on_bad_image='skip').bad_images
    assert json.loads(listed.read_text()) == []
    prefix = dict(img_path='train')
    return kind(
        data_root=data_root, data_prefix=prefix, pipeline=LOADING, bad_images=listed, **settings
    )


def test_the_next_image_stands_in_for_one_that_cannot_be_decoded(data_root, tmp_path):
    dataset = skipping(data_root, tmp_path)
    samples = [dataset[i]['inputs'] for i in range(len(dataset))]
    assert (samples[1] == samples[2]).all()
    assert [dataset[i]['index'] for i in range(6)] == list(range(6))  # every row is filled
    later = EpochIndex(1, 2)
    assert (dataset[later]['inputs'] == samples[2]).all()
    (line,) = bad_image_lines(tmp_path / 'run')
    assert line.startswith('bad images: 0, 1 found only when they were loaded, see ')
    assert (
        'train_ant_1.JPEG: cannot be decoded'
        in (tmp_path / 'run' / TRAINING_CHECK / 'found_later.txt').read_text()
    )


def test_a_stand_in_brings_its_own_label(data_root, tmp_path):
    np.save(tmp_path / 'labels.npy', np.arange(6) * 10)
    dataset = skipping(
        data_root, tmp_path, ClassLabelDataset, class_labels=str(tmp_path / 'labels.npy')
    )
    assert [dataset[i]['class_label'] for i in range(6)] == [0, 20, 20, 30, 40, 50]


def _listed_on_rank(rank, data_root, work_dir):
    found = check(data_root, work_dir, on_bad_image='skip')
    return found.bad_images.read_text()


def test_ranks_share_the_images(data_root, tmp_path, monkeypatch):
    truncate(data_root / BAD)
    alone = check(data_root, tmp_path / 'alone', on_bad_image='skip').bad_images.read_text()
    assert run_on_two_ranks(_listed_on_rank, data_root, tmp_path / 'run') == [alone, alone]
