"""What ImageNet-S consists of: its categories, the official lists and the published numbers."""

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

SUBSETS = (50, 300, 919)
SHOWN = 3  # names in a message


@cache
def imagenet_s_categories(subset: int) -> tuple[tuple[str, str], ...]:
    """WordNet id and name of every category of a subset; position i holds id i + 1.

    Args:
        subset: 50, 300 or 919.

    Raises:
        ValueError: If there is no such subset.
    """
    if subset not in SUBSETS:
        raise ValueError(f'ImageNet-S has the subsets {SUBSETS}, not {subset!r}')
    table = resources.files('luss_mm.imagenet_s') / 'categories.csv'
    with table.open(newline='', encoding='utf-8') as file:
        rows = [row for row in csv.DictReader(file) if row['subset'] == str(subset)]
    return tuple((row['wnid'], row['name']) for row in sorted(rows, key=lambda r: int(r['id'])))


# ImageNet-1k category -> the one of ImageNet-S919 that it is merged into; official README.
MERGED = {
    'n04356056': 'n04355933',
    'n04493381': 'n02808440',
    'n03642806': 'n03832673',
    'n04008634': 'n03773504',
    'n03887697': 'n15075141',
}
# Published numbers of images; train-full is the whole of ILSVRC 2012 train.
NUM_IMAGES = {
    50: {'train': 64_431, 'train-semi': 500, 'validation': 752, 'test': 1_682},
    300: {'train': 384_862, 'train-semi': 3_000, 'validation': 4_097, 'test': 9_088},
    919: {
        'train': 1_183_322,
        'train-full': 1_281_167,
        'train-semi': 9_190,
        'validation': 12_419,
        'test': 27_423,
    },
}
MASKED_SPLITS = ('train-semi', 'validation')  # the masks of test are not published
LIST_FILES = {
    'train-semi': 'names/ImageNetSemi_im{subset}_train.txt',
    'validation': 'mapping/ImageNetS_im{subset}_mapping_validation.txt',
    'test': 'mapping/ImageNetS_im{subset}_mapping_test.txt',
}
IMAGE_SUFFIX = '.JPEG'
_IMAGE_NAME = re.compile(r'(n\d{8})/(\w+)\.JPEG', re.ASCII)


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of a list.

    Attributes:
        source: `<wnid>/<file>.JPEG` below ILSVRC train (for train-semi) or val.
        target: `<wnid>/<file>.JPEG` below the split.
    """

    source: str
    target: str

    @property
    def mask(self) -> str:
        """`<wnid>/<file>.png` below `<split>-segmentation`."""
        return self.target.removesuffix(IMAGE_SUFFIX) + '.png'


def read_list(lists: Path, subset: int, split: str) -> list[ListedImage]:
    """Images of a split by the official list.

    A line of validation and test is `<source image> <target image>`. A line of train-semi is
    `<target image>`, in later versions `<target image> <mask>`; the prefix of the file's name is
    the category that it has in ILSVRC.

    Args:
        lists: Folder `data/` of the official ImageNet-S repository.
        subset: 50, 300 or 919.
        split: 'train-semi', 'validation' or 'test'.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If a line is malformed, names a foreign category or repeats an image, or if
            there are not as many as published.
    """
    path = Path(lists) / LIST_FILES[split].format(subset=subset)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such list. --lists is the folder data/ of a clone of '
            'https://github.com/LUSSeg/ImageNet-S.'
        )
    wnids = {wnid for wnid, _ in imagenet_s_categories(subset)}
    images: dict[str, ListedImage] = {}
    text = path.read_text(encoding='utf-8', errors='replace')  # no name has what replaces
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            image = _train_semi_image(line) if split == 'train-semi' else _mapped_image(line)
            if (wnid := image.target.partition('/')[0]) not in wnids:
                raise ValueError(f'{wnid} is no category of ImageNet-S{subset}')
            if image.target in images:
                raise ValueError(f'{image.target} is listed twice')
        except ValueError as error:
            raise ValueError(f'{path}, line {number}: {error}. Take the official file.') from None
        images[image.target] = image
    expected = NUM_IMAGES[subset][split]
    if len(images) != expected:
        raise ValueError(
            f'{path}: lists {len(images):,} images, {split} of ImageNet-S{subset} has '
            f'{expected:,}. Take the official file.'
        )
    return list(images.values())


def train_folders(train: Path, subset: int) -> dict[str, list[Path]]:
    """ILSVRC train folders whose images make up each category of ImageNet-S train.

    Raises:
        FileNotFoundError: If folders are missing.
    """
    folders = {wnid: [Path(train, wnid)] for wnid, _ in imagenet_s_categories(subset)}
    if subset == 919:
        for source, target in MERGED.items():
            folders[target].append(Path(train, source))
    missing = [str(f) for sources in folders.values() for f in sources if not f.is_dir()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} folders of ILSVRC 2012 train are not there: {first_names(missing)}. '
            'IMAGENET is the folder that holds train/<wnid>/ and val/.'
        )
    return folders


def first_names(names: list[str]) -> str:
    """The first few names, for messages."""
    return ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')


def _train_semi_image(line: str) -> ListedImage:
    target, *rest = line.split()
    match = _IMAGE_NAME.fullmatch(target)
    if match is None:
        raise ValueError(f'{target!r} is not <wnid>/<file>{IMAGE_SUFFIX}')
    image = ListedImage(f'{match[2].partition("_")[0]}/{match[2]}{IMAGE_SUFFIX}', target)
    if _IMAGE_NAME.fullmatch(image.source) is None:
        raise ValueError(f'{target!r}: the file name does not begin with a wnid')
    if rest not in ([], [image.mask]):
        raise ValueError(f'{" ".join(rest)!r} is not the mask {image.mask} of the image')
    return image


def _mapped_image(line: str) -> ListedImage:
    words = line.split()
    if len(words) != 2 or not all(map(_IMAGE_NAME.fullmatch, words)):
        raise ValueError(f'{line!r} is not <wnid>/<file>{IMAGE_SUFFIX} twice')
    return ListedImage(*words)
