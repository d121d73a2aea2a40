import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'benchmarks' / 'denoising_rules.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('denoising_rules', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_noise_a_sample_looks_like_its_category(tool):
    embeddings, categories = tool.generate_embeddings(2000, 4, 0.0, seed=0)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    means = np.stack([embeddings[categories == k].mean(axis=0) for k in range(4)])
    assert ((embeddings @ means.T).argmax(axis=1) == categories).mean() > 0.95


def test_the_planted_share_is_noise(tool):
    clean, _ = tool.generate_embeddings(20_000, 4, 0.0, seed=0)
    noisy, categories = tool.generate_embeddings(20_000, 4, 1.0, seed=0)
    means = np.stack([clean[categories == k].mean(axis=0) for k in range(4)])
    right = ((noisy @ means.T).argmax(axis=1) == categories).mean()
    assert 0.3 < right < 0.6  # chance is 0.25; between two of four, half are right


def test_table_and_file(tool, tmp_path, capsys):
    options = '--seeds 2 --samples 600 --categories 6 --restarts 1'.split()
    tool.main([*options, '--json', str(tmp_path / 'rules.json')])
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header == f'| kept samples | {" | ".join(tool.COLUMNS)} |'
    assert [row.split('|')[1].strip() for row in rows] == [s.name for s in tool.SETTINGS]

    written = json.loads((tmp_path / 'rules.json').read_text())
    assert written['options']['samples'] == 600 and len(written['seeds']) == 2
    for seed in written['seeds']:
        assert seed['all']['kept'] == 100
        assert seed['all']['accuracy'] == seed['all']['accuracy of kept']  # the same k-means
        assert seed['margin 0.665']['kept'] == pytest.approx(66.5, abs=0.1)
    mean = np.mean([seed['margin 0.665']['purity'] for seed in written['seeds']])
    row = next(r for r in rows if r.startswith('| margin 0.665 |'))
    assert f'| {mean:.1f} +-' in row
