import pytest
from luss_mm.engine.hooks.dff import DFFHook
from mmengine.config import ConfigDict

from luss_mm.engine.hooks import dff
from tests.engine.tiny_training import Points, make_runner


@pytest.fixture
def scored(monkeypatch):
    """Epochs after which images were scored, counted from 1."""
    seen = []
    points = Points()
    points.fingerprint = lambda: 'points'
    monkeypatch.setattr(dff.DATASETS, 'build', lambda config: points)
    monkeypatch.setattr(dff, 'score_images', lambda directory, model, *_, **__: seen.append(model))
    return seen


@pytest.mark.parametrize('epoch, expected', [(None, 3), (2, 2), (3, 3), (1, 1)])
def test_scores_once_after_the_given_epoch(tmp_path, scored, epoch, expected):
    hook = DFFHook(ConfigDict(type='unused'), epoch=epoch)
    runner = make_runner(tmp_path, hook, epochs=3)
    finished = []
    score = hook._score

    def note(runner):
        finished.append(-(-runner.iter // 2))  # two iterations an epoch
        score(runner)

    hook._score = note
    runner.train()
    assert len(scored) == 1 and finished == [expected]


def test_an_epoch_that_never_comes_is_named(tmp_path, scored):
    runner = make_runner(tmp_path, DFFHook(ConfigDict(type='unused'), epoch=4), epochs=3)
    with pytest.raises(
        ValueError, match='epoch=4 of the 3 that are trained: set a smaller relabel'
    ):
        runner.train()
