import json
import sys

import pytest

from luss_mm.engine.run_records import (
    NOT_RUN,
    TOO_FEW,
    cell,
    compare,
    merge_entries,
    result_tables,
)
from tests.conftest import load_tool
from tests.visualization.made_up_run import make_run

SCORES = {'mIoU': 24.5, 'ImgAcc': 50.0, 'F-beta': 48.0}


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
def record(call_tool, tmp_path):
    """What the file of results holds after a call."""

    def call(*arguments):
        file = tmp_path / 'results.json'
        given = ['--set', 'eth', '--weights', 'dino', '--file', file, *arguments]
        call_tool('record_result', *given)
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
        ('PDSO', 8, 'has seed 7, not 8'),
        ('other', 7, "no method 'other'"),
    ],
)
def test_a_run_is_not_recorded_as_another(run, record, tmp_path, method, seed, message):
    with pytest.raises(SystemExit, match=message):
        record(run, '--method', method, '--seed', seed)
    assert not (tmp_path / 'results.json').exists()


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


def test_the_page_keeps_what_is_around_its_tables(run, record, tmp_path, monkeypatch):
    record(run, '--method', 'PDSO', '--seed', 7)
    writer = load_tool('write_results_tables')
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


# ---------------------------------------------------------------- tables


def entry(method, seed, miou, name='eth', weights='lite0', setting='', labels=('ImageNet',)):
    return dict(
        set=name,
        weights=weights,
        method=method,
        seed=seed,
        setting=setting,
        metrics={'mIoU': miou, 'ImgAcc': miou + 1, 'F-beta': miou + 2},
        labels_of_weights=list(labels),
    )


ENTRIES = [
    *(entry('plain baseline', seed, 20 + seed) for seed in range(3)),
    *(entry('PASS', seed, 30 + seed) for seed in range(3)),
    *(entry('PASS', seed, 5, 'cal') for seed in range(2)),
    *(entry('PASS, refined', seed, 33 + seed) for seed in range(3)),
    *(entry('PDSO', seed, 30.5) for seed in range(3)),
    *(entry('+ DFF', seed, 29.5) for seed in range(3)),
    entry('+ SPO', 0, 50),
]


def rows(text, title):
    """Cells of the table below a line, by their row's name."""
    lines = text.split(title)[1].strip().split('\n\n')[0].splitlines()
    header, _, *body = [[c.strip() for c in line.strip('|').split('|')] for line in lines]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in body}


def test_cells_hold_mean_range_and_number():
    text = result_tables(ENTRIES)
    found = rows(text, 'Validation mIoU:')
    methods = ['PASS', 'PASS, refined', '+ DFF', '+ CSD', '+ SPO', 'all (PDSO)']
    assert list(found) == ['plain baseline', *methods] and list(found['PASS']) == ['cal', 'eth']
    assert found['plain baseline']['eth'] == '21.0 (20.0 to 22.0), 3 seeds'
    assert found['+ SPO']['eth'] == '50.0 (50.0 to 50.0), 1 seed'
    assert found['plain baseline']['cal'] == found['+ CSD']['eth'] == NOT_RUN
    others = rows(text, 'Image accuracy and F-beta:')
    assert others['PASS']['eth, ImgAcc'] == '32.0 (31.0 to 33.0), 3 seeds'
    assert others['PASS']['eth, F-beta'] == '33.0 (32.0 to 34.0), 3 seeds'
    assert 'have seen: ImageNet.' in text


def test_ranges_that_are_apart_are_named():
    found = rows(result_tables(ENTRIES), 'of another method:')
    others = {method: row.pop('compared with') for method, row in found.items()}
    assert others['PASS'] == 'plain baseline' and others['all (PDSO)'] == 'PASS'
    assert others['PASS, refined'] == 'PASS' and 'plain baseline' not in others
    assert found['PASS'] == dict(eth='above', cal=NOT_RUN)
    assert found['PASS, refined']['eth'] == 'above' and found['+ DFF']['eth'] == 'below'
    assert found['all (PDSO)']['eth'] == 'none' and found['+ CSD']['eth'] == NOT_RUN
    assert found['+ SPO']['eth'] == TOO_FEW


def test_compare_by_all_pairs():
    for values, others in [
        ([1, 1, 2], [3, 3, 3]),
        ([3, 4, 5], [1, 2, 2]),
        ([1, 3, 3], [2, 2, 2]),
        ([2, 2, 2], [2, 2, 2]),
    ]:
        pairs = [(v > o) - (v < o) for v in values for o in others]
        expected = {1: 'above', -1: 'below'}[pairs[0]] if abs(sum(pairs)) == len(pairs) else 'none'
        assert compare(values, others) == expected
    assert compare([], [1]) == compare([1], []) == NOT_RUN == cell([])
    assert compare([1, 1], [2, 2, 2]) == compare([3, 3, 3], [2]) == TOO_FEW


def test_settings_have_tables_of_their_own_with_the_plain_baseline():
    text = result_tables([*ENTRIES, entry('PASS', 0, 50, setting='sharp')])
    assert text.count('### ') == 2
    other = text.split('### lite0, sharp')[1]
    assert rows(other, 'Validation mIoU:')['PASS']['eth'] == '50.0 (50.0 to 50.0), 1 seed'
    assert rows(other, 'Validation mIoU:')['plain baseline']['eth'].startswith('21.0')


def test_the_same_key_is_replaced_and_the_order_does_not_matter():
    again = entry('PASS', 1, 99)
    merged = merge_entries(ENTRIES, [again])
    assert len(merged) == len(ENTRIES) and again in merged
    assert merge_entries([again], [e for e in ENTRIES if e != entry('PASS', 1, 31)]) == merged
    assert len(merge_entries(ENTRIES, [entry('PASS', 1, 99, setting='other')])) == len(ENTRIES) + 1
