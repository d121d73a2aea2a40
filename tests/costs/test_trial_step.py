import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

from luss_mm.costs.trial_step import (
    TRIAL_SAMPLES,
    collate,
    count_step,
    draw_made_up_samples,
    measure_step,
    run_step,
)
from tests.engine.small_folder_recipe import recipe

SIZE = (48, 64)


@pytest.fixture(scope='module')
def stages(tmp_path_factory):
    """Resolved trainings of the small recipe."""
    found = recipe(tmp_path_factory.mktemp('run'))
    return {name: found.stage(name, 'x') for name in found.stage_order}


@pytest.mark.parametrize('name', ['pretrain', 'attention', 'dff_f', 'dff_h', 'finetune'])
def test_a_trial_stands_for_the_full_batch(stages, name):
    """Operations of the whole batch, counted in one go."""
    stage = stages[name]
    step = count_step(stage, SIZE, 'cpu')
    size = stage['train_dataloader']['batch_size']
    assert size > TRIAL_SAMPLES
    with DefaultScope.overwrite_default_scope('mmseg'), FlopCounterMode(display=False) as counter:
        model = MODELS.build(stage['model']).train()
        samples, _ = draw_made_up_samples(stage['train_dataloader'], size, SIZE)
        run_step(model, collate(stage['train_dataloader'], samples), 'float32', 'cpu')
    assert step.operations == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert step.parameters == sum(p.numel() for p in model.parameters())
    assert step.trained == sum(p.grad.numel() for p in model.parameters() if p.grad is not None)


def test_operations_of_a_known_network(stages):
    """A classifier: three times the forward pass, less the gradient by the image."""
    stage = stages['dff_f']
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(stage['model'])
    products = []

    def note(module, inputs, output):
        weight = module.weight.numel()
        pixels = output[0, 0].numel() if output.ndim == 4 else 1
        products.append(2 * weight * pixels)

    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(note)
    model(torch.zeros(1, 3, 48, 48))
    expected = (3 * sum(products) - products[0]) * stage['train_dataloader']['batch_size']
    assert count_step(stage, SIZE, 'cpu').operations == pytest.approx(expected)


def test_a_step_is_measured(stages):
    counted = count_step(stages['finetune'], SIZE, 'cpu')
    found = measure_step(stages['finetune'], counted, SIZE, 'cpu')
    assert found.seconds > 0 and found.peak_memory is None
    assert found.operations == counted.operations
