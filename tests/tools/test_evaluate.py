import json

import cv2
import numpy as np
import pytest

from luss_mm.functional.label_codec import encode_label_map
from luss_mm.functional.thresholds import SWEEP_THRESHOLDS
from tests.evaluation.slow_toolbox import made_up_images, slow_figures, slow_matching
from tests.left_over import left_over

OFFICIAL = 'Acc mIoU mBIoU FMeasure S MS ML L BS BMS BML BL'.split()


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_label_map(path, labels):
    write_png(path, encode_label_map(labels)[..., ::-1])


def name_of(index):
    return f'n{index % 3:02d}/image_{index}'


def write_images(root, images):
    for index, (predicted, truth) in enumerate(images):
        write_label_map(root / 'predictions' / f'{name_of(index)}.png', predicted)
        write_label_map(root / 'masks' / f'{name_of(index)}.png', truth)


def run(call_tool, root, categories, *options):
    folders = root / 'predictions', root / 'masks'
    out = root / 'out.json'
    call_tool('evaluate', *folders, '--categories', categories, '--out', out, *options)
    return json.loads((root / 'out.json').read_text())


def error_of(*arguments):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    return str(stop.value)


def assert_equals_slow(report, images, match, num_categories):
    figures, ious = slow_figures(images, match, num_categories)
    for name in OFFICIAL:
        expected = (
            figures[name] if figures[name] is None else pytest.approx(figures[name], abs=1e-9)
        )
        assert report[name] == expected, name
    np.testing.assert_allclose([report['IoUs'], report['BIoUs']], ious, rtol=0, atol=1e-9)
    assert report['match'] == {str(cluster): category for cluster, category in match.items()}


@pytest.mark.parametrize('workers, clusters, categories', [(1, 300, 300), (2, 5, 5)])
def test_files_score_as_the_slow_reference(
    call_tool, tmp_path, capsys, workers, clusters, categories
):
    images = made_up_images(40, clusters, categories)
    write_images(tmp_path, images)
    report = run(call_tool, tmp_path, categories, '--workers', workers)
    assert list(report)[:12] == OFFICIAL
    assert_equals_slow(report, images, slow_matching(images, clusters, categories), categories)
    assert report['num_images'] == 40 and report['protocol'] == 'unsupervised'
    assert report['matching'] == 'image_hungarian' and 'official' in report['matching_rule']
    output = capsys.readouterr()
    assert f'{report["mIoU"]:.2f}' in output.out and 'image_hungarian' in output.out
    assert '40 images in' in output.out
    assert not left_over(tmp_path)


# ---------------------------------------------------------------- the curve


def foreground_scores(images, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, truth.shape).astype(np.uint8) for _, truth in images]


def write_scores(root, scores, kind):
    for index, score in enumerate(scores):
        path = root / 'scores' / name_of(index)
        if kind == 'npy':
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path.with_suffix('.npy'), (score / 255).astype(np.float32))
        else:
            grey = score if kind == 'uint8' else score.astype(np.uint16) * 257
            write_png(path.with_suffix('.png'), grey)


@pytest.mark.parametrize('kind', ['uint8', 'uint16', 'npy'])
@pytest.mark.parametrize('rule', ['image_hungarian', 'majority'])
def test_the_curve_equals_scoring_each_threshold_by_itself(call_tool, tmp_path, kind, rule):
    images = made_up_images(8, 6, 3)
    scores = foreground_scores(images)
    write_images(tmp_path, images)
    write_scores(tmp_path, scores, kind)
    options = ['--clusters', 6, '--matching', rule, '--workers', 1]
    options += ['--scores', tmp_path / 'scores', '--curve']
    steps = [0, 0.31, 0.5, 0.9]
    report = run(call_tool, tmp_path, 3, *options, *steps)
    expected = []
    for step in steps:
        cut = [
            (np.where(score / np.float32(255) >= np.float32(step), predicted, 0), truth)
            for score, (predicted, truth) in zip(scores, images, strict=True)
        ]
        match = slow_matching(cut, 6, 3, rule)
        expected.append(slow_figures(cut, match, 3)[0]['mIoU'])
    np.testing.assert_allclose(report['curve']['mIoU'], expected, rtol=0, atol=1e-9)
    best = int(np.argmax(expected))
    assert report['curve']['best']['threshold'] == steps[best]
    assert report['curve']['best']['mIoU'] == pytest.approx(expected[best])
    assert report['mIoU'] == pytest.approx(expected[0])  # the label maps as they are
    if kind == 'npy':
        default = run(call_tool, tmp_path, 3, *options)['curve']
        assert default['thresholds'] == list(SWEEP_THRESHOLDS)


