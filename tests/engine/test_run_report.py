import logging

import pytest

from luss_mm.engine import staged_runner
from luss_mm.engine.staged_runner import report_line
from tests.visualization.made_up_run import make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, num_clusters=3)


def test_a_current_report_is_not_written_again(run):
    line = report_line(run)
    page = run / 'report' / 'index.html'
    assert line == f'report: {page}'
    written = page.stat().st_mtime_ns
    assert report_line(run) == line and page.stat().st_mtime_ns == written


def test_a_failure_is_told_and_stops_nothing(run, monkeypatch):
    logged = []
    monkeypatch.setattr(staged_runner, 'print_log', lambda text, **kw: logged.append((text, kw)))
    (run / 'finetune' / 'evaluation' / 'image_counts.0.jsonl').write_text('damaged')
    line = report_line(run)
    assert line.startswith('report: none, it failed (ValueError: ') and 'damaged' in line
    ((text, settings),) = logged
    assert 'Traceback' in text and settings['level'] == logging.ERROR
