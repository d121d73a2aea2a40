import io
import itertools
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from luss_mm.imagenet_s.archives import ArchiveError
from luss_mm.imagenet_s.lists import NUM_IMAGES, imagenet_s_categories
from luss_mm.imagenet_s.submission import (
    METHOD_LINES,
    SubmissionError,
    SubmittedSplit,
    check_method,
    check_submission,
    make_submission,
    method_text,
)
from tests.bad_images import bomb
from tests.tiny_layout import write_image, write_label_map

TOOLS = Path(__file__).parents[2] / 'tools'
SUBSET = 300
IDS = (0, 1, 255, 256, 300)
METHOD = dict(zip(METHOD_LINES, 'PASS', strict=False)) | {line: 'text' for line in METHOD_LINES}
TEXT = method_text(METHOD)


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Five images of three categories and their predictions below `predictions`."""
    wnids = [imagenet_s_categories(SUBSET)[i][0] for i in (0, 7, 299)]
    rng = np.random.default_rng(0)
    for i, wnid in zip(range(5), itertools.cycle(wnids)):
        size = tuple(rng.integers(6, 12, 2))
        place = f'{wnid}/ILSVRC2012_val_{i:08d}'
        write_image(tmp_path / 'test' / f'{place}.JPEG', rng.integers(0, 256, (*size, 3)))
        write_label_map(tmp_path / 'predictions' / f'{place}.png', rng.choice(IDS, size))
    monkeypatch.setitem(NUM_IMAGES[SUBSET], 'test', 5)
    return SubmittedSplit(SUBSET, 'test', tmp_path / 'test')


@pytest.fixture
def predictions(split, tmp_path):
    return tmp_path / 'predictions'


def first_of(predictions):
    return sorted(predictions.rglob('*.png'))[0]


def repacked(path, out, change):
    """The archive with `change(names to contents)` in it."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(out, 'w') as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return out


def png(array, mode=None):
    file = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8), mode).save(file, 'PNG')
    return file.getvalue()


class TestMake:
    def test_the_zip_holds_the_predictions_and_the_description(self, predictions, split, tmp_path):
        match = tmp_path / 'match.json'
        match.write_text(json.dumps({str(i): i % 9 for i in IDS}))
        out = tmp_path / 'out/submission.zip'
        assert make_submission(predictions, out, split, TEXT, match) == 5
        with zipfile.ZipFile(out) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        assert contents.pop('method.txt') == TEXT.encode()
        assert contents.pop('match.json') == match.read_bytes()
        files = {p.relative_to(predictions).as_posix(): p for p in predictions.rglob('*.png')}
        assert contents == {name: path.read_bytes() for name, path in files.items()}
        assert check_submission(out, split) == 5
        assert [p.name for p in out.parent.iterdir()] == ['submission.zip']

    def test_a_missing_prediction_is_named(self, predictions, split, tmp_path):
        lost = first_of(predictions)
        lost.unlink()
        with pytest.raises(SubmissionError, match=f'1 of 5 predictions .*{lost.name}'):
            make_submission(predictions, tmp_path / 'x.zip', split, TEXT)
        assert not list(tmp_path.glob('*.zip*')) and not list(tmp_path.glob('.*'))

    def test_an_existing_file_stays(self, predictions, split, tmp_path):
        (tmp_path / 'x.zip').write_bytes(b'mine')
        with pytest.raises(FileExistsError, match='Move it away'):
            make_submission(predictions, tmp_path / 'x.zip', split, TEXT)
        assert (tmp_path / 'x.zip').read_bytes() == b'mine'


