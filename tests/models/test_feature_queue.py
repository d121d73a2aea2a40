import io

import pytest
import torch

from luss_mm.models import FeatureQueue
from tests.two_ranks import run_on_two_ranks


def numbered(first, batch, views=2, channels=3):
    """Row n holds n (view 0) or -n (view 1): rows that can be recognised."""
    rows = torch.arange(first, first + batch, dtype=torch.float32)[:, None].expand(-1, channels)
    return [rows, -rows][:views]


def slow_push(queue, batch, length):
    """Lists of rows, the newest batch in front."""
    return [(new.tolist() + old)[:length] for new, old in zip(batch, queue, strict=True)]


@pytest.mark.parametrize('length, batch', [(6, 2), (7, 3), (5, 5), (4, 9), (1, 1)])
def test_equals_a_list_of_rows(length, batch):
    queue, expected = FeatureQueue(length, 3), [[], []]
    queue.active = True
    for step in range(6):
        embeddings = numbered(100 * (step + 1), batch)
        queue.push(embeddings)
        expected = slow_push(expected, embeddings, length)
        assert queue.filled == len(expected[0])
        assert queue.usable == (len(expected[0]) == length)
        for view in range(2):
            assert queue.rows[view, : queue.filled].tolist() == expected[view]
            assert torch.equal(queue.own_slice(view), queue.rows[view])
    assert queue.usable and queue.rows.shape == (2, length, 3)


def test_rows_stay_out_of_the_weights_but_move_with_the_model():
    queue = FeatureQueue(4, 3)
    assert not queue.state_dict() and not list(queue.parameters())
    assert queue.to(torch.float64).rows.dtype == torch.float64


def test_a_restored_queue_goes_on_as_if_nothing_had_happened():
    queue, restored = FeatureQueue(5, 3), FeatureQueue(5, 3)
    queue.active = restored.active = True
    queue.push(numbered(1, 3))
    file = io.BytesIO()
    torch.save(queue.state(), file)
    file.seek(0)
    restored.restore(torch.load(file, weights_only=True))
    for step in (10, 20):
        assert torch.equal(restored.rows, queue.rows) and restored.filled == queue.filled
        for one in (queue, restored):
            one.push(numbered(step, 3))
    assert restored.usable


@pytest.mark.parametrize('length, channels, views', [(5, 3, 2), (4, 2, 2), (4, 3, 1)])
def test_a_state_of_another_shape_is_refused(length, channels, views):
    state = FeatureQueue(length, channels, views).state()
    queue = FeatureQueue(4, 3)
    with pytest.raises(ValueError, match=r'shape \(\d, \d, \d\), the model one of \(2, 4, 3\)'):
        queue.restore(state)


# ---------------------------------------------------------------- two processes


def push_on_rank(rank, length, batch, steps):
    queue = FeatureQueue(length, 3)
    queue.active = True
    for step in range(steps):
        queue.push(numbered(100 * (step + 1) + batch * rank, batch))
    return queue.rows, queue.filled, [queue.own_slice(view) for view in range(2)]


@pytest.mark.parametrize('length, batch', [(8, 2), (7, 3), (3, 4)])
def test_two_ranks_hold_one_queue_and_share_the_work(length, batch):
    (rows, filled, mine), (others, other_filled, theirs) = run_on_two_ranks(
        push_on_rank, length, batch, 3
    )
    one = FeatureQueue(length, 3)
    one.active = True
    for step in range(3):
        one.push(numbered(100 * (step + 1), 2 * batch))
    assert torch.equal(rows, one.rows) and torch.equal(others, one.rows)
    assert filled == other_filled == one.filled
    for view in range(2):
        together = torch.cat([mine[view], theirs[view]]).tolist()
        assert sorted(together) == sorted(one.rows[view].tolist())
        assert abs(len(mine[view]) - len(theirs[view])) <= 1
