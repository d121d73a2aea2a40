import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from luss_mm.engine import browse_samples
from luss_mm.engine.browse_samples import draw_samples, stage_config
from luss_mm.recipes.settings import SettingsError
from tests.small_recipe import OPTIONS
from tests.test_configs import CONFIGS
from tests.tiny_layout import write_label_map

COUNT = 6


def recipe(data_root, work_dir, **changes):
    """PASS on the six images of the fixture."""
    config = Config.fromfile(CONFIGS / 'luss' / 'pass_tiny.py')
    order = ['pretrain', 'attention', 'finetune']
    options = dict(OPTIONS, stage_order=order, data_root=str(data_root), work_dir=str(work_dir))
    config.merge_from_dict(
        {k: v for k, v in options.items() if 'data.task' not in k}
        | dict(num_categories=2, batch_size=2, finetune_batch_size=2, num_workers=0)
        | changes
    )
    return config


def batches_of(stage, epoch):
    """What the data loader of a training gives in an epoch."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        loader = Runner.build_dataloader(
            stage['train_dataloader'], seed=stage['randomness']['seed']
        )
    loader.sampler.set_epoch(epoch)
    return list(loader)


@pytest.fixture
def drawn(monkeypatch):
    """Arguments of the pictures that are drawn."""
    calls = []

    def record(*args):
        calls.append(args)
        return np.zeros((8, 8, 3), np.uint8)

    for name in ('views_picture', 'labels_picture', 'mixed_picture'):
        monkeypatch.setattr(browse_samples, name, record)
    return calls


@pytest.mark.parametrize('stage, points', [('pretrain', (7, 'edge')), ('attention', None)])
@pytest.mark.parametrize('on_device', [False, True])
def test_views_are_those_of_the_training(data_root, tmp_path, drawn, stage, points, on_device):
    config = recipe(data_root, tmp_path / 'run', colours_on_device=on_device)
    name, resolved = stage_config(config, stage)
    shown = list(draw_samples(resolved, 3, COUNT))
    batches = batches_of(resolved, 3)
    assert name == stage and len(shown) == len(drawn) == COUNT == 2 * len(batches)
    for number, (image, views, crops, found_points) in enumerate(drawn):
        batch, row = batches[number // 2], number % 2
        assert found_points == points
        torch.testing.assert_close(crops, batch['crops'][row])
        for view, expected in zip(views, batch['inputs'], strict=True):
            expected = expected[row].permute(1, 2, 0).numpy()
            if on_device:
                assert view.dtype == np.uint8 and view.shape == expected.shape
            else:
                np.testing.assert_array_equal(view, expected)
        path = shown[number].caption.split(': ')[0]
        np.testing.assert_array_equal(image, cv2.imread(path)[..., ::-1])
        assert shown[number].caption.endswith('pass 3')


def test_label_maps_of_the_run(data_root, tmp_path, drawn):
    for path in (data_root / 'train').rglob('*.JPEG'):
        labels = np.zeros(cv2.imread(str(path)).shape[:2], int)
        labels[5:, 5:] = 2
        relative = path.relative_to(data_root / 'train').with_suffix('.png')
        write_label_map(tmp_path / 'run' / 'pseudo_labels' / relative, labels)
    stage = stage_config(recipe(data_root, tmp_path / 'run'), 'finetune')[1]
    list(draw_samples(stage, 1, COUNT))
    batches = batches_of(stage, 1)
    for number, (((_, image),), labels, _, ignore_index, word) in enumerate(drawn):
        batch, row = batches[number // 2], number % 2
        expected = batch['inputs'][row].permute(1, 2, 0).numpy()[..., ::-1]
        np.testing.assert_array_equal(image, expected)
        expected = batch['data_samples'][row].gt_sem_seg.data[0].numpy()
        np.testing.assert_array_equal(labels, expected)
        assert ignore_index == 1000 and word == 'cluster'


def test_what_is_no_training_is_refused(data_root, tmp_path):
    config = recipe(data_root, tmp_path / 'run')
    with pytest.raises(
        SettingsError, match="pretrain, attention, finetune; did you mean 'finetune'"
    ):
        stage_config(config, 'finetun')
    plain = Config(dict(model=dict(type='A'), work_dir='work_dirs/plain'))
    with pytest.raises(SettingsError, match='has no stages'):
        stage_config(plain, 'pretrain')
    name, stage = stage_config(plain, None)
    assert name == 'plain'
    with pytest.raises(SettingsError, match='no train_dataloader'):
        next(draw_samples(stage, 0, 1))
