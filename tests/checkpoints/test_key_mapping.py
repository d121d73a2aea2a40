import re

import pytest
import torch

from luss_mm.checkpoints.key_mapping import (
    KeyMappingError,
    Layout,
    Part,
    Presence,
    Unit,
    map_keys,
    reverse,
)
from luss_mm.checkpoints.layouts import (
    BACKBONE_LAYOUTS,
    PASS_LAYOUTS,
    fold_attention_biases,
    number_shallow_heads,
)
from tests.published_networks import PublishedPASS, PublishedViT

LINEAR = dict(weight=2, bias=1)
GATE = Part('gate', 'gate', {'': 1}, singletons=2)
LAYOUT = Layout(
    'a toy',
    (
        Unit('stem', 'body.first', (Part('', '', LINEAR),), synonyms=('old_stem',)),
        Unit('blocks.{n}', 'body.layers.{n}', (Part('fc', 'linear', LINEAR),)),
        Unit(
            'blocks.{n}',
            'body.layers.{n}',
            (Part('gate', 'gate', {'': 1}, 2),),
            Presence.ALL_OR_NONE,
        ),
        Unit(
            'blocks.{n}.down',
            'body.layers.{n}.short',
            (Part('0', '0', LINEAR), Part('1', '1', {'scale': 1, 'count?': 0})),
            Presence.ANYWHERE,
        ),
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


def test_keys_are_renamed_and_tensors_kept():
    state = toy(12)
    result = map_keys(state, LAYOUT)
    expected = {}
    for key, tensor in state.items():  # by plain replacements
        key = re.sub(r'^blocks\.(\d+)\.fc', r'body.layers.\1.linear', key)
        expected[key.replace('stem', 'body.first')] = tensor
    assert result.state.keys() == expected.keys() and not result.dropped
    assert all(torch.equal(result.state[key], tensor) for key, tensor in expected.items())


def test_prefixes_synonyms_and_dropped_keys():
    state = {f'module.{k}'.replace('stem', 'old_stem'): v for k, v in toy().items()}
    state |= {'module.head.weight': torch.rand(2)}
    result = map_keys(state, LAYOUT)
    assert 'body.first.weight' in result.state
    assert result.dropped == {'module.head.weight': 'its categories are others'}


@pytest.mark.parametrize(
    'key',
    ['neck', 'blocks.0.fc.scale', 'blocks.x.fc.weight', 'stem.weights', 'blocks.00.fc.bias']
    + ['blocks.99999999999.fc.bias'],
)
def test_unknown_keys_are_named(key):
    message = error_of(toy() | {key: torch.rand(2)})
    assert message == f'not a toy. Keys:\n  1 unknown: {key}\nChoose the right format.'


def test_many_keys_are_counted():
    message = error_of(toy() | {f'x{i}': torch.rand(1) for i in range(1500)})
    assert '1500 unknown: x0, x1, x2, x3, x4, x5, x6, x7 and 1,492 more' in message


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


def test_a_network_without_blocks_is_incomplete():
    assert '2 missing: blocks.0.fc.weight, blocks.0.fc.bias\n' in error_of(linear('stem'))
    assert '4 missing' in error_of({})


def test_units_that_may_be_absent_come_whole():
    gates = {f'blocks.{i}.gate': torch.rand(3, 1, 1) for i in range(2)}
    assert map_keys(toy() | gates, LAYOUT).state['body.layers.1.gate'].shape == (3,)
    del gates['blocks.0.gate']
    assert '1 missing: blocks.0.gate\n' in error_of(toy() | gates)
    down = linear('blocks.1.down.0') | {'blocks.1.down.1.scale': torch.rand(3)}
    counted = down | {'blocks.1.down.1.count': torch.tensor(7)}
    assert (
        map_keys(toy() | down, LAYOUT).state.keys() < map_keys(toy() | counted, LAYOUT).state.keys()
    )
    assert '1 missing: blocks.1.down.1.scale\n' in error_of(toy() | linear('blocks.1.down.0'))


@pytest.mark.parametrize(
    'change, named',
    [
        ({'stem.weight': torch.rand(3, 2, 1)}, 'stem.weight (3, 2, 1)'),
        (
            {'blocks.0.gate': torch.rand(3, 2, 1), 'blocks.1.gate': torch.rand(3, 1, 1)},
            'gate (3, 2, 1)',
        ),
        ({'stem.bias': torch.rand(4)}, 'body.first.weight (3, 2) beside body.first.bias (4,)'),
    ],
)
def test_wrong_shapes_are_named(change, named):
    message = error_of(toy() | change)
    assert '1 of a wrong shape' in message and named in message and 'missing' not in message


def test_two_keys_for_one_are_named():
    assert '2 doubled: old_stem.weight (a second body.first.weight)' in error_of(
        toy() | linear('old_stem')
    )
    state = toy() | {'module.stem.bias': torch.rand(3)}
    assert '1 doubled: module.stem.bias (a second body.first.bias)' in error_of(state)


def test_and_back():
    state = toy() | {f'blocks.{i}.gate': torch.rand(3, 1, 1) for i in range(2)}
    ours = map_keys(state, LAYOUT).state
    back = map_keys(ours | {'neck.weight': torch.rand(2)}, reverse(LAYOUT))
    assert back.dropped == {'neck.weight': 'ours alone'}
    assert back.state.keys() == state.keys()
    assert all(torch.equal(back.state[key], tensor) for key, tensor in state.items())
    assert 'not a toy, converted. Keys:\n  1 unknown: stem.bias\n' in error_of(
        ours | {'stem.bias': torch.rand(3)}, reverse(LAYOUT)
    )


def test_no_way_back_is_said():
    with pytest.raises(KeyMappingError, match='pixel attention: there is no way back'):
        reverse(PASS_LAYOUTS['pass-attention'])


@pytest.mark.parametrize('kind', sorted(PASS_LAYOUTS | BACKBONE_LAYOUTS))
def test_every_format_names_what_another_one_lacks(kind):
    foreign = PublishedViT() if 'resnet' in kind or 'pass' in kind else PublishedPASS('finetune')
    message = error_of(foreign.state_dict(), (PASS_LAYOUTS | BACKBONE_LAYOUTS)[kind])
    assert 'unknown' in message and 'missing' in message


def test_half_a_bottleneck_is_named():
    state = PublishedPASS('finetune').state_dict()
    state['layer2.0.conv3.weight'] = torch.rand(16, 16, 1, 1)
    message = error_of(state, PASS_LAYOUTS['pass-finetuned'])
    assert 'layer2.1.conv3.weight' in message and 'layer2.0.bn3.running_var' in message


def test_shallow_heads_are_numbered_from_shallow_to_deep():
    state = {f'shallow_heads.{stage}.x': torch.tensor(stage) for stage in (3, 1)}
    numbered = number_shallow_heads(state | dict(y=torch.tensor(9)))
    assert {key: int(value) for key, value in numbered.items()} == {
        'shallow_heads.0.x': 1,
        'shallow_heads.1.x': 3,
        'y': 9,
    }


def test_attention_without_biases_stays_as_it_is():
    state = {'attention.layers.1.running_mean': torch.rand(3)}
    assert fold_attention_biases(state).keys() == state.keys()
    bias = {'attention.layers.0.bias': torch.tensor([0.0, 1.0, 2.0])}
    folded = fold_attention_biases(state | bias)
    expected = state['attention.layers.1.running_mean'] - torch.tensor([0.0, 1.0, 2.0])
    assert folded.keys() == state.keys()
    assert torch.equal(folded['attention.layers.1.running_mean'], expected)
