import cv2
import numpy as np
import pytest

from luss_mm.functional.palette import category_palette
from luss_mm.visualization import step_pictures
from luss_mm.visualization.overlays import blend_labels, picture_strip
from luss_mm.visualization.step_pictures import save_dropped_sheets, save_label_strip
from tests.tiny_layout import write_image

ASSIGNMENT = np.array([0, 2, 0, 2, 0, 3, 2])
KEPT = np.array([0, 1, 0, 0, 1, 1, 0], bool)
QUALITY = np.array([-0.5, -0.1, -0.9, -0.25, -0.1, -0.2, -0.25])


@pytest.fixture
def paths(tmp_path):
    return [write_image(tmp_path / f'{i}.png', np.full((8, 8, 3), 30 * i)) for i in range(7)]


@pytest.fixture
def sheets(monkeypatch):
    """What every sheet would show: (names of its images, captions, title)."""
    shown, draw = [], step_pictures.contact_sheet

    def watched(image_paths, captions, title):
        shown.append(([p.stem for p in image_paths], captions, title))
        return draw(image_paths, captions, title)

    monkeypatch.setattr(step_pictures, 'contact_sheet', watched)
    return shown


def test_dropped_images_by_cluster_worst_first(tmp_path, paths, sheets):
    save_dropped_sheets(tmp_path / 'out', paths, ASSIGNMENT, KEPT, QUALITY, 'ratio')
    assert sheets == [
        (
            ['2', '0'],
            ['ratio 0.900', 'ratio 0.500'],
            'cluster 1: 2 of 3 images dropped, worst first',
        ),
        (
            ['3', '6'],
            ['ratio 0.250', 'ratio 0.250'],
            'cluster 3: 2 of 3 images dropped, worst first',
        ),
    ]
    # neither the cluster without images nor the one that lost none has a sheet
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        'cluster-001.jpg',
        'cluster-003.jpg',
    ]


def test_no_more_images_than_asked_for(tmp_path, paths, sheets):
    save_dropped_sheets(tmp_path, paths, ASSIGNMENT, KEPT, QUALITY, 'distance', 1)
    assert [names for names, _, _ in sheets] == [['2'], ['3']]
    assert sheets[0][2].startswith('cluster 1: 2 of 3 images')


def test_nothing_dropped(tmp_path, paths, sheets):
    save_dropped_sheets(tmp_path / 'out', paths, ASSIGNMENT, KEPT | True, QUALITY, 'margin')
    assert sheets == []


def test_image_and_label_maps_in_their_order(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    maps = {'pseudo-label': rng.choice([0, 3], (20, 30)), 'mask': rng.choice([0, 1, 99], (20, 30))}
    palette = category_palette(4)
    save_label_strip(tmp_path / 'a.png', image, maps, palette, ignore_index=99)
    found = cv2.imread(str(tmp_path / 'a.png'))[..., ::-1]
    panels = [('image', image)]
    for title, labels in maps.items():
        panels.append((title, blend_labels(image, labels, palette, ignore_index=99)))
    np.testing.assert_array_equal(found, picture_strip(panels))
    assert (found != picture_strip(panels[:1] + panels[:0:-1])).any()
