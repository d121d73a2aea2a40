import dataclasses
import json
import re

import pytest
from mmengine.registry import DATA_SAMPLERS, DefaultScope
from mmseg.registry import DATASETS

from luss_mm.costs import run_estimate
from luss_mm.costs.machine import Machine
from luss_mm.costs.part_costs import SELECTED, Cost, RecipeImages
from luss_mm.costs.run_estimate import RunEstimate, announce_estimate, estimate_run
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from tests.engine.small_folder_recipe import CHANNELS, recipe
from tests.semi_recipes import tiny_config

PARTS = [
    'pretrain',
    'attention',
    'features',
    'clusters',
    'dff_f',
    'dff_f/image_scores',
    'dff_g',
    'dff_g/image_scores',
    'dff_h',
    'feature_maps',
    'dff_features',
    'dff_clusters',
    'csd_clusters',
    'pseudo_labels',
    'finetune',
]
CPU = Machine('CPU', 'cpu', 2, 1, 8 * 10**9, 0, 10**9)
GPU = dataclasses.replace(CPU, name='a GPU', device='cuda', gpu_memory=10**9)
COST = Cost('part', 10, 1, 60.0, 10**9, 0, 10**8, 'batch_size')


# ---------------------------------------------------------------- images


def test_images_are_counted_or_given(data_root, tmp_path):
    found = recipe(tmp_path, data_root=str(data_root))
    dataset = found.stage('dff_g', 'x')['train_dataloader']['dataset']
    assert dataset['small_loss']['rule'] == 'mean'
    facts = RecipeImages(found)
    assert facts.count(found.stage('pretrain', 'x')['train_dataloader']['dataset']) == 6
    assert facts.count(dataset) == round(6 * SELECTED)
    assert 24 <= min(facts.size) and max(facts.size) <= 40
    given = RecipeImages(found, 1000)
    assert given.count(dataset) == 1000 * SELECTED and given.size == (375, 500)
    assert given.count(dict(dataset, small_loss=dict(rule='quantile', value=0.2))) == 200
    assert given.count(dataset, scored=True) == 0
    with pytest.raises(SettingsError, match='no such folder'):
        RecipeImages(recipe(tmp_path, data_root='/nowhere')).count(dataset | dict(data_root='/no'))


# ---------------------------------------------------------------- a run


@pytest.fixture
def estimate(data_root, tmp_path):
    found = recipe(tmp_path, data_root=str(data_root), shard_size=2)
    return estimate_run(found)


def test_every_part_is_there(estimate):
    assert [cost.name for cost in estimate.costs] == PARTS
    by_name = {cost.name: cost for cost in estimate.costs}
    assert by_name['pretrain'].iterations == 2 * 1 and by_name['pretrain'].images == 6
    assert by_name['features'].disk == 6 * 4 * CHANNELS
    assert by_name['dff_f/image_scores'].disk == 6 * 8
    assert by_name['clusters'].iterations == 2 * 51  # two restarts of 50 iterations and a last
    assert all(cost.seconds > 0 and cost.memory > 0 for cost in estimate.costs)
    table = estimate.table()
    for text in (*PARTS, 'mostly within a factor of 2', '  time ', '  memory ', '  disk '):
        assert text in table
    assert estimate.as_dict()['seconds'] == pytest.approx(sum(c.seconds for c in estimate.costs))


def test_labelled_and_unlabelled_images_are_estimated_as_they_are_drawn():
    found = Recipe(tiny_config('dssn_folder'))
    (cost,) = estimate_run(found).costs
    stage = found.stage('dssn', 'x')
    with DefaultScope.overwrite_default_scope('mmseg'):
        loader = stage['train_dataloader']
        dataset = DATASETS.build(loader['dataset'])
        sampler = DATA_SAMPLERS.build(loader['sampler'], default_args=dict(dataset=dataset, seed=0))
    assert cost.images == len(dataset)
    each_epoch = len(sampler) // loader['batch_size']
    assert cost.iterations == stage['train_cfg']['max_epochs'] * each_epoch


def test_finished_parts_cost_nothing(data_root, tmp_path):
    found = recipe(tmp_path, data_root=str(data_root))
    for name in ('features', 'pretrain'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'manifest.json').write_text('{"key": "0"}')
    parts = [cost.name for cost in estimate_run(found).costs]
    assert parts == [p for p in PARTS if p != 'features']  # pretrain: with other settings
    manifest = dict(key='0', settings=found.settings_of('pretrain'))
    (tmp_path / 'pretrain' / 'manifest.json').write_text(json.dumps(manifest, default=str))
    assert [cost.name for cost in estimate_run(found).costs] == PARTS[1:2] + PARTS[3:]


# ---------------------------------------------------------------- what does not fit


def run_of(*costs, machine=CPU):
    return RunEstimate(machine, 1, list(costs))


@pytest.mark.parametrize(
    ('changes', 'machine', 'message'),
    [
        (
            dict(memory=9 * 10**9),
            CPU,
            'part needs about 9.0 GB of memory.*Lower batch_size or',
        ),
        (dict(gpu_memory=2 * 10**9), GPU, '2.0 GB of GPU memory, and a GPU has 1.0.*batch'),
        (dict(disk=2 * 10**9), CPU, 'writes about 4.0 GB, and 1.0 GB are free.*work_dir'),
    ],
)
def test_what_does_not_fit_names_the_setting(changes, machine, message):
    found = run_of(dataclasses.replace(COST, **changes), machine=machine)
    (line,) = found.shortages()
    assert re.search(message, line) and '\n' not in line
    assert f'does not fit: {line}' in found.table()


# ---------------------------------------------------------------- at the start of a run


@pytest.fixture
def announce(monkeypatch, data_root, tmp_path):
    """Announces the costs of `COST` on a machine and returns what is printed."""
    found = recipe(tmp_path, 'pass_folder', data_root=str(data_root))

    def call(machine=CPU):
        lines = []
        monkeypatch.setattr(run_estimate, 'print_log', lambda text, _: lines.append(text))
        monkeypatch.setattr(
            run_estimate, 'estimate_run', lambda *_, **__: run_of(COST, machine=machine)
        )
        announce_estimate(found, found.stage_order)
        return '\n'.join(lines)

    return call


def test_a_run_begins_with_its_costs(announce):
    text = announce()
    assert text.startswith('estimate of 1 steps on CPU') and len(text.splitlines()) == 4


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(memory=10**8), 'of memory, and this machine has 100 MB. Lower batch_size'),
        (dict(free_disk=10**5), 'are free there. Set another work_dir'),
    ],
)
def test_too_little_room_stops_it(announce, tmp_path, changes, message):
    machine = dataclasses.replace(CPU, **changes)
    with pytest.raises(SettingsError, match=message):
        announce(machine)
    (tmp_path / 'pretrain.partial-0123456789ab').mkdir()  # much of it may lie there already
    assert 'does not fit' in announce(machine)


def test_an_estimate_that_fails_stops_nothing(announce, monkeypatch):
    def fail(*_, **__):
        raise KeyError('odd\nmodel')

    monkeypatch.setattr(run_estimate, 'unfinished_stages', fail)
    text = announce()
    assert text.startswith('no estimate of the costs (KeyError') and '\n' not in text


def test_a_finished_run_says_nothing(announce, monkeypatch):
    monkeypatch.setattr(run_estimate, 'unfinished_stages', lambda *_: [])
    assert announce() == ''
