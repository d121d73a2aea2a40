import cv2
import numpy as np
import pytest

from luss_mm.visualization import contact_sheet


def write_image(path, colour, height=30, width=50):
    image = np.zeros((height, width, 3), np.uint8) + np.array(colour, np.uint8)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def pixels_of(sheet, colour):
    return np.argwhere((sheet == colour).all(-1))


def test_tiles_are_square_and_in_rows(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    sizes = [(30, 50), (70, 20), (8, 8)]
    paths = [
        write_image(tmp_path / f'{i}.png', colour, *size)
        for i, (colour, size) in enumerate(zip(colours, sizes, strict=True))
    ]
    sheet = contact_sheet(paths, columns=2, tile=24)
    assert sheet.dtype == np.uint8
    corners = []
    for colour in colours:
        where = pixels_of(sheet, colour)
        assert np.ptp(where, axis=0).tolist() == [23, 23] and len(where) == 24 * 24
        corners.append(where.min(0))
    assert corners[0][0] == corners[1][0] < corners[2][0]
    assert corners[0][1] == corners[2][1] < corners[1][1]


@pytest.mark.parametrize('content', [None, b'', b'no image at all', b'\xff\xd8\xff\xe0 cut'])
def test_unreadable_files_become_crossed_grey_tiles(tmp_path, content):
    good = write_image(tmp_path / 'good.png', (0, 200, 0))
    bad = tmp_path / 'bad.JPEG'
    if content is not None:
        bad.write_bytes(content)
    sheet = contact_sheet([bad, good], columns=2, tile=32)
    assert len(pixels_of(sheet, (0, 200, 0))) == 32 * 32
    tile = sheet[4:36, 4:36]
    assert tile.std() > 0  # the cross and the name
    assert (tile[..., 0] == tile[..., 2])[[0, -1]].all()  # grey
    corners, edge = tile[[0, 0, -1, -1], [0, -1, 0, -1], 0], tile[16, 0, 0]
    assert (corners < edge).all()
