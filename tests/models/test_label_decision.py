import pytest
import torch

from luss_mm.models.label_decision import decide_label_map


def test_only_allowed_ids_are_predicted():
    logits = torch.randn(300, 6, 8, generator=torch.Generator().manual_seed(0))
    allowed = (299, 0, 7)
    labels = decide_label_map(logits, dict(ori_shape=(6, 8)), (6, 8), allowed=allowed)
    masked = torch.full_like(logits, -torch.inf)
    masked[list(allowed)] = logits[list(allowed)]
    assert torch.equal(labels[0], masked.argmax(0))
    assert set(labels.unique().tolist()) == set(allowed)


@pytest.mark.parametrize('allowed', [(), (3,), (-1, 0)])
def test_ids_without_a_logit_are_refused(allowed):
    with pytest.raises(ValueError, match='allowed ids'):
        decide_label_map(torch.zeros(3, 2, 2), dict(ori_shape=(2, 2)), (2, 2), allowed=allowed)


def test_flip_is_undone_after_the_choice_of_ids():
    logits = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(1))
    meta = dict(ori_shape=(5, 5))
    straight = decide_label_map(logits, meta, (5, 5), allowed=(1, 3))
    meta |= dict(flip=True, flip_direction='horizontal')
    assert torch.equal(decide_label_map(logits.flip(-1), meta, (5, 5), allowed=(1, 3)), straight)
