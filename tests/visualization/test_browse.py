import cv2
import numpy as np
import pytest
import torch

from luss_mm.functional.alignment import overlap_grids
from luss_mm.functional.label_codec import category_palette
from luss_mm.visualization.browse import (
    box_colour,
    boxed,
    draw_points,
    enlarged,
    grid_in_image,
    grid_in_pixels,
    hatch_ignored,
    labels_picture,
    mixed_picture,
    views_picture,
)

GREY = 90


def coordinates(height, width):
    """An image whose red and green tell the column and row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.zeros_like(rows)], -1).astype(np.uint8)


def cut(image, crop, size):
    left, top, width, height, flipped = (int(side) for side in crop)
    view = cv2.resize(image[top : top + height, left : left + width], (size, size))
    return np.ascontiguousarray(view[:, ::-1]) if flipped else view


@pytest.mark.parametrize('flips', [(0, 0), (1, 0), (1, 1)])
def test_pairs_hit_the_same_place_of_the_image(flips):
    """Each point of a view, looked up in a picture of coordinates, is where the image has it."""
    image = coordinates(200, 240)
    crops = torch.tensor([[20.0, 10, 160, 160, flips[0]], [60.0, 40, 160, 128, flips[1]]])
    grids = overlap_grids(crops[:1], crops[1:], 5, 'centre')
    places = grid_in_image(grids[0][0], crops[0])
    np.testing.assert_allclose(places, grid_in_image(grids[1][0], crops[1]), atol=1e-3)
    for crop, grid in zip(crops, grids[:2], strict=True):
        view = cut(image, crop, 320)
        points = np.floor(grid_in_pixels(grid[0], view.shape)).astype(int).reshape(-1, 2)
        found = np.array([view[y, x, :2] for x, y in points])
        np.testing.assert_allclose(found, places.reshape(-1, 2), atol=1.5)


def test_points_have_their_colours_in_both_views():
    canvases = [np.full((224, 224, 3), GREY, np.uint8) for _ in range(2)]
    grid = np.stack(np.meshgrid([30, 100, 170], [40, 110, 180]), -1)
    draw_points(canvases[0], grid)
    draw_points(canvases[1], grid[:, ::-1])  # as in a flipped view
    colours = [
        [tuple(c[y, x]) for x, y in g.reshape(-1, 2)]
        for c, g in zip(canvases, (grid, grid[:, ::-1]), strict=True)
    ]
    assert colours[0] == colours[1] and len(set(colours[0])) == 9


def coloured(picture, colour):
    return (picture == np.array(colour)).all(-1)


def test_views_have_the_colours_of_their_boxes():
    image = np.full((224, 300, 3), GREY, np.uint8)
    views = [np.full((size, size, 3), GREY, np.uint8) for size in (32, 32, 24)]
    crops = torch.tensor([[10.0, 20, 100, 80, 0], [200.0, 120, 60, 60, 1], [50.0, 50, 40, 40, 0]])
    picture = views_picture(image, views, crops, points=(7, 'edge'))
    top = picture.shape[0] - 224 - 6
    whole = picture[top : top + 224, 6 : 6 + 300]
    for number, (left, up, width, height, _) in enumerate(crops.int().tolist()):
        rows, columns = np.nonzero(coloured(whole, box_colour(number)))
        found = columns.min(), rows.min(), columns.max() - columns.min() + 1
        np.testing.assert_allclose(found, (left, up, width), atol=2)
        # the box in the image, and the frame of the view right of it
        assert coloured(picture[:, 306:], box_colour(number)).sum() > 500
        assert rows.max() - rows.min() + 1 == pytest.approx(height, abs=2)


@pytest.mark.parametrize(
    'points, overlapping, expected',
    [((3, 'centre'), True, 3 * 9), ((3, 'edge'), False, 0), (None, True, 0)],
)
def test_points_are_drawn_where_views_overlap(points, overlapping, expected):
    image = np.full((224, 224, 3), GREY, np.uint8)
    second = [60.0, 60, 100, 100, 0] if overlapping else [120.0, 120, 100, 100, 0]
    crops = torch.tensor([[0.0, 0, 100, 100, 0], second])
    views = [np.full((224, 224, 3), GREY, np.uint8)] * 2
    picture = views_picture(image, views, crops, points)
    frames = [coloured(picture, box_colour(n)) for n in range(2)]
    text = np.zeros(picture.shape[:2], bool)
    text[: picture.shape[0] - 230] = True
    saturated = (picture.max(-1).astype(int) - picture.min(-1) > 120) & ~np.any(frames, 0) & ~text
    count, _ = cv2.connectedComponents(saturated.astype(np.uint8))
    assert (count - 1 >= expected) if expected else count - 1 == 0


def test_inputs_stay_as_they_are():
    image = np.full((60, 60, 3), GREY, np.uint8)
    views_picture(
        image, [image, image], torch.tensor([[0.0, 0, 50, 50, 0], [5.0, 5, 50, 50, 0]]), (7, 'edge')
    )
    boxed(image, (1, 2, 30, 30))
    hatch_ignored(image, np.full((60, 60), 1000), 1000)
    assert (image == GREY).all()


def test_labels_are_named_by_size():
    labels = np.zeros((40, 40), np.int64)
    labels[:10], labels[10:12], labels[12] = 255, 3, 1000
    shown = []
    picture = labels_picture([('image', np.full((40, 40, 3), GREY, np.uint8))], labels, None, 1000)
    palette = category_palette(256)
    legend = picture[-80:]
    shown = [i for i in (255, 3, 1) if coloured(legend, palette[i]).sum() > 20]
    assert shown == [255, 3]
    assert (
        np.nonzero(coloured(legend, palette[255]).any(1))[0][0]
        < (np.nonzero(coloured(legend, palette[3]).any(1))[0][0])
    )


def test_a_label_map_without_any_object():
    labels = np.full((30, 30), 1000)
    labels_picture([('image', np.full((30, 30, 3), GREY, np.uint8))], labels, ['others'], 1000)
    labels_picture([('image', np.full((30, 30, 3), GREY, np.uint8))], labels * 0, None, 1000)


def test_a_box_of_the_partner_is_pasted():
    views = dict(
        weak=np.full((32, 32, 3), 10, np.uint8), strong1=np.full((32, 32, 3), 20, np.uint8)
    )
    partners = {name: view + 100 for name, view in views.items()}
    alone = mixed_picture(views, {}, dict(strong1=(4, 8, 16, 20)))
    without = mixed_picture(views, partners, dict(strong1=None))
    mixed = mixed_picture(views, partners, dict(strong1=(4, 8, 16, 20)))
    assert alone.shape[1] == without.shape[1] < mixed.shape[1]
    panel = mixed[-230:-6, -230:-6]  # the last one, 7 pixels for one
    expected = np.full((32, 32), 20)
    expected[8:28, 4:20] = 120
    np.testing.assert_array_equal(panel[3::7, 3::7, 0][10:26, 6:18], expected[10:26, 6:18])
    assert (panel[3::7, 3::7, 0][:6] == 20).all() and (panel[3::7, 3::7, 0][:, 22:] == 20).all()


def test_padding_is_hatched():
    labels = np.zeros((32, 32), np.int64)
    labels[:, :8] = 1000
    hatched = hatch_ignored(np.full((32, 32, 3), GREY, np.uint8), labels, 1000)
    assert (hatched[:, 8:] == GREY).all() and len(np.unique(hatched[:, :8])) == 2


@pytest.mark.parametrize('height', [1, 32, 223, 224, 500])
def test_small_pictures_are_enlarged_by_whole_numbers(height):
    large = enlarged(np.zeros((height, 10, 3), np.uint8))
    assert large.shape[0] >= min(224, large.shape[0]) and large.shape[0] % height == 0
    assert large.shape[1] // 10 == large.shape[0] // height
