import json
from types import SimpleNamespace

import pytest
import torch

from luss_mm.engine.receptive_fields import MergeReceptiveFields, ReceptiveFieldHook
from tests.models.small_rf_segmentors import (
    CONVOLUTIONS,
    STRUCTURE,
    logits_of,
    segmentor,
    set_branch_weights,
)

pytestmark = pytest.mark.usefixtures('mmseg_scope')
LARGEST = (0.0, 0.0, 1.0)


def train(model, work_dir, epochs, hook):
    """Epochs in which nothing but the branch weights changes: the largest branch always wins."""
    found = []
    for epoch in epochs:
        weights = LARGEST if max(model.dilations()[CONVOLUTIONS[0]]) > 1 else LARGEST[1:]
        set_branch_weights(model, *weights)
        hook.after_train_epoch(SimpleNamespace(model=model, epoch=epoch, work_dir=work_dir))
        found.append(model.dilations()[CONVOLUTIONS[0]][0])
    return found


def structure_in(work_dir):
    written = json.loads((work_dir / 'receptive_fields.json').read_text())
    return {name: tuple(pair) for name, pair in written.items()}


def test_structure_is_written_and_found_again(tmp_path):
    model, hook = segmentor('search'), ReceptiveFieldHook(interval=1, steps=1)
    train(model, tmp_path, [0], hook)
    assert structure_in(tmp_path) == model.dilations() == dict.fromkeys(CONVOLUTIONS, (2, 2))
    set_branch_weights(model, *LARGEST)
    hook.after_train(SimpleNamespace(model=model, epoch=1, work_dir=tmp_path))
    assert structure_in(tmp_path) == dict.fromkeys(CONVOLUTIONS, (3, 3))  # as trained since
    assert model.dilations()[CONVOLUTIONS[0]] == (2, 2)  # what is scored and saved stays
    for mode in ('single', 'multiple', 'merge'):
        built = segmentor(mode, structure=str(tmp_path / 'receptive_fields.json'))
        assert set(built.dilations().values()) == {(3, 3)}


def test_merged_network_equals_its_branches(tmp_path):
    multiple = segmentor('multiple', structure=STRUCTURE)
    for parameter in multiple.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.save(dict(state_dict=multiple.state_dict()), tmp_path / 'final.pth')
    MergeReceptiveFields(str(tmp_path / 'final.pth'))(tmp_path)
    assert structure_in(tmp_path) == STRUCTURE
    merged = segmentor('merge', structure=str(tmp_path / 'receptive_fields.json'))
    state = torch.load(tmp_path / 'merged.pth', weights_only=True)['state_dict']
    merged.load_state_dict(state, strict=True)
    expected = logits_of(multiple)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits_of(merged), expected, atol=1e-5, rtol=1e-5)
