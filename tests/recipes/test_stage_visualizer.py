import argparse
import json
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.visualization.vis_backend import BaseVisBackend
from mmseg.registry import VISBACKENDS

from luss_mm.engine import staged_runner
from luss_mm.engine.hooks import BackendPicturesHook
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.recipes.command_line import OptionAction
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from luss_mm.recipes.stage_config import stage_visualizer
from luss_mm.visualization import save_picture
from tests.engine.tiny_training import make_runner
from tests.small_recipe import OPTIONS, RECIPE

LOCAL = dict(type='LocalVisBackend')


@VISBACKENDS.register_module()
class RecordingBackend(BaseVisBackend):
    """Stands for a service on the network: keeps what it is given, by the folder it belongs to."""

    records: dict[str, list] = {}

    def __init__(self, save_dir, project=None):
        super().__init__(save_dir)
        self.given = self.records.setdefault(save_dir, [])
        self.is_closed = False

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return self

    def _add(self, *record):
        assert not self.is_closed, record
        self.given.append(record)

    def add_config(self, config, **kwargs):
        self._add('config', config['experiment_name'])

    def add_scalar(self, name, value, step=0, **kwargs):
        self._add('scalar', name, float(value), step)

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        for name, value in scalar_dict.items():
            self.add_scalar(name, value, step)

    def add_image(self, name, image, step=0, **kwargs):
        self._add('image', name, image, step)

    def close(self):
        self.is_closed = True


class DrawingHook(Hook):
    """Draws at the end of a training, as PicturesHook does."""

    priority = 'LOWEST'

    def __init__(self, pictures):
        self.pictures = pictures

    def after_train(self, runner):
        draw(self.pictures / 'sheets' / 'one.png', 10)


def draw(path, grey):
    save_picture(path, np.full((8, 9, 3), (grey, 0, 200), np.uint8))


@pytest.mark.parametrize(
    'own, backends, expected',
    [
        ([LOCAL], None, [LOCAL]),
        ([], None, [LOCAL]),
        ([LOCAL], 'RecordingBackend', [LOCAL, dict(type='RecordingBackend')]),
        ([LOCAL], ['LocalVisBackend', 'RecordingBackend'], [LOCAL, dict(type='RecordingBackend')]),
        ([dict(type='A', b=1), dict(type='LocalVisBackend', c=2)], None, None),
        ([LOCAL], dict(type='A', b=1), [LOCAL, dict(type='A', b=1)]),
    ],
)
def test_the_local_backend_is_always_there(own, backends, expected):
    visualizer = dict(type='SegLocalVisualizer', vis_backends=own)
    found = stage_visualizer(visualizer, backends, 'run_stage', 'run')
    assert found['vis_backends'] == (own if expected is None else expected)
    assert found['name'] == 'run_stage' and found['type'] == 'SegLocalVisualizer'


@pytest.mark.parametrize(
    'given, name', [({}, 'run_stage'), (dict(name='mine', tags=['a']), 'mine')]
)
def test_wandb_shows_stages_as_runs_of_a_group(given, name):
    backend = dict(type='WandbVisBackend', init_kwargs=given)
    found = stage_visualizer({}, [backend], 'run_stage', 'run')['vis_backends'][1]
    assert found['init_kwargs'] == dict(group='run') | given | dict(name=name)
    assert backend['init_kwargs'] is given and 'group' not in given  # of the recipe: unchanged


BOARD = "[{'type': 'TensorboardVisBackend'}]"


