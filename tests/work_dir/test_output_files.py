import hashlib

import pytest

from luss_mm.work_dir import artifact
from luss_mm.work_dir.artifact import describe_files, find_unusable_files, produce
from luss_mm.work_dir.manifest import read_manifest

CONTENTS = {'centroids.npy': b'0123456789', 'deep/b.txt': b'', 'deep/a.txt': b'second'}


def fill(directory):
    for name, content in CONTENTS.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ('.hidden', 'train.log', 'manifest.json'):  # none of the output's content
        (directory / name).write_text('x')


@pytest.fixture(params=['hashed', 'listed'])
def described(request, tmp_path, monkeypatch):
    if request.param == 'listed':
        monkeypatch.setattr(artifact, 'MOST_HASHED', 2)
    fill(tmp_path / 'out')
    return request.param, describe_files(tmp_path / 'out')


def test_files_are_described_by_size_and_hash(described):
    kind, facts = described
    if kind == 'hashed':
        assert facts == {
            name: [len(content), hashlib.sha256(content).hexdigest()]
            for name, content in CONTENTS.items()
        }
    else:
        lines = ['centroids.npy\0' + '10\n', 'deep/a.txt\0' + '6\n', 'deep/b.txt\0' + '0\n']
        digest = hashlib.sha256(''.join(lines).encode()).hexdigest()
        assert facts == {'names and sizes': [3, 16, digest]}


@pytest.mark.parametrize('change', ['nothing', 'cut', 'gone', 'other bits', 'renamed', 'log grows'])
def test_changes_are_found(described, tmp_path, change):
    kind, facts = described
    path = tmp_path / 'out/centroids.npy'
    if change == 'cut':
        path.write_bytes(b'01234')
    elif change == 'gone':
        path.unlink()
    elif change == 'other bits':
        path.write_bytes(b'0123456780')
    elif change == 'renamed':
        path.rename(path.with_name('c.npy'))
    elif change == 'log grows':
        (tmp_path / 'out/train.log').write_text('more')
    # A listing knows no bits, and nobody waits for it at every start.
    seen = change not in ('nothing', 'log grows') and (kind == 'hashed' or change != 'other bits')
    assert (describe_files(tmp_path / 'out') != facts) == seen
    sizes = kind == 'hashed' and change in ('cut', 'gone', 'renamed')
    found = find_unusable_files(tmp_path / 'out', facts)
    assert len(found) == sizes
    if kind == 'hashed' and change == 'cut':
        assert found == [f'{path}: 5 of 10 bytes']


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(artifact, 'print_log', lambda text, logger: lines.append(text))
    return lines


def test_a_damaged_output_is_made_anew_and_kept_aside(tmp_path, said):
    directory = produce(tmp_path / 'out', fill, dict(a=1), {})
    key = read_manifest(directory)['key']
    (directory / 'centroids.npy').write_bytes(b'01')
    produce(directory, fill, dict(a=1), {})
    assert (directory / 'centroids.npy').read_bytes() == CONTENTS['centroids.npy']
    assert read_manifest(directory)['key'] == key
    (aside,) = tmp_path.glob('out.damaged-*')
    assert (aside / 'centroids.npy').read_bytes() == b'01'
    (line,) = said
    assert line.startswith(f'{directory} is damaged and made again')
    assert line.endswith('centroids.npy: 2 of 10 bytes')
    produce(directory, lambda unfinished: pytest.fail('made again'), dict(a=1), {})


def test_deleted_checkpoints_and_new_scores_are_no_damage(tmp_path):
    def make(unfinished):
        for name in ('epoch_1.pth', 'evaluation/scores.json', 'final.pth'):
            (unfinished / name).parent.mkdir(exist_ok=True)
            (unfinished / name).write_text('some')

    directory = produce(tmp_path / 'out', make, dict(a=1), {})
    (directory / 'epoch_1.pth').unlink()
    (directory / 'evaluation/scores.json').write_text('longer')
    produce(directory, lambda unfinished: pytest.fail('made again'), dict(a=1), {})
    (directory / 'final.pth').write_text('')
    assert len(find_unusable_files(directory, read_manifest(directory)['files'])) == 1


def test_other_versions_are_noticed_in_one_line(tmp_path, said, monkeypatch):
    directory = produce(tmp_path / 'out', fill, dict(a=1), {})
    monkeypatch.setattr(artifact, '__version__', '99.0')
    produce(directory, lambda unfinished: pytest.fail('made again'), dict(a=1), {})
    (line,) = said
    assert line.startswith(f'{directory} was made by other versions (luss_mm: ')
    assert line.endswith('-> 99.0) and is kept; delete it to have it made again.')
