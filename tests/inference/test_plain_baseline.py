import json
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from luss_mm.checkpoints.loading import CheckpointError
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.functional.label_codec import decode_label_map
from luss_mm.inference.frozen_backbone import (
    read_plain_baseline,
    score_plain_baseline,
)
from luss_mm.recipes.settings import Settings, SettingsError
from tests.inference.conftest import MEAN, SIDE, STD, K


def read(path):
    return cv2.imread(str(path))[..., ::-1]


@torch.no_grad()
def features_of(network, path):
    image = cv2.resize(read(path), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    pixels = ((image - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)
    return network(torch.from_numpy(pixels)[None])[2][0]  # (C, h, w)


def slow_threshold(values):
    """The edge of 512 bins with the least variance within both sides; of equals the middle."""
    edges = np.linspace(values.min(), values.max(), 513)
    centres = (edges[:-1] + edges[1:]) / 2
    binned = centres[np.clip(np.searchsorted(edges, values, side='right') - 1, 0, 511)]

    def within(edge):
        sides = binned[binned < edge], binned[binned >= edge]
        return sum(len(side) * side.var() for side in sides if len(side))

    found = np.array([within(edge) for edge in edges[1:-1]])
    best = edges[1:-1][found <= found.min() * (1 + 1e-9)]
    return (best[0] + best[-1]) / 2


def slow_baseline(root, network, seed):
    """One image at a time, as one would write it down; only k-means is the project's own."""
    maps = [features_of(network, path) for path in sorted((root / 'train').glob('*/*'))]
    unit = [m.mean((1, 2)) / m.mean((1, 2)).norm() for m in maps]
    threshold = slow_threshold(np.concatenate([m.norm(dim=0).numpy().ravel() for m in maps]))
    centroids = fit_kmeans(torch.stack(unit).numpy(), K, 10, 3, seed).centroids
    pairs, presence = [], np.zeros((K, K))
    for path in sorted((root / 'validation').glob('*/*')):
        features = features_of(network, path)
        mean = (features.mean((1, 2)) / features.mean((1, 2)).norm()).numpy()
        cluster = int(np.square(centroids - mean).sum(axis=1).argmin()) + 1
        mask = root / 'validation-segmentation' / path.parent.name / f'{path.stem}.png'
        truth = decode_label_map(read(mask))
        lengths = torch.nn.functional.interpolate(
            features.norm(dim=0)[None, None], size=truth.shape, mode='bilinear'
        )
        predicted = np.where(lengths[0, 0].numpy() >= threshold, cluster, 0)
        pairs.append((predicted, truth))
        for g in set(np.unique(predicted)) - {0}:
            for c in set(np.unique(truth)) - {0}:
                presence[g - 1, c - 1] += 1
    rows, columns = linear_sum_assignment(-presence)
    names = np.zeros(K + 1, int)
    names[rows + 1] = columns + 1
    predicted = np.concatenate([names[p].ravel() for p, _ in pairs])
    truth = np.concatenate([t.ravel() for _, t in pairs])
    iou = [
        ((predicted == k) & (truth == k)).sum() / max(1, ((predicted == k) | (truth == k)).sum())
        for k in range(K + 1)
    ]
    right = [p.any() and names[p.max()] in t for p, t in pairs]
    return 100 * np.mean(iou), 100 * np.mean(right), threshold


def test_equals_doing_it_one_image_at_a_time(root, settings, weights):
    file, network = weights
    scores = score_plain_baseline(read_plain_baseline(Settings(settings), str(file)), seeds=2)
    for seed, figures in enumerate(scores['seeds']):
        miou, accuracy, threshold = slow_baseline(root, network, seed)
        assert figures['mIoU'] == pytest.approx(miou, abs=0.02)
        assert figures['ImgAcc'] == pytest.approx(accuracy, abs=0.01)
    assert scores['length_threshold'] == pytest.approx(threshold, rel=1e-5)
    found = [figures['mIoU'] for figures in scores['seeds']]
    assert (scores['mIoU']['min'], scores['mIoU']['max']) == (min(found), max(found))
    assert scores['mIoU']['mean'] == pytest.approx(np.mean(found), abs=0.01)


def test_the_tool_reads_a_run_and_writes_every_seed(
    settings, tmp_path, monkeypatch, capsys, weights
):
    run, out = tmp_path / 'run', tmp_path / 'scores.json'
    run.mkdir()
    (run / 'recipe.json').write_text(json.dumps(settings))
    options = ['--checkpoint', 'random', '--seeds', '2', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['plain_baseline.py', str(run), *options])
    runpy.run_path('tools/plain_baseline.py', run_name='__main__')
    written = json.loads(out.read_text())
    lines = capsys.readouterr().out
    assert 'KaimingInit' not in lines
    assert f'mIoU: mean {written["mIoU"]["mean"]:.2f}' in lines
    assert '35 training, 21 validation images, K = 7, 2 seeds' in lines
    assert 'labels used: validation masks: matching and scoring' in lines
    assert 'random (labels that they have seen: none)' in lines
    assert len(written['seeds']) == 2 and written['features']['mean'] == MEAN


def test_what_is_missing_is_named_before_anything_runs(settings, tmp_path):
    with pytest.raises(SettingsError, match='--checkpoint FILE'):
        read_plain_baseline(Settings(settings))
    with pytest.raises(FileNotFoundError, match='gone'):
        read_plain_baseline(Settings(settings), str(tmp_path / 'gone.pth'))
    with pytest.raises(SettingsError, match='sets no in_index: '):
        read_plain_baseline(Settings(dict(settings, in_index=None)), 'random')
    torch.save(dict(state_dict=dict(other=torch.ones(1))), tmp_path / 'other.pth')
    baseline = read_plain_baseline(Settings(settings), str(tmp_path / 'other.pth'))
    with pytest.raises(CheckpointError, match=r'no weights backbone\.\*'):
        score_plain_baseline(baseline, seeds=1)
