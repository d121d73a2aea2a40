import pytest

from luss_mm.engine.hooks.steps import DFFHook
from tests.engine.tiny_training import make_runner


class Scoring:
    """Notes how many iterations the model was trained for when it scored."""

    def __init__(self, runner):
        self.runner, self.seen = runner, []

    def run(self, work_dir, model):
        self.seen.append(self.runner.iter)


@pytest.mark.parametrize('epoch, expected', [(None, 3), (2, 2), (3, 3), (1, 1)])
def test_scores_once_after_the_given_epoch(tmp_path, epoch, expected):
    hook = DFFHook(dict(type='unused'), epoch=epoch)
    runner = make_runner(tmp_path, hook, epochs=3)
    scoring = Scoring(runner)
    hook.steps = [scoring]
    runner.train()
    assert [-(-seen // 2) for seen in scoring.seen] == [expected]  # two iterations an epoch


def test_an_epoch_that_never_comes_is_named(tmp_path):
    runner = make_runner(tmp_path, DFFHook(dict(type='unused'), epoch=4), epochs=3)
    with pytest.raises(
        ValueError, match='epoch=4 of the 3 that are trained: set a smaller relabel'
    ):
        runner.train()
