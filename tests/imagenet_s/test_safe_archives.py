import errno
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from luss_mm.imagenet_s import archives
from luss_mm.imagenet_s.archives import ArchiveError, Member, list_members, unpack
from tests.imagenet_s.miniature_ilsvrc import write_tar, write_zip

CONTENTS = {'a/one.png': b'first', 'a/b/two.png': b'the second', 'notes.txt': b''}
UNSAFE_NAMES = ('/etc/one.png', '../one.png', 'a/../../one.png', 'a\\..\\one.png', 'C:/one.png')
PACK = dict(zip=write_zip, tar=lambda p, c: write_tar(p, c, 'w'), gz=write_tar)


@pytest.fixture(params=PACK)
def pack(request, tmp_path):
    return lambda contents: PACK[request.param](tmp_path / 'archive', contents)


def tar_header(name, kind, target=''):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def test_lists_and_unpacks_what_was_packed(pack, tmp_path):
    path = pack(CONTENTS)
    assert list_members(path) == [Member(name, len(data)) for name, data in CONTENTS.items()]
    targets = {name: tmp_path / 'out' / f'{i}' for i, name in enumerate(CONTENTS)}
    del targets['notes.txt']
    assert list(unpack(path, targets)) == list(targets.values())
    assert {p.name: p.read_bytes() for p in (tmp_path / 'out').iterdir()} == {
        '0': b'first',
        '1': b'the second',
    }


@pytest.mark.parametrize('name', UNSAFE_NAMES)
def test_names_that_lead_out_are_refused(pack, name):
    with pytest.raises(ArchiveError, match='Nothing was unpacked'):
        list_members(pack(CONTENTS | {name: b'x'}))


@pytest.mark.parametrize(
    'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
@pytest.mark.parametrize('target', ['/etc/passwd', 'a/one.png'])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, target):
    path = write_tar(tmp_path / 'x.tar', CONTENTS | {'link': tar_header('link', kind, target)})
    with pytest.raises(ArchiveError, match="'link' is a link or a device"):
        list_members(path)


@pytest.mark.parametrize('content', [b'x', b''])
def test_a_member_without_a_name_is_refused(tmp_path, content):
    path = write_zip(tmp_path / 'x.zip', {'n': content})
    damaged = bytearray(path.read_bytes())
    directory = damaged.index(b'PK\1\2')
    end = damaged.index(b'PK\5\6')
    damaged[directory + 28 : directory + 30] = bytes(2)  # length of the name
    damaged[directory + 30] += 1  # of the extra field, which the name now is
    path.write_bytes(damaged)
    assert damaged[end - 1 : end] == b'n'
    with pytest.raises(ArchiveError, match="'' has a name with characters that are unsafe"):
        list_members(path)


def test_links_and_encrypted_files_in_a_zip_are_refused(tmp_path):
    entry = zipfile.ZipInfo('link')
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / 'link.zip', 'w') as archive:
        archive.writestr(entry, '/etc')
    with pytest.raises(ArchiveError, match='is a link'):
        list_members(tmp_path / 'link.zip')
    path = write_zip(tmp_path / 'x.zip', {'one.png': b'x'})
    content = bytearray(path.read_bytes())
    content[content.index(b'PK\1\2') + 8] |= 1  # the flag in the central directory
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match='is encrypted'):
        list_members(path)


@pytest.mark.parametrize('size', [9, 2**31])
def test_a_directory_that_points_outside_the_zip_is_refused(tmp_path, size):
    path = write_zip(tmp_path / 'x.zip', {'one.png': b'x'})
    content = bytearray(path.read_bytes())
    end = content.index(b'PK\5\6')
    content[end + 16 : end + 20] = (size + end).to_bytes(4, 'little')  # of the directory's start
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match='x.zip'):
        list_members(path)


def test_folders_are_no_members(tmp_path):
    path = write_zip(tmp_path / 'x.zip', {'a/': b'', 'a/one.png': b'x'})
    assert list_members(path) == [Member('a/one.png', 1)]
    folder = tar_header('a', tarfile.DIRTYPE)
    assert list_members(write_tar(tmp_path / 'x.tar', {'a': folder, 'a/x.png': b'x'})) == [
        Member('a/x.png', 1)
    ]


