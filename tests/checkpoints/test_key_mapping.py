from dataclasses import replace

import pytest
import torch

from luss_mm.checkpoints.key_mapping import KeyMappingError, Layout, map_keys, read_table, reverse
from luss_mm.checkpoints.layouts import (
    BACKBONE_LAYOUTS,
    PASS_LAYOUTS,
    name_shallow_heads,
    number_shallow_heads,
)
from tests.published_networks import PublishedPASS, PublishedViT

LAYOUT = Layout(
    'a toy',
    read_table(
        """
        stem|old_stem first linear
        blocks.{n}.fc layers.{n}.linear linear
        blocks.{n}.gate layers.{n}.gate tensor1 =
        blocks.{n}.down.0 layers.{n}.short.0 linear ?
        blocks.{n}.down.1 layers.{n}.short.1 statistics ?
        """,
        before='body.',
    ),
    dropped={r'head\..*': 'its categories are others'},
    added={r'neck\..*': 'ours alone'},
)


def linear(name, outputs=3, inputs=2):
    return {f'{name}.weight': torch.rand(outputs, inputs), f'{name}.bias': torch.rand(outputs)}


def toy(blocks=2):
    state = linear('stem')
    for i in range(blocks):
        state |= linear(f'blocks.{i}.fc')
    return state


def error_of(state, layout=LAYOUT):
    with pytest.raises(KeyMappingError) as error:
        map_keys(state, layout)
    return str(error.value)


@pytest.mark.parametrize(
    'key',
    ['neck', 'blocks.0.fc.scale', 'blocks.x.fc.weight', 'stem.weights', 'blocks.00.fc.bias']
    + ['blocks.99999999999.fc.bias'],
)
def test_unknown_keys_are_named(key):
    message = error_of(toy() | {key: torch.rand(2)})
    assert message == f'not a toy. Keys:\n  1 unknown: {key}\nChoose the right format.'


@pytest.mark.parametrize(
    'gone, named',
    [
        (['stem.bias'], 'stem.bias or old_stem.bias'),
        (['blocks.0.fc.weight'], 'blocks.0.fc.weight'),
        (['blocks.1.fc.weight', 'blocks.1.fc.bias'], 'blocks.1.fc.weight, blocks.1.fc.bias'),
    ],
)
def test_missing_keys_are_named(gone, named):
    state = toy(3)
    for key in gone:
        del state[key]
    assert f'{len(gone)} missing: {named}\n' in error_of(state)


def test_layers_that_may_be_absent_come_together():
    gates = {f'blocks.{i}.gate': torch.rand(3) for i in range(2)}
    assert map_keys(toy() | gates, LAYOUT).state['body.layers.1.gate'].shape == (3,)
    del gates['blocks.0.gate']
    assert '1 missing: blocks.0.gate\n' in error_of(toy() | gates)
    statistics = {f'blocks.1.down.1.running_{name}': torch.rand(3) for name in ('mean', 'var')}
    down = linear('blocks.1.down.0') | statistics
    counted = down | {'blocks.1.down.1.num_batches_tracked': torch.tensor(7)}
    assert (
        map_keys(toy() | down, LAYOUT).state.keys() < map_keys(toy() | counted, LAYOUT).state.keys()
    )
    del down['blocks.1.down.1.running_mean']
    assert '1 missing: blocks.1.down.1.running_mean\n' in error_of(toy() | down)


@pytest.mark.parametrize(
    'change, named',
    [
        ({'stem.weight': torch.rand(3, 2, 1)}, 'stem.weight (3, 2, 1)'),
        ({'stem.bias': torch.rand(4)}, 'body.first.weight (3, 2) beside body.first.bias (4,)'),
    ],
)
def test_wrong_shapes_are_named(change, named):
    message = error_of(toy() | change)
    assert '1 of a wrong shape' in message and named in message and 'missing' not in message


def test_no_way_back_is_said():
    one_way = replace(LAYOUT, finish=number_shallow_heads)
    with pytest.raises(KeyMappingError, match='a toy: there is no way back'):
        reverse(one_way)


def test_heads_of_no_stage_are_named_on_the_way_back():
    state = {
        'shallow_heads.0.adapter.0.weight': torch.rand(4, 5, 1, 1),
        'backbone.layer1.0.conv2.weight': torch.rand(8, 8, 3, 3),
    }
    with pytest.raises(KeyMappingError, match='adapter.0.weight takes 5 channels'):
        name_shallow_heads(state)


@pytest.mark.parametrize('kind', sorted(PASS_LAYOUTS | BACKBONE_LAYOUTS))
def test_every_format_names_what_another_one_lacks(kind):
    foreign = PublishedViT() if 'resnet' in kind or 'pass' in kind else PublishedPASS('finetune')
    message = error_of(foreign.state_dict(), (PASS_LAYOUTS | BACKBONE_LAYOUTS)[kind])
    assert 'unknown' in message and 'missing' in message
