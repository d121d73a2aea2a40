"""A few images with palette masks and the lists of a semi-supervised split."""

import numpy as np
from PIL import Image

from tests.tiny_layout import write_image

LABELLED, UNLABELLED = 3, 5
VOID = 255


def write_palette_mask(path, labels):
    """Write ids (H, W) as an indexed PNG whose colours have nothing to do with the ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, np.uint8), mode='P')
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(path)
    return path


def write_lines(path, *lines):
    path.write_text(''.join(f'{line}\n' for line in lines))
    return str(path)


def write_split(root, labelled=LABELLED, unlabelled=UNLABELLED):
    """Images `images/<i>.jpg` (sides 24-40) and masks `masks/<i>.png` with ids 0..3 and void.

    Returns:
        Paths of `labelled.txt`, lines `image mask`, and `unlabelled.txt`, lines `image`.
    """
    rng = np.random.default_rng(0)
    for i in range(labelled + unlabelled):
        size = tuple(rng.integers(24, 41, 2))
        write_image(root / 'images' / f'{i}.jpg', rng.integers(0, 256, (*size, 3)))
        labels = rng.integers(0, 4, size)
        labels[0] = VOID
        write_palette_mask(root / 'masks' / f'{i}.png', labels)
    lines = [f'images/{i}.jpg masks/{i}.png' for i in range(labelled)]
    images = [f'images/{i}.jpg' for i in range(labelled, labelled + unlabelled)]
    return (
        write_lines(root / 'labelled.txt', *lines),
        write_lines(root / 'unlabelled.txt', *images),
    )


def semi_config(root, lists, labelled_views, unlabelled_views, **unlabelled):
    """Config of a SemiDataset over `write_split`'s lists."""

    def part(image_list, views, **settings):
        return dict(
            type='ImageListDataset',
            image_list=image_list,
            data_root=str(root),
            pipeline=[
                dict(type='LoadBoundedImage'),
                dict(type='LoadIndexedLabelMap'),
                dict(type='MarkValidPixels'),
                dict(type='PackViews', views=views),
            ],
            **settings,
        )

    return dict(
        type='SemiDataset',
        labelled=part(lists[0], labelled_views),
        unlabelled=part(lists[1], unlabelled_views, **(dict(masks=False) | unlabelled)),
    )
