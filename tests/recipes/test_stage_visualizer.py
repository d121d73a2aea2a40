import argparse

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.visualization.vis_backend import BaseVisBackend
from mmseg.registry import VISBACKENDS

from luss_mm.engine.hooks import BackendPicturesHook
from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.setting_types import OptionAction
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
    """And make none again."""
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


# ---------------------------------------------------------------- pictures


def test_pictures_arrive_before_the_backends_close(tmp_path):
    """Drawn by the last hook of all, sent before LoggerHook closes."""
    visualizer = dict(type='Visualizer', name='drawn', vis_backends=[dict(type='RecordingBackend')])
    hooks = [BackendPicturesHook(), DrawingHook(tmp_path / 'pictures')]
    runner = make_runner(tmp_path / 'run', *hooks, epochs=1, visualizer=visualizer)
    runner.train()
    (backend,) = runner.visualizer._vis_backends.values()
    assert backend.is_closed
    assert [r[1] for r in backend.given if r[0] == 'image'] == ['pictures/sheets/one']


# ---------------------------------------------------------------- two runs of one name


def train(work_dir, **changes):
    """Render and pretrain in this process."""
    config = Config.fromfile(RECIPE)
    options = dict(OPTIONS, stage_order=['data', 'pretrain'], work_dir=str(work_dir), num_workers=0)
    config.merge_from_dict(options | dict(pretrain_epochs=1) | changes)
    StagedRunner(config).train()
