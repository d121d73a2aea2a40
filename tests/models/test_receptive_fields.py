import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from torch.nn import functional as F

from tests.models.small_rf_segmentors import (
    CONVOLUTIONS,
    STRUCTURE,
    logits_of,
    segmentor,
    set_branch_weights,
)

pytestmark = pytest.mark.usefixtures('mmseg_scope')
BRANCHES = {(1, 1): [1, 2], (2, 2): [1, 2, 3], (4, 4): [2, 4, 6]}  # .5, 1, 1.5 times, >= 1


def test_branches_weigh_dilations_of_one_kernel():
    model = segmentor('multiple', structure=STRUCTURE)
    set_branch_weights(model, 0.5, -1.0, 1.5)
    for name, dilation in STRUCTURE.items():
        module, conv = model.backbone.get_submodule(name), model._convolution(name)
        images = torch.randn(1, 4, 12, 12)
        rates = BRANCHES[dilation]
        sizes = [0.5, 1.0, 1.5][: len(rates)]
        expected = sum(
            size / sum(sizes) * F.conv2d(images, conv.weight, None, 1, 3 * d, d, 4)
            for size, d in zip(sizes, rates, strict=True)
        ) + conv.bias.view(1, -1, 1, 1)
        torch.testing.assert_close(module(images), expected, atol=1e-5, rtol=1e-5)


def test_search_moves_to_the_mean_of_the_branches():
    model = segmentor('search')
    assert model.dilations() == dict.fromkeys(CONVOLUTIONS, (1, 1))
    set_branch_weights(model, 0.1, 0.9, 5.0)  # dilation 1 has two branches: the third never counts
    assert set(model.estimated_dilations().values()) == {(2, 2)}  # .1 x 1 + .9 x 2
    assert set(model.dilations().values()) == {(1, 1)}
    model.search_step()
    assert set(model.dilations().values()) == {(2, 2)}
    set_branch_weights(model, 0.0, 0.0, 1.0)
    model.search_step()
    assert set(model.dilations().values()) == {(3, 3)}
    weights = [p for name, p in model.named_parameters() if name.endswith('.branch_weights')]
    assert len(weights) == 4 and all((w == 0.01).all() for w in weights)  # start again
    assert logits_of(model).shape == (1, 3, 8, 12)


@pytest.mark.parametrize('mode', ['search', 'single', 'multiple', 'merge'])
@pytest.mark.parametrize('through_mmengine', [False, True])
def test_weights_come_back(mode, through_mmengine):
    trained = segmentor(mode, structure=STRUCTURE)
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter)
    if mode == 'search':
        trained.search_step()
    fresh = segmentor(mode, structure=None if mode == 'search' else STRUCTURE)
    assert (logits_of(fresh) != logits_of(trained)).any()
    if through_mmengine:
        load_state_dict(fresh, get_state_dict(trained), strict=True)
    else:
        fresh.load_state_dict(trained.state_dict(), strict=True)
    assert fresh.dilations() == trained.dilations()
    torch.testing.assert_close(logits_of(fresh), logits_of(trained), atol=0, rtol=0)


def test_checkpoint_of_another_structure_is_refused():
    other = STRUCTURE | {CONVOLUTIONS[0]: (5, 5)}
    state = segmentor('single', structure=other).state_dict()
    with pytest.raises(ValueError, match=r'has dilation \(5, 5\) in the checkpoint'):
        segmentor('single', structure=STRUCTURE).load_state_dict(state)


def test_searched_parameters_are_branches_and_dilated_kernels():
    names = segmentor('search').searched_parameters()
    assert names == {f'backbone.{name}.branch_weights' for name in CONVOLUTIONS}
    single = segmentor('single', structure=STRUCTURE).searched_parameters()
    assert single == {f'backbone.{c}.{p}' for c in CONVOLUTIONS[1:3] for p in ('weight', 'bias')}


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(mode='searching'), 'mode is one of search, single'),
        (dict(mode='single'), 'needs the structure'),
        (dict(mode='single', structure={'stages.9.conv': (2, 2)}), 'found for this backbone'),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        segmentor(**settings)
