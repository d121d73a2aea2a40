import json
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest

from luss_mm.inference.frozen_backbone import read_frozen_backbone, score_features
from luss_mm.recipes.settings import Settings
from tests.inference.conftest import SETTINGS
from tests.inference.test_plain_baseline import features_of


def embed(network, folder):
    paths = sorted(folder.glob('*/*'))
    means = [features_of(network, path).mean((1, 2)) for path in paths]
    return [(mean / mean.norm()).numpy() for mean in means], [path.parent.name for path in paths]


def vote(embedding, known, categories, neighbours):
    similarity = [float(embedding @ other) for other in known]
    nearest = sorted(range(len(known)), key=lambda i: -similarity[i])[:neighbours]
    votes = {}
    for i in nearest:
        votes[categories[i]] = votes.get(categories[i], 0) + np.exp(similarity[i] / 0.07)
    return max(votes, key=votes.get)


def test_equals_asking_one_image_at_a_time(root, settings, weights):
    file, network = weights
    backbone = read_frozen_backbone(Settings(settings), str(file))
    scores = score_features(backbone, root / 'train', root / 'validation', neighbours=4)
    known, categories = embed(network, root / 'train')
    asked, true = embed(network, root / 'validation')
    right = [vote(e, known, categories, 4) == name for e, name in zip(asked, true, strict=True)]
    assert scores['knn'] == pytest.approx(100 * np.mean(right), abs=0.01)
    assert (scores['references'], scores['queries'], scores['categories']) == (35, 21, 7)
    held_out = score_features(backbone, root / 'train', neighbours=4)
    rest = [i for i in range(35) if i % 5 != 4]
    right = [
        vote(known[i], [known[j] for j in rest], [categories[j] for j in rest], 4) == categories[i]
        for i in range(4, 35, 5)
    ]
    assert held_out['knn'] == pytest.approx(100 * np.mean(right), abs=0.01)
    assert (held_out['references'], held_out['queries']) == (28, 7)


def test_perfect_clusters_are_seen(tmp_path, weights):
    """Images of one colour a category: k-means finds the categories."""
    file, _ = weights
    for k in range(3):
        (tmp_path / 'images' / f'c{k}').mkdir(parents=True)
        for i in range(5):
            image = np.full((64, 64, 3), 20 + 5 * i, np.uint8)
            image[..., k] = 255
            cv2.imwrite(str(tmp_path / 'images' / f'c{k}' / f'{i}.png'), image)
    backbone = read_frozen_backbone(Settings(SETTINGS), str(file))
    images = tmp_path / 'images'
    scores = score_features(backbone, images, images)
    assert (scores['knn'], scores['nmi'], scores['accuracy']) == (100, 100, 100)


def test_other_categories_are_refused(root, settings, weights, tmp_path):
    file, _ = weights
    backbone = read_frozen_backbone(Settings(settings), str(file))
    (tmp_path / 'moth').mkdir()
    shutil.copy(next((root / 'train').glob('*/*')), tmp_path / 'moth')
    with pytest.raises(ValueError, match='moth is none of the 7 category folders'):
        score_features(backbone, root / 'train', tmp_path)
    with pytest.raises(ValueError, match='no category folders'):
        score_features(backbone, tmp_path / 'moth')


def test_the_tool_lists_every_checkpoint(
    root,
    settings,
    weights,
    tmp_path,
    monkeypatch,
    capsys,
):
    run, out = tmp_path / 'run', tmp_path / 'scores.json'
    run.mkdir()
    (run / 'recipe.json').write_text(json.dumps(settings))
    options = ['--checkpoint', 'random', str(weights[0]), '--out', str(out), '--neighbours', '4']
    arguments = [str(run), str(root / 'train'), '--queries', str(root / 'validation'), *options]
    monkeypatch.setattr(sys, 'argv', ['evaluate_features.py', *arguments])
    runpy.run_path('tools/evaluate_features.py', run_name='__main__')
    written = json.loads(out.read_text())
    assert [scores['weights'] for scores in written] == ['random', str(weights[0])]
    lines = capsys.readouterr().out
    assert f'random: k-NN {written[0]["knn"]:.2f}' in lines
    assert 'labels used: category folders' in lines
