from types import SimpleNamespace

import pytest

from luss_mm.costs.run_estimate import TimeLeft


def estimate_of(**stages):
    costs = [SimpleNamespace(stage=s, seconds=t) for s, times in stages.items() for t in times]
    return SimpleNamespace(costs=costs)


@pytest.fixture
def clock():
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def time_left(clock):
    return TimeLeft(lambda: clock.now)


def test_what_is_left_shrinks_and_is_corrected(time_left, clock):
    time_left.expect(estimate_of(pretrain=[50, 10], attention=[20], finetune=[3, 17]))
    assert (
        time_left.begin('pretrain', True)
        == 'time left: about 1 min 40 s, 1 min 0 s of it for pretrain'
    )
    clock.now += 120  # twice as long
    time_left.end('pretrain')
    assert (
        time_left.begin('attention', True)
        == 'time left: about 1 min 20 s, 40 s of it for attention'
    )
    clock.now += 40
    time_left.end('attention')
    assert time_left.begin('finetune', True) == 'time left: about 40 s'


def test_a_stage_that_was_begun_before_corrects_nothing(time_left, clock):
    time_left.expect(estimate_of(pretrain=[60], finetune=[60]))
    line = time_left.begin('pretrain', False)
    assert line.endswith('1 min 0 s of it for pretrain, less what was done of it before')
    clock.now += 1
    time_left.end('pretrain')
    assert time_left.begin('finetune', True) == 'time left: about 1 min 0 s'