@pytest.mark.parametrize(
    'bound, value, message',
    [
        ('MAX_FILE_BYTES', 9, 'has 10 bytes'),
        ('MAX_TOTAL_BYTES', 14, 'goes over'),
        ('MAX_MEMBERS', 2, 'goes over'),
    ],
)
def test_size_bounds(pack, monkeypatch, bound, value, message):
    path = pack(CONTENTS)
    monkeypatch.setattr(archives, bound, value + 1)
    list_members(path)
    monkeypatch.setattr(archives, bound, value)
    with pytest.raises(ArchiveError, match=message):
        list_members(path)


def test_what_follows_the_end_of_a_tar_is_bounded(tmp_path, monkeypatch):
    path = write_tar(tmp_path / 'x.tar', CONTENTS, 'w')
    monkeypatch.setattr(archives, 'MAX_TAIL_BYTES', path.stat().st_size)
    list_members(path)
    with open(path, 'ab') as file:
        file.write(bytes(path.stat().st_size))
    with pytest.raises(ArchiveError, match='follow its end'):
        list_members(path)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_a_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as archive:
        archive.writestr('one.png', b'1')
        archive.writestr('one.png', b'2')
    with pytest.raises(ArchiveError, match='is there twice'):
        list_members(tmp_path / 'x.zip')


@pytest.mark.parametrize('keep', [0, 10, 600, 1000])
def test_truncated_archives_are_damaged_and_leave_no_half_file(pack, tmp_path, keep):
    contents = {f'{i}.png': bytes([i]) * 3 + Path(__file__).read_bytes() for i in range(3)}
    path = pack(contents)
    path.write_bytes(path.read_bytes()[:keep])
    targets = {name: tmp_path / 'out' / name for name in contents}
    with pytest.raises(ArchiveError, match='Fetch it again'):
        list_members(path)
        list(unpack(path, targets))
    if (tmp_path / 'out').exists():
        whole = {p.name: p.read_bytes() for p in (tmp_path / 'out').iterdir()}
        assert whole.items() <= contents.items()


def test_altered_content_is_damaged(tmp_path):
    for path in (write_zip(tmp_path / 'x.zip', CONTENTS), write_tar(tmp_path / 'x.gz', CONTENTS)):
        content = bytearray(path.read_bytes())
        place = content.index(b'second') if path.suffix == '.zip' else len(content) - 6  # its CRC
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(ArchiveError, match='is damaged'):
            list_members(path)
            list(unpack(path, {name: tmp_path / 'out' / name for name in CONTENTS}))


def test_a_name_that_is_no_text_is_damaged(tmp_path):
    path = write_zip(tmp_path / 'x.zip', {'grün.png': b'x'})
    content = bytearray(path.read_bytes())
    content[content.rindex('ü'.encode())] = 0xFF
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r'x\.zip is damaged .*utf-8'):
        list_members(path)


def test_altered_bz2_is_damaged_and_a_full_disk_is_not(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w', zipfile.ZIP_BZIP2) as archive:
        archive.writestr('one.png', bytes(500))
    content = bytearray((tmp_path / 'x.zip').read_bytes())
    content[content.index(b'BZh') + 8] ^= 1
    (tmp_path / 'bad.zip').write_bytes(content)
    targets = {'one.png': tmp_path / 'out.png'}
    with pytest.raises(ArchiveError, match="'one.png' is damaged .*Invalid data stream"):
        list(unpack(tmp_path / 'bad.zip', targets))

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(archives.shutil, 'copyfileobj', full)
    with pytest.raises(OSError, match='No space left'):
        list(unpack(tmp_path / 'x.zip', targets))
    assert not (tmp_path / 'out.png').exists()


def test_missing_and_strange_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such archive'):
        list_members(tmp_path / 'none.zip')
    (tmp_path / 'page.zip').write_text('<html>Not Found</html>')
    with pytest.raises(ArchiveError, match='no zip or tar archive'):
        list_members(tmp_path / 'page.zip')
