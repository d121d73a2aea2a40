"""What the terminal shows of a log, and how progress is told."""

import logging

import pytest
from mmengine.logging import MMLogger, print_log

from luss_mm import terminal
from luss_mm.engine.processes import forget
from luss_mm.terminal import Progress, announce, prints_logged, quieten


@pytest.fixture
def logger(tmp_path):
    logger = MMLogger.get_instance(tmp_path.name, log_file=str(tmp_path / 'run.log'))
    yield quieten(logger)
    forget([logger])


def say_as(module, text):
    exec(f'print_log({text!r}, "current")', dict(__name__=module, print_log=print_log))


def test_the_framework_speaks_to_the_log_file_only(logger, tmp_path, capsys):
    say_as('mmengine.hooks.logger_hook', 'Epoch(train)')
    say_as('luss_mm.evaluation.metrics', 'a table')
    say_as('luss_mm.pipeline.clusters', 'clusters found')
    say_as('hooks_of_somebody', 'their own message')
    shown = capsys.readouterr().out
    assert [line[10:] for line in shown.splitlines()] == ['clusters found', 'their own message']
    written = (tmp_path / 'run.log').read_text()
    assert written.index('Epoch(train)') < written.index('a table') < written.index('clusters')


def test_prints_reach_the_log_file_only(logger, tmp_path, capsys):
    with prints_logged(logger):
        exec('print("missing keys")', dict(__name__='mmengine.runner'))
    assert 'missing keys' in (tmp_path / 'run.log').read_text()


def test_what_is_announced_is_shown_at_any_level(logger, tmp_path, capsys):
    quieten(logger, 'WARNING')
    print_log('a stage', logger='current')
    announce('score 12')
    assert [line[10:] for line in capsys.readouterr().out.splitlines()] == ['score 12']
    assert 'score 12' in (tmp_path / 'run.log').read_text()


def test_debugging_shows_everything(tmp_path, capsys):
    logger = MMLogger.get_instance(f'{tmp_path.name}-debug', log_level=logging.DEBUG)
    quieten(logger)
    say_as('mmengine.hooks.logger_hook', 'Epoch(train)')
    assert 'Epoch(train)' in capsys.readouterr().out
    forget([logger])


class Clock:
    """Stands in for the module time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(terminal.time, 'monotonic', lambda: self.now)


def test_progress_speaks_less_and_less_often_and_at_the_end(monkeypatch):
    clock, said = Clock(monkeypatch), []
    monkeypatch.setattr(terminal, 'print_log', lambda text, logger: said.append(text))
    progress = Progress('labels', 100, interval=5)
    for _ in range(100):
        clock.now += 0.25
        progress.advance(note=', loss 1')
    assert said == [
        'labels: 20/100 (20 %), 4/s, 20 s left, loss 1',
        'labels: 60/100 (60 %), 4/s, 10 s left, loss 1',
        'labels: 100/100 (100 %), 4/s, 0 s left, loss 1',
    ]


def test_what_was_done_before_does_not_count_for_the_rate(monkeypatch):
    clock, said = Clock(monkeypatch), []
    monkeypatch.setattr(terminal, 'print_log', lambda text, logger: said.append(text))
    progress = Progress('labels', 100, done=90)
    clock.now = 5.0
    progress.advance(10)
    assert said == ['labels: 100/100 (100 %), 2/s, 0 s left']


def test_a_terminal_redraws_one_line(logger, monkeypatch, capsys):
    clock = Clock(monkeypatch)
    monkeypatch.setattr('sys.stdout.isatty', lambda: True)
    progress = Progress('labels', 3)
    for _ in range(2):
        clock.now += 1
        progress.advance()
    say_as('luss_mm.pipeline', 'a message')
    shown = capsys.readouterr().out
    assert shown.startswith('\rlabels: 1/3') and '\rlabels: 2/3' in shown
    assert shown.count('\n') == 1 and shown.endswith('a message\n')
