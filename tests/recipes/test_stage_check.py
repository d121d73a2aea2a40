import pytest
from mmengine.config import Config

from luss_mm.engine.hooks import PretrainedWeightsHook
from luss_mm.recipes.config_check import check_features
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError


def recipe(path, tmp_path, **changes):
    config = Config.fromfile(path)
    config.merge_from_dict(dict(work_dir=str(tmp_path)) | changes)
    return Recipe(config)


@pytest.mark.parametrize('epochs', [2, 10])
def test_a_warm_up_as_long_as_the_training_is_named(tmp_path, epochs):
    message = (
        rf'pretrain_warmup_epochs=10 and end at pretrain_epochs={epochs}. Set a smaller '
        'pretrain_warmup_epochs or a larger pretrain_epochs'
    )
    with pytest.raises(SettingsError, match=message):
        recipe('configs/luss/pdso_s50_swin_tiny.py', tmp_path, pretrain_epochs=epochs)
    recipe('configs/luss/pdso_s50_swin_tiny.py', tmp_path, pretrain_epochs=11)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'feature_channels': 100}, 'expects 100 channels, but output . of the backbone has 128'),
        ({'in_index': 5}, 'reads output 5 of the backbone, which has 3'),
        ({'backbone.out_indices': (0, 1, 7)}, r'backbone: cannot be built .*assert .*out_indices'),
        ({'backbone.out_indices': (0, 1)}, 'reads output 2 of the backbone, which has 2'),
    ],
)
def test_heads_that_do_not_fit_the_backbone_are_named(tmp_path, change, message):
    tiny = dict(stage_order=['pretrain', 'attention', 'finetune'])
    found = recipe('configs/luss/pass_tiny.py', tmp_path, **tiny)
    check_features({n: found.stage(n, '<stage_dir>') for n in found.stage_order})
    changed = recipe('configs/luss/pass_tiny.py', tmp_path, **tiny, **change)
    with pytest.raises(SettingsError, match=message) as error:
        check_features({n: changed.stage(n, '<stage_dir>') for n in changed.stage_order})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'path', ['configs/luss/pdso_s50_swin_tiny.py', 'configs/imagenet_s/pass_resnet50_d32.py']
)
def test_recipes_of_the_package_fit(path, tmp_path):
    found = recipe(path, tmp_path)
    check_features({n: found.stage(n, '<stage_dir>') for n in found.stage_order})


def test_a_training_from_weights_without_any_is_named():
    with pytest.raises(ValueError, match='checkpoint=None: this training starts from weights'):
        PretrainedWeightsHook(dict(checkpoint=None)).check()


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_a_backbone_for_images_of_one_size_is_named(mode):
    small = dict(img_size=32, embed_dims=16, num_layers=1, num_heads=2, out_indices=[0])
    model = dict(backbone=dict(type='BEiT', **small), test_cfg=dict(mode=mode))
    if mode == 'slide':
        check_features(dict(finetune=dict(model=model)))
    else:
        with pytest.raises(SettingsError, match='BEiT takes images of 32 x 32 pixels alone'):
            check_features(dict(finetune=dict(model=model)))
