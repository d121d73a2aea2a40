"""ImageNet-S50, -S300 and -S919 with the official categories in the order of their ids."""

import csv
from functools import cache
from importlib import resources

from mmseg.registry import DATASETS

from luss_mm.datasets.luss_dataset import LUSSDataset

SUBSETS = (50, 300, 919)


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


@DATASETS.register_module()
class ImageNetSDataset(LUSSDataset):
    """An ImageNet-S split; `dataset_meta` has names, WordNet ids and a palette of all K + 1 ids.

    Args:
        subset: 50, 300 or 919.
        metainfo: Added to the official metainfo.
        **kwargs: As `LUSSDataset`, except categories.
    """

    def __init__(self, subset: int, metainfo: dict | None = None, **kwargs: object) -> None:
        categories = imagenet_s_categories(subset)
        names = [name for _, name in categories]
        metainfo = dict(wnids=tuple(wnid for wnid, _ in categories)) | dict(metainfo or {})
        super().__init__(categories=names, metainfo=metainfo, **kwargs)
