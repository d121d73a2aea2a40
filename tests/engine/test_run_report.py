import logging

import numpy as np
import pytest
import torch

from luss_mm.engine import run_report
from luss_mm.engine.run_report import prototype_use, report_line, report_run
from tests.visualization.made_up_run import make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, num_clusters=3)


def test_prototypes_are_counted_by_their_nearest_embeddings(run):
    (counts,) = prototype_use('pretrain', run / 'pretrain' / 'final.pth').values()
    np.testing.assert_array_equal(counts, [9, 1, 0, 0])


def test_only_the_filled_part_of_the_queue_counts(tmp_path):
    rows = torch.eye(3)[[0, 1, 2, 2]].repeat(2, 1, 1)
    queue = dict(rows=rows, filled=2)
    state = {'head.prototypes.weight': torch.eye(3)}
    torch.save(dict(state_dict=state, feature_queue=queue), tmp_path / 'final.pth')
    counts = prototype_use('stage', tmp_path / 'final.pth')
    assert list(counts) == ['stage, view 1', 'stage, view 2']
    np.testing.assert_array_equal(counts['stage, view 2'], [1, 1, 0])


@pytest.mark.parametrize('queue', [None, dict(rows=torch.zeros(2, 4, 3), filled=0)])
def test_stages_without_a_filled_queue_have_no_use(queue, tmp_path):
    content = dict(state_dict={'head.prototypes.weight': torch.eye(3)})
    torch.save(content | ({} if queue is None else dict(feature_queue=queue)), tmp_path / 'a.pth')
    assert prototype_use('stage', tmp_path / 'a.pth') == {}


def test_the_report_shows_the_prototypes(run):
    text = report_run(run).read_text()
    assert 'pretrain, view 1' in text and 'Use of the prototypes' in text


def test_a_current_report_is_not_written_again(run):
    line = report_line(run)
    page = run / 'report' / 'index.html'
    assert line == f'report: {page}'
    written = page.stat().st_mtime_ns
    assert report_line(run) == line and page.stat().st_mtime_ns == written


def test_a_failure_is_told_and_stops_nothing(run, monkeypatch):
    logged = []
    monkeypatch.setattr(run_report, 'print_log', lambda text, **kw: logged.append((text, kw)))
    (run / 'pretrain' / 'final.pth').write_bytes(b'damaged')
    line = report_line(run)
    assert line.startswith('report: none, it failed (CheckpointError: ') and 'damaged' in line
    ((text, settings),) = logged
    assert 'Traceback' in text and settings['level'] == logging.ERROR
