import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.visualization.made_up_run import make_run

TOOLS = Path(__file__).parents[2] / 'tools'
SCORES = {'mIoU': 24.5, 'ImgAcc': 50.0, 'F-beta': 48.0}


def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tool():
    return load('record_result')


@pytest.fixture
def run(tmp_path):
    work_dir = make_run(tmp_path)
    settings = json.loads((work_dir / 'recipe.json').read_text())
    settings |= dict(use_dff=True, use_csd=True, use_spo=True, checkpoint='/far/away/dino.pth')
    settings |= dict(segmenter=dict(type='GrabCut', x=1), pictures='${work_dir}/a', sizes=[1])
    (work_dir / 'recipe.json').write_text(json.dumps(settings))
    (work_dir / 'finetune' / 'scores.json').write_text(json.dumps(dict(metrics=SCORES)))
    return work_dir


@pytest.fixture
def record(tool, tmp_path, monkeypatch):
    """What the file of results holds after a call."""

    def call(*arguments):
        file = tmp_path / 'results.json'
        given = ['--set', 'eth', '--weights', 'dino', '--file', file, *arguments]
        monkeypatch.setattr(sys, 'argv', ['record_result.py', *map(str, given)])
        tool.main()
        return json.loads(file.read_text())

    return call


def test_a_run_says_of_itself(run, record):
    folder = run / 'label_quality' / 'validation'
    folder.mkdir(parents=True)
    (folder / 'quality.json').write_text('{"steps": {"SPO": {"mIoU": 1.234, "cluster": null}}}')
    (entry,) = record(run, '--method', 'PDSO', '--seed', 7, '--command', 'python x')
    stages = ('pretrain', 'attention', 'dff_f', 'finetune')
    manifests = {s: json.loads((run / s / 'manifest.json').read_text()) for s in stages}
    assert entry['seconds'] == round(sum(m['seconds'] for m in manifests.values()))
    assert entry['metrics'] == SCORES and entry['command'] == 'python x'
    assert (entry['set'], entry['weights'], entry['setting']) == ('eth', 'dino', '')
    assert entry['labels_used'] == ['validation masks: matching'] and entry['used_sam'] is True
    assert entry['labels_of_weights'] == ['dino.pth: not known']
    assert entry['date'] == '2026-01-01' and entry['versions'] == dict(luss_mm='0.1.0')
    assert entry['machine']['cores'] >= 1 and entry['machine']['cpu'] and entry['machine']['gpu']
    assert entry['label_quality'] == dict(validation=dict(SPO=dict(mIoU=1.23, cluster=None)))
    parts = dict.fromkeys(('use_dff', 'use_csd', 'use_spo'), True)
    others = dict(data_root='data', seed=7, checkpoint='dino.pth', segmenter='GrabCut')
    assert entry['settings'] == parts | others
    assert str(run.parent) not in json.dumps(entry)


def test_runs_are_added_and_replaced(run, record):
    record(run, '--method', 'PDSO', '--seed', 7)
    assert len(record(run, '--method', 'PDSO, refined', '--seed', 7)) == 2
    assert len(record(run, '--method', 'PDSO', '--seed', 7, '--setting', 'sharp')) == 3
    changed = dict(metrics=SCORES | {'mIoU': 30.0})
    (run / 'finetune' / 'scores.json').write_text(json.dumps(changed))
    entries = record(run, '--method', 'PDSO', '--seed', 7)
    assert [e['metrics']['mIoU'] for e in entries] == [30.0, 24.5, 24.5]


@pytest.mark.parametrize(
    'method, seed, message',
    [
        ('PASS', 7, 'is not PASS, it was run with use_dff, use_csd, use_spo'),
        ('+ DFF', 7, r'is not \+ DFF'),
        ('plain baseline', 7, 'is not plain baseline'),
        ('PDSO', 8, 'has seed 7, not 8'),
        ('other', 7, "no method 'other'"),
    ],
)
def test_a_run_is_not_recorded_as_another(run, record, tmp_path, method, seed, message):
    with pytest.raises(SystemExit, match=message):
        record(run, '--method', method, '--seed', seed)
    assert not (tmp_path / 'results.json').exists()


def test_a_run_without_scores_is_refused(run, record):
    (run / 'finetune' / 'scores.json').unlink()
    with pytest.raises(SystemExit, match='the run was not scored'):
        record(run, '--method', 'PDSO', '--seed', 7)


def test_a_baseline_has_an_entry_for_each_seed(record, tmp_path):
    scores = dict(
        seeds=[SCORES, SCORES | {'mIoU': 20.0}],
        ground_truth_use='validation masks: matching and scoring',
        labels_of_weights=['ImageNet labels'],
        weights='/far/away/dino.pth',
        weights_sha256='abc',
        num_clusters=8,
    )
    (tmp_path / 'plain.json').write_text(json.dumps(scores))
    entries = record('--baseline', tmp_path / 'plain.json')
    assert [(e['method'], e['seed']) for e in entries] == [('plain baseline', i) for i in (0, 1)]
    assert entries[1]['metrics']['mIoU'] == 20 and 'torch' in entries[1]['versions']
    assert entries[0]['settings'] == dict(weights='dino.pth', weights_sha256='abc', num_clusters=8)
    assert entries[0]['labels_of_weights'] == ['ImageNet labels']
    (tmp_path / 'plain.json').write_text('{}')
    with pytest.raises(SystemExit, match='not a file of tools/plain_baseline.py'):
        record('--baseline', tmp_path / 'plain.json')


def test_a_damaged_file_of_results_stays(run, record, tmp_path):
    (tmp_path / 'results.json').write_text('[')
    with pytest.raises(SystemExit, match=r'results.json: not JSON'):
        record(run, '--method', 'PDSO', '--seed', 7)
    assert (tmp_path / 'results.json').read_text() == '['


@pytest.mark.parametrize(
    'arguments', [(), ('RUN',), ('RUN', '--baseline', 'F'), ('--baseline', 'F', '--seed', '1')]
)
def test_half_a_command_line_is_refused(record, arguments):
    with pytest.raises(SystemExit) as stop:
        record(*arguments)
    assert stop.value.code == 2


def test_the_page_keeps_what_is_around_its_tables(run, record, tmp_path, monkeypatch):
    record(run, '--method', 'PDSO', '--seed', 7)
    writer = load('write_results_tables')
    page = tmp_path / 'results.md'
    page.write_text(f'before\n{writer.BEGIN}old\n{writer.END}after\n')
    monkeypatch.setattr(writer, 'PAGE', page)
    monkeypatch.setattr(writer, 'RESULTS', tmp_path / 'results.json')
    monkeypatch.setattr(sys, 'argv', ['write_results_tables.py'])
    writer.main()
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('after\n') and 'old' not in text
    assert '| all (PDSO) | 24.5 (24.5 to 24.5), 1 seed |' in text
    assert writer.results_page() == text
    page.write_text('no marker')
    with pytest.raises(ValueError, match='lacks the marker'):
        writer.main()