@pytest.mark.parametrize(
    'option',
    [
        'visualizer.vis_backends=[TensorboardVisBackend]',
        f'visualizer.vis_backends={BOARD}',
        'vis_backends=[TensorboardVisBackend]',
        'vis_backends=TensorboardVisBackend',
        f'vis_backends={BOARD}',
    ],
)
def test_backends_of_the_command_line_reach_all_stages(option, tmp_path):
    """And make none anew."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    config = Config.fromfile(RECIPE)
    config.work_dir = str(tmp_path)
    plain = Recipe(config)
    config.merge_from_dict(parser.parse_args(['--cfg-options', option]).cfg_options)
    recipe = Recipe(config)
    for stage in ('pretrain', 'finetune'):
        visualizer = recipe.stage(stage, tmp_path / 'x')['visualizer']
        assert visualizer['vis_backends'] == [LOCAL, dict(type='TensorboardVisBackend')]
        assert recipe.settings_of(stage) == plain.settings_of(stage)
        assert 'backend_pictures' not in plain.settings_of(stage)['default_hooks']


def test_a_misspelt_backend_is_named(tmp_path):
    config = Config.fromfile(RECIPE)
    config.merge_from_dict(dict(work_dir=str(tmp_path), vis_backends=['TensorBoardVisBackend']))
    with pytest.raises(SettingsError, match="did you mean 'TensorboardVisBackend'"):
        Recipe(config)


# ---------------------------------------------------------------- pictures


def pictures_runner(folder, backend):
    hooks = [SimpleNamespace(), SimpleNamespace(pictures=None), SimpleNamespace(pictures=folder)]
    backends = dict(LocalVisBackend=None, other=backend)
    return SimpleNamespace(hooks=hooks, iter=7, visualizer=SimpleNamespace(_vis_backends=backends))


def test_pictures_are_spread_over_each_folder(tmp_path):
    folder, backend = tmp_path / 'pictures', RecordingBackend(str(tmp_path))
    for number in range(7):
        draw(folder / 'clusters' / f'{number}.jpg', number)
        draw(folder / 'dropped.0123456789ab' / f'{number}.jpg', number)
    draw(folder / 'losses.png', 200)
    (folder / 'note.txt').write_text('no picture')
    BackendPicturesHook(pictures_per_folder=3).after_run(pictures_runner(folder, backend))
    names = [record[1] for record in backend.given]
    assert names == [f'pictures/{name}' for name in ('clusters/0', 'clusters/3', 'clusters/6')] + [
        'pictures/losses'
    ]
    (*_, (kind, _, picture, step)) = backend.given
    assert kind == 'image' and step == 7 and picture[0, 0].tolist() == [200, 0, 200]  # RGB


def test_the_local_backend_gets_no_copies(tmp_path):
    draw(tmp_path / 'pictures' / 'a.png', 1)
    runner = pictures_runner(tmp_path / 'pictures', None)
    del runner.visualizer._vis_backends['other']
    BackendPicturesHook().after_run(runner)  # would fail on None


def test_pictures_arrive_before_the_backends_close(tmp_path):
    """Drawn by the last hook of all, sent before LoggerHook closes."""
    visualizer = dict(type='Visualizer', name='drawn', vis_backends=[dict(type='RecordingBackend')])
    hooks = [BackendPicturesHook(), DrawingHook(tmp_path / 'pictures')]
    runner = make_runner(tmp_path / 'run', *hooks, epochs=1, visualizer=visualizer)
    runner.train()
    (backend,) = runner.visualizer._vis_backends.values()
    assert backend.is_closed
    assert [r[1] for r in backend.given if r[0] == 'image'] == ['pictures/sheets/one']


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
    accumulators = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator',
        reason='tensorboard is not installed',
    )
    visualizer = dict(
        type='Visualizer', name='board', vis_backends=[dict(type='TensorboardVisBackend')]
    )
    hooks = [BackendPicturesHook(), DrawingHook(tmp_path / 'pictures')]
    runner = make_runner(tmp_path / 'run', *hooks, epochs=2, validate=True, visualizer=visualizer)
    runner.train()
    found = accumulators.EventAccumulator(f'{runner.log_dir}/vis_data').Reload()
    assert found.Scalars('score')[0].value == 2  # of CountingMetric
    (event,) = found.Images('pictures/sheets/one')
    assert (event.width, event.height, event.step) == (9, 8, runner.iter)


def test_wandb_keeps_a_run_for_each_stage(tmp_path, monkeypatch):
    pytest.importorskip('wandb', reason='wandb is not installed')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    backend = dict(type='WandbVisBackend', init_kwargs=dict(project='test'))
    train(tmp_path / 'run', vis_backends=[backend], stage_order=['data', 'pretrain', 'attention'])
    for stage in ('pretrain', 'attention'):
        (file,) = (tmp_path / 'run' / stage).glob('*/vis_data/wandb/offline-run-*/run-*.wandb')
        content = file.read_bytes()
        assert f'run_{stage}'.encode() in content and b'loss_' in content


# ---------------------------------------------------------------- two runs of one name


def train(work_dir, **changes):
    """Render and pretrain in this process."""
    config = Config.fromfile(RECIPE)
    options = dict(OPTIONS, stage_order=['data', 'pretrain'], work_dir=str(work_dir), num_workers=0)
    config.merge_from_dict(options | dict(pretrain_epochs=1) | changes)
    StagedRunner(config).train()


def scalars(work_dir):
    (file,) = (work_dir / 'pretrain').glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_two_runs_of_one_name_in_one_process(tmp_path):
    """Each has its own curves, logs and backends; names in finished configs are plain."""
    runs = [tmp_path / parent / 'run' for parent in 'ab']
    for run in runs:
        train(run, vis_backends=['RecordingBackend'])
    first, second = map(scalars, runs)
    losses = [[record['loss'] for record in records] for records in (first, second)]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    given = {k: v for k, v in RecordingBackend.records.items() if k.startswith(str(tmp_path))}
    assert [k.startswith(str(run)) for k, run in zip(given, runs, strict=True)] == [True, True]
    for (folder, records), shown in zip(given.items(), losses, strict=True):
        assert '/pretrain.partial-' in folder
        assert [r[2] for r in records if r[:2] == ('scalar', 'loss')] == pytest.approx(shown)
        assert sum(r[:2] == ('scalar', 'lr') for r in records) == 3
    configs = [(run / 'pretrain' / 'config.py').read_text() for run in runs]
    assert all("name='run_pretrain'" in text for text in configs)
    logs = [list((run / 'pretrain').glob('*/*.log')) for run in runs]
    assert all(len(found) == 1 and 'loss:' in found[0].read_text() for found in logs)


def test_if_mmengine_remembered_the_first_run_the_second_would_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(staged_runner, 'forget', lambda instances: None)
    train(tmp_path / 'a' / 'same')
    with pytest.raises(FileNotFoundError, match='a/same/pretrain'):  # of the first run
        train(tmp_path / 'b' / 'same')
