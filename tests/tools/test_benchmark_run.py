import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'tools' / 'benchmarks'
GOOD = """
import json, pathlib, sys
path = pathlib.Path(sys.argv[1])
path.with_suffix('.count').open('a').write('x')
rows = {'walk, 3 steps': dict(ours=2, alternative=5, ratio=2.5, unit='s', against='a crawl'),
        'jump': dict(ours=1234.5, alternative=None, ratio=None, unit='m', against=None)}
path.write_text(json.dumps(dict(comparisons=rows)))
print('measured')
"""
BAD = "raise SystemExit('it is broken')"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tool():
    sys.path.insert(0, str(FOLDER))
    yield load('run')
    sys.path.remove(str(FOLDER))
    for name in ('run', 'performance_table'):
        del sys.modules[name]


@pytest.fixture
def two_benchmarks(tool, tmp_path, monkeypatch):
    """One that works, with goals, and one that fails."""
    (tmp_path / 'good.py').write_text(GOOD)
    (tmp_path / 'bad.py').write_text(BAD)
    good = tool.Benchmark('good', '{out}', '{out} --tiny', goals={'walk': 3.0, 'jump': 'high'})
    monkeypatch.setattr(tool, 'FOLDER', tmp_path)
    monkeypatch.setattr(tool, 'BENCHMARKS', (good, tool.Benchmark('bad', '{out}', '{out}')))
    return tmp_path / 'results'


def test_results_table_and_failure(tool, two_benchmarks, capsys):
    assert tool.main(['--out', str(two_benchmarks)]) == 1
    printed = capsys.readouterr().out
    assert '[1/2] good: finished after' in printed and 'failed: bad.' in printed
    assert (two_benchmarks / 'good.log').read_text() == 'measured\n'
    assert 'it is broken' in (two_benchmarks / 'bad.log').read_text()
    summary = json.loads((two_benchmarks / 'summary.json').read_text())
    assert summary['benchmarks']['good']['comparisons']['jump']['ours'] == 1234.5
    assert summary['benchmarks']['bad']['status'] == 'failed with exit status 1'
    machine, _, _, _, *rows = (two_benchmarks / 'performance.md').read_text().splitlines()
    assert f'{summary["machine"]["cores"]} CPU cores' in machine and 'torch' in machine
    assert rows == [
        '| walk, 3 steps | `good.py F` | 2 s | 5 s (a crawl) | 2.5 | 3, missed |',
        '| jump | `good.py F` | 1,234 m | - | - | high |',
        '| bad | `bad.py` | failed with exit status 1 | | | |',
    ]


def runs(folder):
    return len((folder / 'good.count').read_text())


def test_finished_ones_are_kept_until_asked_again(tool, two_benchmarks, capsys):
    out = ['--out', str(two_benchmarks)]
    tool.main(out)
    assert tool.main([*out, '--only', 'good']) == 0 and runs(two_benchmarks) == 1
    assert 'good: kept' in capsys.readouterr().out
    assert '| bad |' in (two_benchmarks / 'performance.md').read_text()
    assert tool.main(out) == 1  # what failed is run again
    tool.main([*out, '--only', 'good', '--again'])
    assert runs(two_benchmarks) == 2
    (two_benchmarks / 'good.json').unlink()
    tool.main([*out, '--only', 'good'])
    assert runs(two_benchmarks) == 3


def test_a_quick_result_is_no_standard_one(tool, two_benchmarks):
    out = ['--out', str(two_benchmarks), '--only', 'good']
    tool.main([*out, '--quick'])
    assert '--tiny`, quick' in (two_benchmarks / 'performance.md').read_text()
    tool.main(out)
    assert runs(two_benchmarks) == 2
    assert 'quick' not in (two_benchmarks / 'performance.md').read_text()


def test_another_machine_measures_anew(tool, two_benchmarks, capsys):
    out = ['--out', str(two_benchmarks), '--only', 'good']
    tool.main(out)
    path = two_benchmarks / 'summary.json'
    path.write_text(path.read_text().replace('"torch": "', '"torch": "0.'))
    tool.main(out)
    assert runs(two_benchmarks) == 2 and 'another machine' in capsys.readouterr().out


