"""The official categories of ImageNet-S50, -S300 and -S919 in the order of their ids."""

import csv
from functools import cache
from importlib import resources

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
