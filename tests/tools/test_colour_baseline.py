import importlib.util
import json
import sys
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

from luss_mm.functional.label_codec import decode_label_map, encode_label_map
from luss_mm.pipeline.rendered_images import CATEGORIES, RenderTinyShapes

TOOL = Path(__file__).parents[2] / 'tools' / 'colour_baseline.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('colour_baseline', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


@pytest.fixture
def coloured(tmp_path):
    """Three categories told by their colours, with masks; validation c/0 has the colour of a."""
    rng = np.random.default_rng(0)
    colours = {'a': (200, 30, 30), 'b': (30, 200, 30), 'c': (30, 30, 200)}
    for split in ('train', 'validation'):
        for number, (category, colour) in enumerate(colours.items(), start=1):
            for i in range(4):
                odd = split == 'validation' and category == 'c' and i == 0
                painted = np.array(colours['a'] if odd else colour)
                image = (painted + rng.integers(-9, 10, (16, 12, 3))).astype(np.uint8)
                write(tmp_path / split / category / f'{i}.png', image)
                labels = np.zeros((16, 12), int)
                labels[3:13, 2:9] = number
                labels[0] = 1000
                if split == 'validation':
                    coded = encode_label_map(labels)
                    write(tmp_path / 'validation-segmentation' / category / f'{i}.png', coded)
                    guess = np.roll(labels, i, axis=1) % 1000 * 100  # other ids, a moved place
                    guess[0] = 7  # foreground on ignored pixels must not count
                    write(tmp_path / 'pseudo' / category / f'{i}.png', encode_label_map(guess))
    return tmp_path


def slow_scores(root, clusters):
    """The best renaming by trying all, IoU by comparing pixels."""
    names = sorted(clusters)

    def load(folder):
        return [
            decode_label_map(cv2.imread(str(root / folder / name))[..., ::-1]) for name in names
        ]

    truths, guesses = load('validation-segmentation'), load('pseudo')
    maps = [
        np.where(guess > 0, clusters[name] + 1, 0)
        for name, guess in zip(names, guesses, strict=True)
    ]
    known = np.concatenate([(t != 1000).ravel() for t in truths])
    truth = np.concatenate([t.ravel() for t in truths])[known]

    def hits(renaming):
        return sum(
            renaming[clusters[name]] + 1 in t[t != 1000]
            for name, t in zip(names, truths, strict=True)
        )

    renaming = np.array([0, *(np.array(max(permutations(range(3)), key=hits)) + 1)])
    predicted = renaming[np.concatenate([m.ravel() for m in maps])[known]]
    return [
        ((predicted == k) & (truth == k)).sum() / ((predicted == k) | (truth == k)).sum()
        for k in range(4)
    ]


def test_equals_counting_by_hand(tool, coloured):
    clusters = {f'{c}/{i}.png': 'abc'.index(c) for c in 'abc' for i in range(4)}
    clusters['c/0.png'] = 0  # its colour is that of a
    expected = slow_scores(coloured, clusters)
    scores = tool.score_colour_baseline(coloured, coloured / 'pseudo')
    assert scores['miou'] == pytest.approx(np.mean(expected), abs=1e-9)
    assert scores['miou_foreground'] == pytest.approx(np.mean(expected[1:]), abs=1e-9)
    assert (scores['num_categories'], scores['num_images']) == (3, 12)


def test_colours_fail_on_tiny_shapes_even_with_perfect_foreground(tool, tmp_path):
    RenderTinyShapes(210, 140, image_size=48)(tmp_path)
    scores = tool.score_colour_baseline(tmp_path, tmp_path / 'validation-segmentation')
    assert scores['num_categories'] == len(CATEGORIES)
    assert scores['miou_foreground'] < 0.2


def test_prints_one_line_of_json(tool, coloured, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tool', str(coloured), str(coloured / 'pseudo')])
    tool.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and 0 < json.loads(lines[0])['miou'] < 1


def test_what_is_missing_or_of_another_size_is_named(tool, coloured):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        tool.score_colour_baseline(coloured, coloured / 'nowhere')
    with pytest.raises(FileNotFoundError, match='no images'):
        tool.score_colour_baseline(coloured / 'train', coloured / 'pseudo')
    write(coloured / 'pseudo' / 'b' / '2.png', np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r'2\.png.*\(5, 5\)'):
        tool.score_colour_baseline(coloured, coloured / 'pseudo')