class TestCheck:
    @pytest.fixture
    def archive(self, predictions, split, tmp_path):
        make_submission(predictions, tmp_path / 'good.zip', split, TEXT)
        return tmp_path / 'good.zip'

    @pytest.mark.parametrize('wrong', [301, 1000, 65535])
    def test_ids_end_at_the_number_of_categories(self, archive, split, tmp_path, wrong):
        name, image = next(iter(split.prediction_names().items()))
        labels = np.zeros(np.asarray(Image.open(image)).shape[:2], int)
        labels[-1, -1] = wrong
        path = write_label_map(tmp_path / 'x.png', labels)
        bad = repacked(archive, tmp_path / 'bad.zip', lambda c: c.update({name: path.read_bytes()}))
        with pytest.raises(
            SubmissionError, match=f'1 predictions are wrong:\n  {name}: id {wrong}'
        ):
            check_submission(bad, split)
        match = {str(i): 0 for i in (*IDS, wrong)}
        good = repacked(
            bad, tmp_path / 'good2.zip', lambda c: c.update({'match.json': json.dumps(match)})
        )
        assert check_submission(good, split) == 5

    @pytest.mark.parametrize(
        'change, message',
        [
            (lambda c, name: c.pop(name), '1 files are missing: n'),
            (lambda c, name: c.pop('method.txt'), 'there is no method.txt'),
            (lambda c, name: c.update({'readme.md': b''}), '1 files belong to no image'),
            (lambda c, name: c.update({name[:-4] + 'x.png': c[name]}), 'belong to no image'),
            (
                lambda c, name: c.update({f'submission/{name}': c.pop(name)}),
                'at the top of the zip',
            ),
            (lambda c, name: c.update({name: c[name][:-20]}), 'no readable PNG'),
            (lambda c, name: c.update({name: b'text'}), 'no readable PNG'),
            (lambda c, name: c.update({name: png(np.zeros((6, 6)))}), 'RGB uint8'),
            (lambda c, name: c.update({name: png(np.ones((6, 6, 3)))}), 'blue channel'),
            (lambda c, name: c.update({name: png(np.zeros((6, 6, 4)))}), 'RGB uint8'),
            (lambda c, name: c.update({'method.txt': b'Method name: x\n'}), 'needs the lines'),
            (lambda c, name: c.update({'match.json': b'[1]'}), 'match.json: no'),
        ],
    )
    def test_faults_are_named(self, archive, split, tmp_path, change, message):
        name = next(iter(split.prediction_names()))
        bad = repacked(archive, tmp_path / 'x.zip', lambda contents: change(contents, name))
        with pytest.raises(SubmissionError, match=message):
            check_submission(bad, split)

    def test_unsafe_and_broken_archives(self, archive, split, tmp_path):
        bad = repacked(archive, tmp_path / 'x.zip', lambda c: c.update({'../x.png': b''}))
        with pytest.raises(ArchiveError, match='leads out'):
            check_submission(bad, split)
        bad.write_bytes(archive.read_bytes()[:-40])
        with pytest.raises(SubmissionError, match='no zip, or a damaged one'):
            check_submission(bad, split)
        content = bytearray(archive.read_bytes())
        content[content.index(b'IDAT') + 8] ^= 1
        bad.write_bytes(content)
        with pytest.raises(SubmissionError, match='Bad CRC-32'):
            check_submission(bad, split)
        content = bytearray(archive.read_bytes())
        content[content.index(b'Networks:')] ^= 1
        bad.write_bytes(content)
        with pytest.raises(ArchiveError, match='method.txt is damaged .*Bad CRC-32'):
            check_submission(bad, split)

    def test_a_picture_too_large_to_decode_is_named(self, archive, split, tmp_path):
        name = next(iter(split.prediction_names()))
        large = bomb(60_000, 60_000)
        bad = repacked(archive, tmp_path / 'x.zip', lambda contents: contents.update({name: large}))
        with pytest.raises(SubmissionError, match=f'{name}: no readable PNG .*exceeds limit'):
            check_submission(bad, split)


class TestMethod:
    def test_the_six_lines(self):
        entries = {line: f' value {i} ' for i, line in enumerate(METHOD_LINES)}
        assert method_text(entries) == (
            'Method name: value 0\n'
            'Training data: value 1\n'
            'Training scheme: value 2\n'
            'Networks: value 3\n'
            'Paper/Project link: value 4\n'
            'Method description: value 5\n'
        )
        check_method(method_text(entries).encode())

    @pytest.mark.parametrize(
        'old, new, message',
        [
            ('Networks: text\n', '', 'it has Method name:'),
            ('Networks: text', 'Networks: ', '"Networks:" is followed by nothing'),
            ('Networks:', 'networks:', 'needs the lines'),
            ('Networks: text', 'Networks: a\nNetworks: b', 'once each'),
            ('Method description: text', 'Method description:', 'followed by nothing'),
            (TEXT, '', 'none of them'),
        ],
    )
    def test_incomplete_descriptions(self, old, new, message):
        with pytest.raises(SubmissionError, match=message):
            check_method(TEXT.replace(old, new).encode())
        with pytest.raises(SubmissionError, match='UTF-8'):
            check_method(TEXT.encode('utf-16'))


class TestTool:
    @pytest.fixture
    def main(self, monkeypatch):
        monkeypatch.syspath_prepend(str(TOOLS))
        monkeypatch.delitem(sys.modules, 'make_submission', raising=False)
        import make_submission as tool

        return tool.main

    @pytest.fixture
    def arguments(self, split):
        return ['--subset', str(SUBSET), '--split', 'test', '--images', str(split.images)]

    def test_packs_and_checks(self, main, arguments, predictions, tmp_path, capsys):
        out = tmp_path / 'x.zip'
        options = ('method-name', 'training-data', 'training-scheme', 'networks', 'link')
        lines = [word for name in (*options, 'description') for word in (f'--{name}', f'a {name}')]
        main([str(predictions), str(out), *arguments, *lines])
        main(['--check', str(out), *arguments])
        assert capsys.readouterr().out.count(f'{out}: 5 predictions, nothing wrong\n') == 2
        with zipfile.ZipFile(out) as archive:
            method = archive.read('method.txt').decode()
        assert 'Paper/Project link: a link\nMethod description: a description\n' in method
        (tmp_path / 'method.txt').write_text(method)
        again = ['--method', str(tmp_path / 'method.txt')]
        main([str(predictions), str(tmp_path / 'y.zip'), *arguments, *again])
        assert (tmp_path / 'y.zip').read_bytes() == out.read_bytes()
