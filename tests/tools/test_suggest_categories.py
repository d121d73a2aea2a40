import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'suggest_categories.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('suggest_categories', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_embeddings(folder, groups, each=20, spread=0.05):
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(groups, 16), each, axis=0)
    rows = centres + spread * rng.normal(size=(groups * each, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    folder.mkdir(parents=True)
    np.save(folder / 'embeddings.npy', rows.astype(np.float32))
    np.save(folder / 'foreground_score_counts.npy', np.zeros(1000, np.int64))


def run(tool, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['suggest_categories.py', *map(str, arguments)])
    tool.main()


def test_groups_are_counted_and_drawn(tool, monkeypatch, capsys, tmp_path):
    write_embeddings(tmp_path / 'features', 5)
    write_embeddings(tmp_path / 'dff_features', 3)
    run(tool, monkeypatch, tmp_path, '--largest', 12, '--restarts', 20)
    printed = capsys.readouterr().out
    assert 'suggested: 5 ' in printed and 'num_categories=5' in printed
    assert 'no clear groups' not in printed
    written = json.loads((tmp_path / 'category_numbers.json').read_text())
    assert written['suggested'] == written['best_silhouette'] == 5
    assert [row['categories'] for row in written['numbers']][:4] == [2, 3, 4, 5]
    assert (tmp_path / 'category_numbers.png').stat().st_size > 1000
    run(tool, monkeypatch, tmp_path, '--features', 'dff_features', '--largest', 8)
    assert 'suggested: 3 ' in capsys.readouterr().out


def test_what_is_missing_is_named(tool, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match='no finished features .features, dff_features.'):
        run(tool, monkeypatch, tmp_path)
    write_embeddings(tmp_path / 'features', 3, each=1)
    with pytest.raises(SystemExit, match='3 images are too few for 2 categories'):
        run(tool, monkeypatch, tmp_path)
