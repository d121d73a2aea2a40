"""The index of a folder against a slow listing, and what becomes of its file."""

import copy
import os
import pickle
import shutil

import numpy as np
import pytest

from luss_mm.datasets import image_index
from luss_mm.datasets.image_index import kept_index, open_index, scan_images
from tests.permissions import closed

NAMES = [  # sorted otherwise than their folders are listed
    'a.jpg',
    'a/0.JPEG',
    'a/10.jpg',
    'a/9.jpg',
    'a-b/0.png',
    'a.b/0.webp',
    'a/deep/er/0.bmp',
    'line\nbreak.png',
    'Ünï/🦊.jpg',
    '\uffff.jpg',
    os.fsdecode(b'\xff\xfe/\x80.jpg'),
    'l' * 251 + '.jpg',
    'd' * 255 + '/' + 'l' * 250 + '.jpeg',
    'looks like one.jpg/inside.png',
]
OTHERS = ['notes.txt', 'a/jpg', 'a/0.jpg.txt', 'empty/notes.md']
OTHERS += ['.hidden.jpg', '.jpg', '.folder/0.jpg', 'a/__MACOSX/0.jpg', '@eaDir/0.jpg', 'a/._9.jpg']


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'images'
    for number, name in enumerate([*NAMES, *OTHERS]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'x' * (7 * number))
    return folder


