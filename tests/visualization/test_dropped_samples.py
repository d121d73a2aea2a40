import numpy as np
import pytest

from luss_mm.visualization import dropped_samples
from luss_mm.visualization.dropped_samples import save_dropped_sheets
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
    shown, draw = [], dropped_samples.contact_sheet

    def watched(image_paths, captions, title):
        shown.append(([p.stem for p in image_paths], captions, title))
        return draw(image_paths, captions, title)

    monkeypatch.setattr(dropped_samples, 'contact_sheet', watched)
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
