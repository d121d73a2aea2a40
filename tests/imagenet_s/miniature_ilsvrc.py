"""A miniature ILSVRC 2012 with generated images, and the official lists and archives to match.

The categories and the merging are the real ones of a subset; there are few and tiny images. Lists
are written in the formats of the official repository.
"""

import io
import os
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.tiny_layout import write_image, write_label_map

MERGED = dict(  # spelt out again: the package's own table is under test
    n04356056='n04355933',
    n04493381='n02808440',
    n03642806='n03832673',
    n04008634='n03773504',
    n03887697='n15075141',
)
WNIDS = ('n02808440', 'n03773504', 'n04355933', 'n07749582')  # all but the last are merged into
PLAIN = WNIDS[-1]
TRAIN, SEMI, VALIDATION, TEST = 2, 1, 2, 1  # images of an ILSVRC category; SEMI are in TRAIN too
SIZE = (10, 14)


@dataclass
class MiniatureILSVRC:
    """What was written.

    Attributes:
        root: `imagenet/` and `lists/` lie here.
        wnids: Of the subset, in the order of their ids.
        counts: Number of images of each split, as "published" for the miniature.
        masks: `<split>-segmentation/<wnid>/<name>.png` to its file, for archives.
    """

    root: Path
    subset: int
    wnids: list[str]
    counts: dict[str, int]
    masks: dict[str, Path]

    @property
    def imagenet(self):
        return self.root / 'imagenet'

    @property
    def lists(self):
        return self.root / 'lists'

    def arguments(self, out, *more):
        """Arguments of tools/prepare_imagenet_s.py."""
        paths = (str(self.imagenet), str(out), '--lists', str(self.lists))
        return [*paths, '--subset', str(self.subset), *map(str, more)]


def build_miniature(root, subset, wnids, flat_val=False, two_columns=True):
    """Write everything; `flat_val` puts the val images into no wnid folders."""
    sources = sorted({*wnids, *(s for s, t in MERGED.items() if subset == 919 and t in wnids)})
    rng, number, semi, mapped = np.random.default_rng(0), 0, [], dict(validation=[], test=[])
    image = write_image(root / 'image.JPEG', rng.integers(0, 256, (*SIZE, 3))).read_bytes()
    mask_files = {}
    for wnid in sources:
        target = wnid if wnid in wnids else MERGED[wnid]
        for i in range(TRAIN):
            write_bytes(root / f'imagenet/train/{wnid}/{wnid}_{i}.JPEG', image)
        if target == wnid:
            semi += [f'{target}/{wnid}_{i}' for i in range(SEMI)]
        for split in ['validation'] * VALIDATION + ['test'] * TEST:
            number += 1
            name = f'ILSVRC2012_val_{number:08d}'
            write_bytes(root / 'imagenet/val' / ('' if flat_val else wnid) / f'{name}.JPEG', image)
            mapped[split].append(f'{wnid}/{name}.JPEG {target}/{name}.JPEG')
    for place in semi:
        mask_files[f'train-semi-segmentation/{place}.png'] = place
    for line in mapped['validation']:
        place = line.split()[1].removesuffix('.JPEG')
        mask_files[f'validation-segmentation/{place}.png'] = place
    for name, place in mask_files.items():
        mask_files[name] = mask_of(root, wnids, place.partition('/')[0])
    lines = [f'{p}.JPEG {p}.png' if two_columns else f'{p}.JPEG' for p in semi]
    write_list(root / f'lists/names/ImageNetSemi_im{subset}_train.txt', lines)
    for split, entries in mapped.items():
        write_list(root / f'lists/mapping/ImageNetS_im{subset}_mapping_{split}.txt', entries)
    counts = {
        'train': len(sources) * TRAIN,
        'train-semi': len(semi),
        'validation': len(mapped['validation']),
        'test': len(mapped['test']),
    }
    if subset == 919:
        counts['train-full'] = len(sources) * TRAIN
    return MiniatureILSVRC(root, subset, list(wnids), counts, mask_files)


def mask_of(root, wnids, wnid, size=SIZE):
    """A mask with the category's id, "others" and ignored pixels."""
    path = root / 'masks' / f'{wnid}.png'
    if not path.exists():
        labels = np.zeros(size, int)
        labels[2:8, 3:9] = wnids.index(wnid) + 1
        labels[0] = 1000
        write_label_map(path, labels)
    return path


def write_zip(path, contents):
    """Names to bytes or files."""
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in contents.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return path


def write_tar(path, contents, mode='w:gz'):
    """Names to bytes, files or ready headers."""
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            data = content if isinstance(content, bytes) else content.read_bytes()
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path


def write_bytes(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_list(path, lines):
    write_bytes(path, ''.join(f'{line}\n' for line in lines).encode())


def files_of(folder, suffix='.JPEG'):
    """Sorted relative paths; links to folders are followed."""
    found = os.walk(folder, followlinks=True)
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in found
        for name in names
        if name.endswith(suffix)
    )
