import threading

import numpy as np
import pytest

from luss_mm.work_dir.atomic_files import BackgroundWriter


def array(value, length=10):
    return np.full(length, value, dtype=np.uint8)


def test_no_more_waits_than_may():
    most = waiting = 0
    lock, threads = threading.Lock(), set()

    def write(path, values):
        nonlocal waiting
        threads.add(threading.get_ident())
        with lock:
            waiting -= values.nbytes

    with BackgroundWriter(threads=2, waiting_bytes=35) as writer:
        for _ in range(50):
            with lock:
                most = max(most, waiting)
                waiting += 10
            writer.submit(write, None, array(0))
        writer.finish()
    assert waiting == 0 and 10 <= most <= 40
    assert threading.get_ident() not in threads


@pytest.mark.parametrize('error', [OSError('disk full'), SystemExit(1)])
def test_errors_and_ends_of_threads_reach_the_main_thread(error):
    def write(path, values):
        if values[0] == 1:
            raise error

    with pytest.raises(type(error)), BackgroundWriter() as writer:
        for i in range(3):
            writer.submit(write, None, array(i))
        writer.finish()


def test_what_waits_when_an_error_comes_is_not_written():
    started, free = threading.Event(), threading.Event()
    written = []

    def write(path, values):
        started.set()
        free.wait(10)
        written.append(values[0])

    def fail():
        with BackgroundWriter(threads=1) as writer:
            for i in range(5):
                writer.submit(write, None, array(i))
            started.wait(10)
            threading.Timer(0.05, free.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert written == [0]
