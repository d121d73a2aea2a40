import json

import numpy as np
import pytest


def write_embeddings(folder, groups, each=20, spread=0.05):
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(groups, 16), each, axis=0)
    rows = centres + spread * rng.normal(size=(groups * each, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    folder.mkdir(parents=True)
    np.save(folder / 'embeddings.npy', rows.astype(np.float32))
    np.save(folder / 'foreground_score_counts.npy', np.zeros(1000, np.int64))


def test_groups_are_counted_and_drawn(call_tool, capsys, tmp_path):
    write_embeddings(tmp_path / 'features', 5)
    write_embeddings(tmp_path / 'dff_features', 3)
    call_tool('suggest_categories', tmp_path, '--largest', 12, '--restarts', 20)
    printed = capsys.readouterr().out
    assert 'suggested: 5 ' in printed and 'num_categories=5' in printed
    assert 'no clear groups' not in printed
    written = json.loads((tmp_path / 'category_numbers.json').read_text())
    assert written['suggested'] == written['best_silhouette'] == 5
    assert [row['categories'] for row in written['numbers']][:4] == [2, 3, 4, 5]
    assert (tmp_path / 'category_numbers.png').stat().st_size > 1000
    call_tool('suggest_categories', tmp_path, '--features', 'dff_features', '--largest', 8)
    assert 'suggested: 3 ' in capsys.readouterr().out


def test_what_is_missing_is_named(call_tool, tmp_path):
    with pytest.raises(SystemExit, match='no finished features .features, dff_features.'):
        call_tool('suggest_categories', tmp_path)
    write_embeddings(tmp_path / 'features', 3, each=1)
    with pytest.raises(SystemExit, match='3 images are too few for 2 categories'):
        call_tool('suggest_categories', tmp_path)