@pytest.fixture
def linked(folder, tmp_path):
    """Links to a folder and a file elsewhere, nowhere, themselves, above, and to each other."""
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere/e.jpg').write_bytes(b'12345')
    links = {
        'b': tmp_path / 'elsewhere',
        'file.jpg': tmp_path / 'elsewhere/e.jpg',
        'again': folder / 'a',
        'nowhere.jpg': 'gone.jpg',
        'nowhere': 'gone',
        'self.png': 'self.png',
        'a/up': folder,
        'a/deep/here': '.',
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    for name, other in (('one', 'two'), ('two', 'one')):
        (folder / 'pair' / name).mkdir(parents=True)
        (folder / 'pair' / name / f'{name}.jpg').write_bytes(b'')
        (folder / 'pair' / name / 'other').symlink_to(f'../{other}')
    return folder


def slow_listing(folder, relative='', above=()):
    """All of a folder's images, unsorted: every folder is asked again what it lies in."""
    identities = (*above, os.path.realpath(os.path.join(folder, relative)))
    for name in os.listdir(os.path.join(folder, relative)):
        path, inner = os.path.join(folder, relative, name), os.path.join(relative, name)
        if name[0] == '.' or name in ('__MACOSX', '@eaDir'):
            continue
        if os.path.isdir(path):
            if os.path.realpath(path) not in identities:
                yield from slow_listing(folder, inner, identities)
        elif name.lower().endswith(('.jpeg', '.jpg', '.png', '.bmp', '.webp')):
            yield inner, os.path.getsize(path) if os.path.exists(path) else -1


def contents(index):
    return list(zip(index, index.sizes.tolist(), strict=True))


def no_scan(monkeypatch):
    monkeypatch.setattr(image_index, 'scan_images', lambda folder: pytest.fail('listed again'))


def test_equals_a_slow_listing(folder):
    found = contents(scan_images(folder))
    assert found == sorted(slow_listing(folder)) and [n for n, _ in found] == sorted(NAMES)
    assert scan_images(str(folder)).sizes.dtype == np.int64


def test_links_are_followed_but_not_in_circles(linked):
    found = dict(contents(scan_images(linked)))
    assert found == dict(slow_listing(linked)) and list(found) == sorted(found)
    assert found['b/e.jpg'] == found['file.jpg'] == 5
    assert found['nowhere.jpg'] == found['self.png'] == -1
    assert 'again/deep/er/0.bmp' in found and not any('/up/' in name for name in found)
    assert [n for n in found if n.startswith('pair/')] == [
        'pair/one/one.jpg',
        'pair/one/other/two.jpg',
        'pair/two/other/one.jpg',
        'pair/two/two.jpg',
    ]


def test_positions_and_top_folders(linked):
    index = scan_images(linked)
    assert [index.position(name) for name in index] == list(range(len(index)))
    assert index.position('a/1.jpg') is None and index.position('~~~~') is None
    assert index[-1] == index[len(index) - 1]
    with pytest.raises(IndexError):
        index[len(index)]
    firsts = {}
    for name in index:
        firsts.setdefault(name.partition('/')[0], name)
    assert list(index.top_folders()) == list(firsts.items())


def test_a_folder_that_may_not_be_read(folder):
    """It is one image, which can be found by its name and left out."""
    inner = next(name for name in NAMES if name.startswith('a/'))
    with closed(folder / 'a'):
        index = scan_images(folder)
        assert list(index) == sorted(['a/', *(n for n in NAMES if not n.startswith('a/'))])
        assert index[index.position('a/')] == 'a/' and index.position(inner) is None
        assert 'a/' not in list(index.folders)
    with closed(folder), pytest.raises(PermissionError):
        scan_images(folder)


def test_a_link_into_a_folder_that_may_not_be_read(folder, tmp_path):
    inner = tmp_path / 'other' / 'inner'
    inner.mkdir(parents=True)
    (folder / 'link').symlink_to(inner)
    (folder / 'link.jpg').symlink_to(inner / 'x.jpg')
    with closed(inner.parent):
        assert list(scan_images(folder)) == sorted([*NAMES, 'link.jpg', 'link/'])


def test_kept_and_mapped(linked, tmp_path, monkeypatch):
    fresh = scan_images(linked)
    made = kept_index(tmp_path / 'kept', linked)
    no_scan(monkeypatch)
    opened = kept_index(tmp_path / 'kept', linked)
    assert contents(opened) == contents(made) == contents(fresh)
    assert len(list((tmp_path / 'kept').iterdir())) == 1  # nothing temporary is left
    for values in (opened.sizes, opened.names.bounds, opened.stamps, opened.names.characters):
        assert not values.flags.owndata and not values.flags.writeable
        assert values.flags.aligned
    (path,) = (tmp_path / 'kept').iterdir()
    with open(path, 'rb') as file:  # `.npy` arrays one behind the other
        arrays = [np.load(file, allow_pickle=False) for _ in range(7)]
    np.testing.assert_array_equal(arrays[1], fresh.sizes)


CHANGES = {
    'new image': lambda f: (f / 'a/new.jpg').write_bytes(b''),
    'image gone': lambda f: (f / 'a.b/0.webp').unlink(),
    'renamed': lambda f: (f / 'a/9.jpg').rename(f / 'a/8.jpg'),
    'new folder': lambda f: (f / 'a/deep/new').mkdir(),
    'image behind a link': lambda f: (f / 'b/new.jpg').write_bytes(b''),
    'folder gone': lambda f: shutil.rmtree(f / 'Ünï'),
    'link to another folder': lambda f: [
        (f / 'again').unlink(),
        (f / 'again').symlink_to(f / 'a-b'),
    ],
    'another folder in its place': lambda f: [
        shutil.copytree(f, f.parent / 'copy', symlinks=True),
        shutil.rmtree(f),
        (f.parent / 'copy').rename(f),
        (f / 'new.jpg').write_bytes(b''),
    ],
}


@pytest.mark.parametrize('change', CHANGES)
def test_a_stale_index_is_noticed(linked, tmp_path, change, monkeypatch):
    kept_index(tmp_path / 'kept', linked)
    for parent, *_ in os.walk(linked, followlinks=False):  # clocks tick slowly
        os.utime(parent, ns=(0, os.stat(parent).st_mtime_ns - 10**9))
    os.utime(tmp_path / 'elsewhere', ns=(0, 10**18))
    kept_index(tmp_path / 'kept', linked)
    CHANGES[change](linked)
    lines = []
    monkeypatch.setattr(image_index, 'print_log', lambda text, logger: lines.append(text))
    again = kept_index(tmp_path / 'kept', linked)
    assert contents(again) == sorted(slow_listing(linked))
    assert len(lines) == 2 and 'changed since its images were listed' in lines[0]
    no_scan(monkeypatch)
    kept_index(tmp_path / 'kept', linked)


def pickled_array(path):
    with open(path, 'wb') as file:
        np.save(file, np.array([print], dtype=object))


DAMAGES = {
    'cut': lambda p: p.write_bytes(p.read_bytes()[:-1]),
    'empty': lambda p: p.write_bytes(b''),
    'text': lambda p: p.write_text('no index'),
    'pickle': pickled_array,
    'another version': lambda p: p.write_bytes(p.read_bytes().replace(b'mat": 2', b'mat": 1')),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_index_is_made_anew(folder, tmp_path, damage):
    kept_index(tmp_path / 'kept', folder)
    (path,) = (tmp_path / 'kept').iterdir()
    DAMAGES[damage](path)
    with pytest.raises(ValueError):
        open_index(path)
    assert contents(kept_index(tmp_path / 'kept', folder)) == sorted(slow_listing(folder))
    assert contents(open_index(path)) == sorted(slow_listing(folder))


def test_where_nothing_can_be_kept(folder, tmp_path, monkeypatch):
    """A work directory that was moved away, or a full disk."""
    assert list(kept_index(tmp_path / 'gone' / 'kept', folder)) == sorted(NAMES)
    assert not (tmp_path / 'gone').exists()

    def fail(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    assert list(kept_index(tmp_path / 'kept', folder)) == sorted(NAMES)
    assert not list((tmp_path / 'kept').iterdir())


def test_pickles_name_the_file(folder, tmp_path):
    mapped = kept_index(tmp_path / 'kept', folder)
    small = pickle.dumps(mapped)
    assert len(small) < 400 and copy.deepcopy(mapped) is mapped
    alone = pickle.loads(pickle.dumps(scan_images(folder)))
    assert contents(alone) == contents(pickle.loads(small)) == contents(mapped)
    (path,) = (tmp_path / 'kept').iterdir()
    path.unlink()  # what is mapped stays
    assert contents(pickle.loads(pickle.dumps(mapped))) == contents(alone)
    kept_index(tmp_path / 'kept', folder)
    assert contents(pickle.loads(pickle.dumps(mapped))) == contents(alone)
    with pytest.raises(RuntimeError, match='was replaced'):
        pickle.loads(small)
