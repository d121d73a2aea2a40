"""Data sets on an index against the lists of dicts that they stand for."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from luss_mm.datasets import ClassLabelDataset, LUSSDataset, RelabelledDataset
from luss_mm.datasets.image_index import ImageEntries, ImagePaths
from luss_mm.datasets.image_walk import sharing_in
from tests.datasets.semi_layout import write_split
from tests.tiny_layout import write_image

pytestmark = pytest.mark.usefixtures('mmseg_scope')

TRAIN = [
    'ant/0.JPEG',
    'ant/1.jpg',
    'ant/deep/2.png',
    'bee-/3.jpg',
    'bee/3.jpg',
    'bee/4.a.jpg',
    os.fsdecode(b'bee/\xff.jpg'),
]
EXTRA = ['ant/9.jpg', 'cat/5.bmp']
PREFIX = dict(img_path=['train', 'extra'], seg_map_path='masks')


@pytest.fixture
def root(tmp_path):
    """Two folders of images, of some of which there are masks, and one link to nowhere."""
    for folder, names in (('train', TRAIN), ('extra', EXTRA)):
        for number, name in enumerate(names):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b'x' * (3 * number + len(folder)))
    (tmp_path / 'train/ant/nowhere.jpg').symlink_to('gone.jpg')
    for number, name in enumerate(['ant/0.png', 'bee/4.a.png', 'cat/5.png']):
        (tmp_path / 'masks' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'masks' / name).write_bytes(b'm' * (number + 1))
    return tmp_path


def slow_entries(root, prefix, tags=None):
    """A dict an image, in order."""
    entries = []
    for folder in prefix['img_path']:
        names = [p.relative_to(root / folder).as_posix() for p in (root / folder).rglob('*.*')]
        for name in sorted(names):
            entry = dict(
                img_path=str(root / folder / name),
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
                sample_idx=len(entries),
            )
            if prefix.get('seg_map_path'):
                entry['seg_map_path'] = str(root / prefix['seg_map_path'] / name)
                entry['seg_map_path'] = os.path.splitext(entry['seg_map_path'])[0] + '.png'
            if tags:
                entry['image_tags'] = (tags[name.split('/')[0]],)
            entries.append(entry)
    return entries


def slow_fingerprint(dataset):
    """The definition: a loop over the dicts that asks for every size."""
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        entry = dataset.get_data_info(index)
        path = Path(entry['img_path'])
        folder = next(f for f in dataset.image_folders if path.is_relative_to(f))
        assert dataset.relative_path(index) == path.relative_to(folder).as_posix()
        size = path.stat().st_size if path.exists() else -1
        digest.update(os.fsencode(f'{path.relative_to(folder).as_posix()}\0{size}\n'))
        if 'image_tags' in entry:
            digest.update(f'{entry["image_tags"]}\n'.encode())
        mask = Path(entry.get('seg_map_path', '/gone'))
        if any(mask.is_relative_to(f) for f in dataset.given_folders) and mask.exists():
            digest.update(f'{mask.stat().st_size}\n'.encode())
    return digest.hexdigest()


def infos(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def renumbered(entries):
    return [dict(entry, sample_idx=i) for i, entry in enumerate(entries)]


@pytest.fixture(params=[False, True], ids=['own list', 'kept list'])
def make(request, root):
    """Makes a data set of both folders, with or without a kept index."""

    def dataset(kind=LUSSDataset, prefix=PREFIX, **settings):
        kept = dict(image_index=str(root / 'index')) if request.param else {}
        return kind(data_root=str(root), data_prefix=prefix, pipeline=[], **kept, **settings)

    return dataset


def test_dicts_are_those_of_a_list(root, make):
    dataset = make()
    assert infos(dataset) == slow_entries(root, PREFIX)
    assert dataset.get_data_info(-1)['img_path'] == infos(dataset)[-1]['img_path']
    with pytest.raises(IndexError):
        dataset.get_data_info(len(dataset))
    dataset.get_data_info(0)['seg_fields'].append('changed by a transform')
    assert dataset.get_data_info(0)['seg_fields'] == []
    paths = ImagePaths(dataset)
    assert list(paths) == [e['img_path'] for e in infos(dataset)]
    assert paths[np.int64(3)] == paths[3 - len(paths)]


FOLDERS = {
    'train': ['train'],
    'both': ['train', 'extra'],
    'the inner one first': ['train/ant', 'train'],
    'the outer one first': ['train', 'train/ant'],
    'the root first': ['.', 'train'],
}


@pytest.mark.parametrize('folders', FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize('masks', ['', 'masks', '.', '/elsewhere'])
def test_fingerprint_is_what_it_was(make, root, folders, masks):
    if masks and folders[0] == '.':
        masks = ''  # would be shared
    if masks == 'masks' and len(folders) > 1 and 'extra' not in folders:
        (root / 'masks/0.png').write_bytes(b'one')
    dataset = make(prefix=dict(img_path=folders, seg_map_path=masks))
    assert len(dataset) > 5 and dataset.fingerprint() == slow_fingerprint(dataset)


def test_fingerprint_follows_sizes_tags_and_masks(make, root):
    found = {make().fingerprint(), make(tags='folders', metainfo=TAGS).fingerprint()}
    (root / 'masks/cat/5.png').write_bytes(b'longer')
    found.add(make().fingerprint())
    (root / 'extra/new.jpg').write_bytes(b'')
    found.add(make().fingerprint())
    assert len(found) == 4


TAGS = dict(wnids=('cat', 'bee', 'ant', 'bee-'))


def test_tags(make, root):
    ids = {name: i for i, name in enumerate(TAGS['wnids'], start=1)}
    dataset = make(tags='folders', metainfo=TAGS)
    assert infos(dataset) == slow_entries(root, PREFIX, ids)
    assert dataset.fingerprint() == slow_fingerprint(dataset)
    of_both_folders = {name: i for i, name in enumerate(('ant', 'bee', 'bee-', 'cat'), start=1)}
    assert infos(make(tags='folders')) == slow_entries(root, PREFIX, of_both_folders)
    (root / 'train/0.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match=r'train/0.jpg: .* one of the 4 categories'):
        make(tags='folders', metainfo=TAGS)


@pytest.mark.parametrize('indices', [3, 0, -2, [5, 0, 0, -1], range(1, 8, 3), []])
def test_subsets(make, root, indices):
    entries = slow_entries(root, PREFIX)
    if isinstance(indices, int):
        expected = entries[:indices] if indices >= 0 else entries[indices:]
    else:
        expected = [entries[i] for i in indices]
    whole, inner = make(), make()
    inner.get_subset_(indices)
    for dataset in (make(indices=indices), whole.get_subset(indices), inner):
        assert isinstance(dataset.data_list, ImageEntries)
        assert infos(dataset) == renumbered(expected)
        assert dataset.fingerprint() == slow_fingerprint(dataset)
    assert len(whole) == len(entries)
    with pytest.raises(IndexError):
        make(indices=[len(entries)])


def test_bad_images_are_left_out(make, root):
    entries = slow_entries(root, PREFIX)
    bad = [entries[i]['img_path'] for i in (0, 4, 7, 9)]
    others = [str(root / 'train/ant/gone.jpg'), '/elsewhere/ant/0.JPEG', 'ant/0.JPEG']
    listed = root / 'bad_images.json'
    listed.write_text(json.dumps([dict(image=path, problem='') for path in bad + others]))
    dataset = make(bad_images=str(listed))
    assert infos(dataset) == renumbered([e for e in entries if e['img_path'] not in bad])
    assert dataset.fingerprint() == slow_fingerprint(dataset)
    listed.write_text(json.dumps([dict(image=e['img_path'], problem='') for e in entries]))
    with pytest.raises(ValueError, match=f'none of {len(entries)} images can be used'):
        make(bad_images=str(listed))


def test_class_labels_follow_what_was_left_out_and_selected(make, root):
    entries = slow_entries(root, PREFIX)
    listed = root / 'bad_images.json'
    listed.write_text(json.dumps([dict(image=entries[1]['img_path'], problem='')]))
    count = len(entries) - 1
    losses = np.random.default_rng(0).permutation(count).astype(np.float32)
    np.save(root / 'losses.npy', losses)
    np.save(root / 'labels.npy', np.arange(count) * 10)
    dataset = make(
        ClassLabelDataset,
        class_labels=str(root / 'labels.npy'),
        losses=str(root / 'losses.npy'),
        small_loss=dict(rule='absolute', value=5),
        bad_images=str(listed),
        indices=[3, 1],
    )
    kept = np.flatnonzero(losses < 5)[[3, 1]]
    left = [e for i, e in enumerate(entries) if i != 1]
    expected = [dict(left[i], position=int(i)) for i in kept]
    assert infos(dataset) == renumbered(expected)
    assert [dataset.prepare_data(i)['class_label'] for i in (0, 1)] == [10 * i for i in kept]
    assert dataset.fingerprint() == slow_fingerprint(dataset)


def test_images_that_differ_in_the_suffix_keep_it_in_their_label_maps(make, root):
    for name in ('1.png', '1.k.jpg', '1.jpg.jpg', '1.jpg.jpg.gif'):
        (root / 'train/ant' / name).write_bytes(b'')
    prefix = dict(img_path='train', seg_map_path='masks')
    labelled = make(prefix=prefix)
    paths = [Path(path).relative_to(root / 'masks').as_posix() for path in labelled.label_paths()]
    assert len({*paths}) == len(paths) == len(labelled)
    kept = {'ant/1.jpg', 'ant/1.png', 'ant/1.jpg.jpg', 'ant/1.jpg.jpg.gif'}
    expected = [f'{n if n in kept else os.path.splitext(n)[0]}.png' for n in labelled.all_paths()]
    assert paths == expected
    chosen = make(prefix=prefix, indices=[2, 1])
    assert [*chosen.label_paths()] == [str(root / 'masks' / paths[i]) for i in (2, 1)]
    unlabelled = make(prefix=dict(img_path='train'))  # as of who writes them
    assert [unlabelled.label_map_name(i) for i in range(len(unlabelled))] == paths
    assert sharing_in(root / 'train/ant') == {Path(name).name for name in kept}


def test_images_of_two_folders_with_one_label_map_are_refused(make, root):
    (root / 'extra/ant/1.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match=r'extra/ant/1.jpg and .*train/ant/1.jpg share the label'):
        make()
    make(prefix=dict(img_path=['train', 'train'], seg_map_path='masks'))  # twice the same image


def test_relabelled_parts(make, root):
    """Of repeated relative paths the first counts; names below each part's own folders."""
    lists = write_split(root / 'lists')
    voc = dict(type='ImageListDataset', image_list=lists[1], data_root=str(root / 'lists'))
    kinds = [
        dict(img_path='extra'),
        dict(img_path=['train/ant', 'train']),
        dict(img_path=['train']),
    ]
    parts = [
        dict(type='LUSSDataset', data_root=str(root), data_prefix=prefix, indices=range(2))
        for prefix in kinds
    ]
    write_image(root / 'extra/ant/0.JPEG', np.zeros((4, 4, 3)))
    dataset = RelabelledDataset([*parts, voc], dict(seg_map_path=str(root / 'maps')))
    expected = {}
    for part in dataset.parts:
        for index in range(len(part)):
            image = part.get_data_info(index)['img_path']
            expected.setdefault(part.relative_path(index), image)
    found = [(e['seg_map_path'], e['img_path']) for e in infos(dataset)]
    assert found == [
        (str((root / 'maps' / name).with_suffix('.png')), image) for name, image in expected.items()
    ]
    assert len(found) == 2 + 2 + 1 + 5 and dataset.fingerprint() == slow_fingerprint(dataset)
