"""Image files as they are found in the world, each made by a function of a folder."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 50


def picture(mode='RGB', size=(WIDTH, HEIGHT)):
    """A photograph-like ramp, so that codecs have something to keep."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).convert(mode)


def encoded(image, form, **settings):
    """Bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()


def animated(form):
    """Bytes of an image file of two pictures."""
    return encoded(picture(), form, save_all=True, append_images=[picture().rotate(180)])


def turned():
    """A JPEG whose EXIF says that it is to be shown upright."""
    exif = Image.Exif()
    exif[274] = 6
    return encoded(picture(), 'JPEG', exif=exif)


def sixteen_bits():
    """A grey PNG of 16 bits."""
    grey = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    return encoded(Image.fromarray(grey), 'PNG')


def with_thumbnail():
    """A JPEG that holds another, whole one before its own scan."""
    whole, inner = encoded(picture(), 'JPEG'), encoded(picture(size=(8, 8)), 'JPEG')
    block = b'Exif\0\0' + inner
    return whole[:2] + b'\xff\xe1' + struct.pack('>H', len(block) + 2) + block + whole[2:]


def bomb(width, height):
    """A small PNG whose header promises many pixels."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(bytes(1000))), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in chunks
    )


def with_chunk_of(content, length):
    """A PNG whose first chunk of pixels promises a length in bytes."""
    place = content.index(b'IDAT') - 4
    return content[:place] + struct.pack('>I', length) + content[place + 4 :]


def half(content):
    """What an interrupted copy leaves."""
    return content[: len(content) // 2]


def zeros_behind_half(content):
    """What a file system may leave after a crash: the right size, without the data."""
    return half(content) + bytes(len(content) - len(content) // 2)


def without_code_tables(content):
    """A JPEG with header, scan and end, which no decoder can read."""
    start = content.index(b'\xff\xc4')
    length = struct.unpack('>H', content[start + 2 : start + 4])[0]
    return content[: start + 4] + b'\xff' * (length - 2) + content[start + 2 + length :]


def link_to(target):
    """Maker of a link instead of a file."""
    return lambda path: os.symlink(target, path)


def write(path, content):
    """Write bytes, or call a maker of something else; returns the path as text."""
    if callable(content):
        content(path)
    else:
        with open(path, 'wb') as file:
            file.write(content)
    return os.fspath(path)
