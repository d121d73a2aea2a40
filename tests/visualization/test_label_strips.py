"""Label maps beside their image, without loss."""

import cv2
import numpy as np

from luss_mm.functional.label_codec import category_palette
from luss_mm.visualization.label_strips import save_label_strip
from luss_mm.visualization.overlays import blend_labels, picture_strip


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
