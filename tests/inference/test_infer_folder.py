import csv
import json

import cv2
import numpy as np
import pytest

from luss_mm.inference.infer_folder import FolderInference
from luss_mm.inference.inferencer import BadImageError, LUSSInferencer
from tests.engine.small_run import make_run
from tests.inference.test_inferencer import SIZES, smooth_image
from tests.tiny_layout import write_image


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('run'))


@pytest.fixture(scope='module')
def inferencer(run):
    return LUSSInferencer(run, device='cpu')


@pytest.fixture
def images(tmp_path):
    for number, size in enumerate(SIZES):
        folder = ('', 'a/', 'a/b b/', 'ü/')[number % 4]
        suffix = ('png', 'BMP')[number % 2]
        write_image(tmp_path / 'images' / f'{folder}{number}.{suffix}', smooth_image(size, number))
    return tmp_path / 'images'


def label_maps(out):
    """Relative paths to ids, decoded by hand."""
    maps = {}
    for path in sorted((out / 'labels').rglob('*.png')):
        bgr = cv2.imread(str(path)).astype(int)
        assert not bgr[..., 0].any()
        maps[path.relative_to(out / 'labels').as_posix()] = bgr[..., 2] + 256 * bgr[..., 1]
    return maps


def rows_of(out):
    with open(out / 'listing.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def segmented(monkeypatch, inferencer):
    """Names of the images that go through the network from now on."""
    names, stream = [], inferencer.stream

    def noted(inputs, *args):
        names.extend(path.name for path in inputs)
        return stream(inputs, *args)

    monkeypatch.setattr(inferencer, 'stream', noted)
    return names


def test_outputs_mirror_the_images(images, inferencer, tmp_path):
    out = FolderInference(inferencer, images).write(tmp_path / 'out')
    maps = label_maps(out)
    paths = sorted(path for path in images.rglob('*') if path.is_file())
    assert set(maps) == {p.relative_to(images).with_suffix('.png').as_posix() for p in paths}
    rows = rows_of(out)
    for path in paths:
        relative = path.relative_to(images)
        labels = maps[relative.with_suffix('.png').as_posix()]
        np.testing.assert_array_equal(labels, inferencer(path)['predictions'][0])
        overlay = cv2.imread(str((out / 'overlays' / relative).with_suffix('.jpg')))
        assert overlay.shape[0] > labels.shape[0] and overlay.shape[1] == labels.shape[1]
        own = [row for row in rows if row['image'] == relative.as_posix()]
        assert {int(r['id']): int(r['pixels']) for r in own} == dict(
            zip(*np.unique(labels, return_counts=True), strict=True)
        )
        assert sum(float(row['share']) for row in own) == pytest.approx(1, abs=1e-3)
        assert all(r['name'] == ('others' if r['id'] == '0' else f'cluster {r["id"]}') for r in own)
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['images'] == summary['segmented'] == len(SIZES)
    everything = np.concatenate([labels.ravel() for labels in maps.values()])
    assert {entry['id']: entry['share'] for entry in summary['ids']} == pytest.approx(
        {i: (everything == i).mean() for i in np.unique(everything)}
    )
    assert everything.max() > 255


def test_images_that_differ_in_the_suffix_have_outputs_of_their_own(images, inferencer, tmp_path):
    for name, seed in (('0.BMP', 7), ('a/1.png', 8), ('a/1.jpg', 9)):
        write_image(images / name, smooth_image((20, 30), seed))
    out = FolderInference(inferencer, images).write(tmp_path / 'out')
    kept = {'0.png', '0.BMP', 'a/1.BMP', 'a/1.png', 'a/1.jpg'}
    maps = label_maps(out)
    assert len(maps) == len(SIZES) + 3 and {f'{name}.png' for name in kept} <= {*maps}
    for name in kept:
        expected = inferencer(images / name)['predictions'][0]
        np.testing.assert_array_equal(maps[f'{name}.png'], expected)
        assert (out / 'overlays' / f'{name}.jpg').is_file()


def test_bad_images_are_listed(images, inferencer, tmp_path):
    (images / 'a' / 'bad.jpg').write_bytes(b'no image')
    (images / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
    out = FolderInference(inferencer, images, shard_size=3).write(tmp_path / 'out')
    bad = json.loads((out / 'bad_images.json').read_text())
    assert sorted(entry['image'] for entry in bad) == ['a/bad.jpg', 'gone.png']
    assert 'not a readable image' in bad[1]['problem'] + bad[0]['problem']
    assert len(label_maps(out)) == len(SIZES)
    assert json.loads((out / 'summary.json').read_text())['bad_images'] == 2
    for target in ('out', 'other'):  # also where skipping has finished before
        job = FolderInference(inferencer, images, on_bad_image='error')
        with pytest.raises(BadImageError, match=r"(bad.jpg|gone.png): .* on_bad_image='skip'"):
            job.write(tmp_path / target)


def test_names_that_are_not_text(images, inferencer, tmp_path):
    data = (images / '0.png').read_bytes()
    with open(bytes(images) + b'/\xff.png', 'wb') as file:
        file.write(data)
    out = FolderInference(inferencer, images).write(tmp_path / 'out')
    bad = json.loads((out / 'bad_images.json').read_text())
    assert [entry['image'] for entry in bad] == ['\\udcff.png']
    assert 'the name is not UTF-8. Rename the file' in bad[0]['problem']
    assert len(label_maps(out)) == len(SIZES)


def test_refusals(images, inferencer, tmp_path):
    with pytest.raises(ValueError, match='a later run would take it for images'):
        FolderInference(inferencer, images).write(images / 'out')
    with pytest.raises(ValueError, match='outputs are some of'):
        FolderInference(inferencer, images, outputs=['masks'])
    with pytest.raises(ValueError, match='on_bad_image is one of'):
        FolderInference(inferencer, images, on_bad_image='ignore')
    with pytest.raises(FileNotFoundError, match='no such image or folder'):
        FolderInference(inferencer, tmp_path / 'gone').write(tmp_path / 'out')
