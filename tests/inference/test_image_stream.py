import threading

import pytest

from luss_mm.inference.inferencer import (
    batches_of_equal_size,
    fingerprint_images,
    input_images,
    load_ahead,
)
from tests.permissions import closed


@pytest.fixture
def root(tmp_path):
    for name in (
        'b.jpg',
        'a.PNG',
        'notes.txt',
        'z/c.webp',
        'z/y/d.JPEG',
        'ä ö/e.bmp',
        '.hidden.png',
    ):
        path = tmp_path / 'root' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / 'root'


def test_folders_that_may_not_be_read(root, tmp_path):
    with closed(root / 'z'):
        assert list(input_images(root)) == ['a.PNG', 'b.jpg', 'z/', 'ä ö/e.bmp']
        assert fingerprint_images(root)[0] == 4
    with closed(root / 'z' / 'y'):
        assert list(input_images(root)) == ['a.PNG', 'b.jpg', 'z/c.webp', 'z/y/', 'ä ö/e.bmp']
    with closed(root), pytest.raises(PermissionError, match='root: may not be read. Change its'):
        list(input_images(root))


def test_refusals(root):
    with pytest.raises(FileNotFoundError, match='gone: no such image or folder'):
        list(input_images(root / 'gone'))
    with pytest.raises(ValueError, match='notes.txt: not an image'):
        list(input_images(root / 'notes.txt'))


def test_loads_in_order_and_not_too_far_ahead():
    taken, released = [], threading.Event()

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    def load(number):
        if number == 0:
            released.wait(5)  # later items are loaded first
        return number * 10

    loaded = load_ahead(items(), load, workers=3, ahead=5)
    threading.Timer(0.05, released.set).start()
    assert next(loaded) == 0 and len(taken) <= 6
    assert list(loaded) == [number * 10 for number in range(1, 50)]


def test_an_error_while_loading_arrives():
    with pytest.raises(ZeroDivisionError):
        list(load_ahead([1, 0, 2], lambda number: 1 / number, workers=2, ahead=2))


@pytest.mark.parametrize('batch_size, window', [(1, 10), (3, 4), (4, 100)])
def test_batches_hold_one_size_and_everything_once(batch_size, window):
    samples = [(number, (number * 7 % 5, 3)) for number in range(60)]
    waiting = most = 0
    taken = []

    def counted():
        for sample in samples:
            taken.append(sample)
            yield sample

    seen = []
    for batch in batches_of_equal_size(counted(), lambda s: s[1], batch_size, window):
        assert len({shape for _, shape in batch}) == 1 and 1 <= len(batch) <= batch_size
        waiting = len(taken) - len(seen)
        most = max(most, waiting)
        seen += batch
    assert sorted(seen) == samples and most <= window
