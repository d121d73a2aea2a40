"""What the report reads of a run: bad images, moved data, damaged files."""

import json
import re
from pathlib import Path

import pytest

from luss_mm.engine.expected_errors import explain_stop
from luss_mm.visualization.report import write_report
from luss_mm.visualization.report.images import PictureFolder, bad_images, cluster_cards
from luss_mm.visualization.run_pictures import read_losses
from luss_mm.work_dir.manifest import ManifestError, finished_outputs
from luss_mm.work_dir.run_folder import RunFolder

from .made_up_run import make_run

FOLDER = '<img src=x>'  # of the images
BAD = ('000000-cut.jpg', '000007-empty.jpg', 'zzz.jpg')


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, num_clusters=3)


def leave_out(run, later=()):
    """Three bad images among the others, which the run found and left out."""
    data = run.parent / 'data'
    folder, check = data / 'train' / FOLDER, run / 'image_check'
    check.mkdir()
    for name in BAD:
        (folder / name).write_bytes(b'')
    listed = [dict(image=str(folder / name), problem='empty') for name in BAD]
    (check / 'bad_images.json').write_text(json.dumps(listed))
    images = dict(data_root=str(data), data_prefix=dict(img_path='train'))
    manifest = json.loads((run / 'clusters' / 'manifest.json').read_text())
    manifest |= dict(key='checked', inputs={'0' * 64: dict(images=images, reader=None)})
    (check / 'manifest.json').write_text(json.dumps(manifest))
    if later:
        (check / 'found_later.txt').write_text('\n'.join(later) + '\n')


def text_of(page):
    return ' '.join(re.sub('<[^>]*>', ' ', page.read_text()).split())


def shown_images(run, folder):
    """Names on the sheets of every cluster."""
    cards = cluster_cards(RunFolder.read(run), None, PictureFolder(folder))
    return [[sheet['names'] for sheet in card['sheets']] for card in cards]


def test_images_left_out_do_not_shift_the_others(run, tmp_path):
    before = shown_images(run, tmp_path / 'a')
    leave_out(run)
    assert shown_images(run, tmp_path / 'b') == before
    assert not any(name in str(before) for name in BAD)


def test_bad_images_are_told(run):
    path = run.parent / 'data/train/x/a.jpg'
    leave_out(run, later=[f'{path}: cannot be decoded. Delete it.'] * 2)
    text = text_of(write_report(run))
    assert '3 training images were left out' in text
    assert '&lt;img src=x&gt;/000007-empty.jpg empty' in text
    assert '1 image was found to be bad only when loaded' in text
    assert text.count(f'{path}: cannot be decoded. Delete it.') == 1
    assert 'let the run stop' not in text and 'Clusters' in text


def test_what_stopped_the_run_is_told(run):
    leave_out(run)
    (run / 'validation_image_check').mkdir()
    problem = [dict(image='/data/validation/b.jpg', problem='truncated after 7 bytes')]
    (run / 'validation_image_check' / 'bad_images.json').write_text(json.dumps(problem))
    (run / 'image_check' / 'bad_masks.json').write_text('[]')
    found = bad_images(RunFolder.read(run))
    assert found['stopping'] == [('validation/b.jpg', 'truncated after 7 bytes')]
    assert 'validation/b.jpg truncated after 7 bytes' in text_of(write_report(run))


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize('content', ['{"key": "a"', '', '[]', '{}', '\udcff'])
def test_a_damaged_manifest_is_named_with_its_fix(run, content):
    path = run / 'threshold' / 'manifest.json'
    path.write_bytes(content.encode(errors='surrogateescape'))
    for read in (finished_outputs, write_report):
        with pytest.raises(ManifestError) as error:
            read(run)
        message = str(error.value)
        assert message.startswith(f'{path}: damaged (') and '\n' not in message
        assert 'Delete the folder threshold' in message
        assert explain_stop(error.value) == message  # no traceback at the end of a run


@pytest.mark.parametrize(
    'name', ['recipe.json', 'threshold/threshold.json', 'finetune/evaluation/scores.json']
)
def test_a_damaged_file_is_named_with_its_fix(run, name):
    (run / name).write_text('{"rule": ')
    with pytest.raises(ValueError) as error:
        write_report(run)
    assert str(error.value).startswith(f'{run / name}: damaged (')
    assert 'Run the recipe again' in str(error.value)


def test_a_log_that_a_kill_cut_short_still_has_its_losses(run):
    (file,) = (run / 'pretrain').glob('*/vis_data/scalars.json')
    whole = read_losses(run / 'pretrain')
    with open(file, 'a') as log:
        log.write('\n{"loss": 0.1, "it')
    assert read_losses(run / 'pretrain') == whole
    lines = Path(file).read_text().splitlines()
    lines[3] = lines[3][:5]
    file.write_text('\n'.join(lines))
    with pytest.raises(ValueError, match=r'scalars.json, line 4: damaged'):
        read_losses(run / 'pretrain')