def test_what_is_missing_is_skipped(tool, two_benchmarks, monkeypatch):
    needy = tool.Benchmark('good', '{out}', '{out}', packages=('no_such_package',))
    trained = tool.Benchmark('bad', '{work_dir} {out}', '{out}')
    monkeypatch.setattr(tool, 'BENCHMARKS', (needy, trained))
    assert tool.main(['--out', str(two_benchmarks)]) == 0
    table = (two_benchmarks / 'performance.md').read_text()
    assert '| good | `good.py` | skipped: needs no_such_package' in table
    assert '| bad | `bad.py` | skipped: needs --work-dir' in table


def test_a_page_keeps_its_prose(tool, two_benchmarks, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(f'# Speed\n{tool.replace_table.__globals__["BEGIN"]}\nold\n')
    out = ['--out', str(two_benchmarks), '--only', 'good', '--page', str(page)]
    with pytest.raises(ValueError, match='benchmarks: end -->'):
        tool.main(out)
    page.write_text(page.read_text() + '<!-- benchmarks: end -->\nMore.\n')
    tool.main(out)
    text = page.read_text()
    assert text.startswith('# Speed\n<!-- benchmarks: begin -->\nMachine:') and 'old' not in text
    assert text.endswith('| high |\n<!-- benchmarks: end -->\nMore.\n')
    with pytest.raises(SystemExit):
        tool.main([*out, '--quick'])


def test_every_benchmark_is_there_and_takes_its_arguments(tool):
    """Every option in the table is a word of its file."""
    texts = {path.stem: path.read_text() for path in FOLDER.glob('*.py')}
    programs = {name for name, text in texts.items() if "__name__ == '__main__'" in text}
    comparing = {name for name in programs - {'run'} if 'comparisons' in texts[name]}
    named = [benchmark.name for benchmark in tool.BENCHMARKS]
    assert comparing <= set(named) <= programs and len(named) == len(set(named))
    for benchmark in tool.BENCHMARKS:
        text = (FOLDER / f'{benchmark.name}.py').read_text()
        for word in f'{benchmark.arguments} {benchmark.quick}'.split():
            assert not word.startswith('--') or f"'{word}'" in text, f'{benchmark.name}: {word}'


def test_a_real_benchmark_runs(tmp_path):
    words = '--quick --only views --out'.split()
    subprocess.run([sys.executable, FOLDER / 'run.py', *words, tmp_path], check=True, cwd=tmp_path)
    entries = json.loads((tmp_path / 'summary.json').read_text())['benchmarks']
    assert all(found['ours'] > 0 for found in entries['views']['comparisons'].values())


def test_points_of_a_memory_map_are_clustered_and_removed(tmp_path):
    sizes = '--points 300 --channels 8 --clusters 3 --iterations 1 --restarts 1'.split()
    places = ['--out', tmp_path / 'kmeans.json', '--memory-map', tmp_path]
    subprocess.run([sys.executable, FOLDER / 'kmeans.py', *sizes, *places], check=True)
    report = json.loads((tmp_path / 'kmeans.json').read_text())
    assert list(report['comparisons']) == ['k-means, 300 x 8, K = 3, mapped']
    assert [path.name for path in tmp_path.iterdir()] == ['kmeans.json']


def test_ratios_say_how_many_times_better_ours_is(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    comparison = load('comparison')
    assert comparison.rate(30, 10, 'images/s', 'a loop') == dict(
        ours=30, alternative=10, ratio=3, unit='images/s', against='a loop'
    )
    assert comparison.cost(0.123456, 1, 's')['ratio'] == 8.1
    assert comparison.cost(0.123456, 1, 's')['ours'] == 0.123
    assert comparison.cost(0, 12, 'MB')['ratio'] is None
    assert comparison.rate(7, None, 'images/s')['ratio'] is None
    assert comparison.three_digits(118_287.4) == 118_287
