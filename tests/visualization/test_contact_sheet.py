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


def test_the_centre_is_what_is_shown(tmp_path):
    image = np.full((40, 120, 3), 255, np.uint8)
    image[:, 40:80] = (0, 0, 90)  # BGR
    cv2.imwrite(str(tmp_path / 'wide.png'), image)
    sheet = contact_sheet([tmp_path / 'wide.png'], columns=1, tile=40)
    assert len(pixels_of(sheet, (90, 0, 0))) == 40 * 40


def test_large_jpegs_are_reduced_to_the_same_thumbnail(tmp_path):
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    image = np.stack([np.tile(ramp, (640, 1)), np.tile(ramp[:, None], (1, 640))] * 2, -1)[..., :3]
    cv2.imwrite(str(tmp_path / 'a.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    by_jpeg, by_png = (
        contact_sheet([tmp_path / name], columns=1, tile=64).astype(int)
        for name in ('a.jpg', 'a.png')
    )
    assert np.abs(by_jpeg - by_png).mean() < 2


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


def test_captions_and_title_make_room_for_themselves(tmp_path):
    paths = [write_image(tmp_path / f'{i}.png', (200, 0, 0)) for i in range(3)]
    plain = contact_sheet(paths, columns=3, tile=40)
    titled = contact_sheet(paths, title='cluster 7', columns=3, tile=40)
    both = contact_sheet(paths, ['a', 'b', 'much too long a caption'], 'cluster 7', 3, 40)
    assert plain.shape[1] == titled.shape[1] == both.shape[1]
    assert plain.shape[0] < titled.shape[0] < both.shape[0]
    for sheet in (plain, titled, both):
        assert len(pixels_of(sheet, (200, 0, 0))) == 3 * 40 * 40  # no letter on a picture


def test_no_images_and_wrong_captions(tmp_path):
    assert contact_sheet([], title='an empty cluster').shape[2] == 3
    with pytest.raises(ValueError, match='1 captions for 0 images'):
        contact_sheet([], ['a'])