# ---------------------------------------------------------------- what stops it


@pytest.mark.parametrize(
    'pixels, message',
    [
        (np.zeros((5, 7, 3), np.uint8), '5 x 7 pixels .* has 8 x 9'),
        (np.zeros((8, 9), np.uint8), 'colour type 0.* 8-bit RGB'),
        (np.zeros((8, 9, 4), np.uint8), 'colour type 6'),
        (np.zeros((8, 9, 3), np.uint16), 'a PNG of 16 bits'),
        (np.full((8, 9, 3), 7, np.uint8), 'blue channel is not 0'),
        (encode_label_map(np.full((8, 9), 4))[..., ::-1], r'ids 4 to 4, outside of \[0, 3\]'),
        (encode_label_map(np.full((8, 9), 1000))[..., ::-1], 'ids 1000 to 1000'),
        (None, 'not a PNG'),
    ],
)
def test_a_bad_prediction_is_named(call_tool, tmp_path, pixels, message):
    good = np.zeros((8, 9), np.int64)
    write_images(tmp_path, [(good, good)] * 3)
    path = tmp_path / 'predictions' / f'{name_of(1)}.png'
    path.write_bytes(b'GIF89a' * 10) if pixels is None else write_png(path, pixels)
    for workers in (1, 2):
        with pytest.raises(SystemExit, match=rf'error: {path}.*{message}'):
            run(call_tool, tmp_path, 3, '--workers', workers)
    assert not (tmp_path / 'out.json').exists()


def test_bad_scores_are_named(call_tool, tmp_path):
    images = made_up_images(2, 3, 3)
    write_images(tmp_path, images)
    folder = tmp_path / 'scores'
    run_it = call_tool, tmp_path, 3, '--workers', 1, '--curve', '--scores', folder
    assert 'scores: no such folder' in error_of(*run_it)
    folder.mkdir()
    assert 'scores: 2 of 2 images are missing: n00/image_0.png' in error_of(*run_it)
    write_scores(tmp_path, [np.zeros((4, 4), np.uint8)] * 2, 'uint8')
    assert 'foreground score is (4, 4)' in error_of(*run_it)
    np.save(folder / f'{name_of(0)}.npy', np.zeros((4, 4)))
    assert f'{name_of(0)}.npy: a foreground score is' in error_of(*run_it)
    np.save(folder / f'{name_of(0)}.npy', np.full(images[0][1].shape, np.nan, np.float32))
    assert 'is NaN' in error_of(*run_it)


@pytest.mark.parametrize(
    'options, message',
    [
        (['--curve'], '--curve needs --scores'),
        (['--scores', 'x'], '--curve needs --scores'),
        (['--scores', 'x', '--curve', '.5', '.2'], 'thresholds must rise'),
        (['--matching', 'majority', '--match', 'x.json'], 'a given match needs no rule'),
        (['--protocol', 'semi', '--match', 'x.json'], 'ids are category ids'),
        (['--categories', '1000'], 'K is 1 to 999'),
    ],
)
def test_options_that_contradict_are_named(call_tool, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit):
        run(call_tool, tmp_path, 3, *options)
    assert message in capsys.readouterr().err
