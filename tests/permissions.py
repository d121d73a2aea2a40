"""Permissions that hold for root, too: modes alone would not stop it."""

import contextlib
import ctypes
import os

import pytest

CAPABILITIES_3 = 0x20080522  # version of Linux's structures, with two words for each set
READING_ANYTHING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextlib.contextmanager
def closed(*paths):
    """Nobody may read, enter or write some files and folders, this thread and its children least.

    Programs that root starts get its capabilities back. Skips where modes cannot be made to count.
    """
    modes = [os.stat(path).st_mode for path in paths]
    with _without_capabilities():
        try:
            for path in paths:
                os.chmod(path, 0)
            if os.access(paths[0], os.R_OK, effective_ids=True):
                pytest.skip('permissions do not bind this user, or not on this file system')
            yield
        finally:
            for path, mode in zip(reversed(paths), reversed(modes), strict=True):
                os.chmod(path, mode)


@contextlib.contextmanager
def _without_capabilities():
    libc = ctypes.CDLL(None)
    if not hasattr(libc, 'capset'):
        pytest.skip('only Linux has capabilities that can be dropped')
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0)
    held, left = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    if libc.capget(header, held):
        pytest.skip('this kernel does not tell capabilities')
    left[:] = held
    left[0] &= ~READING_ANYTHING  # the first word of the effective set
    if libc.capset(header, left):
        pytest.skip('this kernel drops no capabilities')
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0
