"""What only decorates a run never stops it."""

from types import SimpleNamespace

import pytest

from luss_mm.engine.hooks import BackendPicturesHook, PicturesHook
from luss_mm.visualization import run_pictures as module
from luss_mm.visualization.run_pictures import decoration


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda text, *_: lines.append(text))
    return lines


def test_a_failure_is_one_warning(told):
    with decoration('the chart'):
        raise ValueError('no colour')
    (line,) = told
    assert line.startswith('the chart: failed (ValueError: no colour), which changes no result')
    with decoration('the chart'):
        pass
    assert len(told) == 1


def test_a_signal_still_ends_the_run(told, monkeypatch):
    monkeypatch.setattr(module, 'stop_asked', lambda: True)
    with pytest.raises(OSError), decoration('the chart'):
        raise OSError
    with pytest.raises(KeyboardInterrupt), decoration('the chart'):
        raise KeyboardInterrupt
    assert not told


def test_pictures_that_fail_leave_the_training_finished(told, tmp_path):
    hook = PicturesHook.__new__(PicturesHook)
    hook.clusters, hook.pictures = tmp_path / 'gone', tmp_path / 'pictures'
    hook.after_train(SimpleNamespace())
    assert len(told) == 1 and told[0].startswith(f'pictures in {tmp_path}/pictures: failed')


def test_backends_that_fail_leave_the_training_finished(told, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'')
    visualizer = SimpleNamespace(_vis_backends=dict(other=SimpleNamespace()))
    hooks = [SimpleNamespace(pictures=tmp_path)]
    BackendPicturesHook().after_run(SimpleNamespace(visualizer=visualizer, hooks=hooks, iter=1))
    assert len(told) == 1
