"""Many files for benchmarks, generated: label maps, photographs, embeddings."""

import os
from pathlib import Path

from luss_mm.functional.label_codec import encode_label_map

import cv2
import numpy as np

CHANNELS, DIRECTIONS = 512, 50
SOURCES = 50  # different files; the rest are links to them
PER_FOLDER = 1000
WRITE_ROWS = 16_000


def write_label_maps(num_categories: int, folder: Path, count: int) -> None:
    """`masks` and `predictions` of 96 x 128 pixels in blocks; what is there already stays."""
    random = np.random.default_rng(0)
    for kind in ('masks', 'predictions'):
        blocks = [random.integers(0, num_categories + 1, (6, 8)) for _ in range(SOURCES)]
        maps = [np.kron(block, np.ones((16, 16), np.int64)) for block in blocks]
        encoded = [cv2.imencode('.png', encode_label_map(m)[..., ::-1])[1] for m in maps]
        link_files(folder / kind, [file.tobytes() for file in encoded], '.png', count)


def write_photographs(folder: Path, count: int) -> None:
    """`train` with JPEGs of 256 x 320 pixels; what is there already stays."""
    random = np.random.default_rng(0)
    coarse = [random.integers(0, 256, (8, 10, 3), dtype=np.uint8) for _ in range(SOURCES)]
    images = [cv2.resize(c, (320, 256), interpolation=cv2.INTER_CUBIC) for c in coarse]
    encoded = [cv2.imencode('.jpg', image)[1].tobytes() for image in images]
    link_files(folder / 'train', encoded, '.jpg', count)


def link_files(folder: Path, contents: list[bytes], suffix: str, count: int) -> None:
    """Files with these contents in turns, in sub-folders; hard links, so that a disk holds them."""
    for index in range(count):
        path = folder / f'n{index // PER_FOLDER:04d}' / f'{index:07d}{suffix}'
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if index < len(contents):
            path.write_bytes(contents[index])
        else:
            first = index % len(contents)
            os.link(folder / 'n0000' / f'{first:07d}{suffix}', path)


def write_embeddings(folder: Path, count: int, channels: int = CHANNELS) -> None:
    """`embeddings.npy`, unit rows about some directions, float32 (count, channels)."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((DIRECTIONS, channels), dtype=np.float32)
    mapped = np.lib.format.open_memmap(
        folder / 'embeddings.npy', 'w+', np.float32, (count, channels)
    )
    for start in range(0, count, WRITE_ROWS):
        rows = mapped[start : start + WRITE_ROWS]
        rows[:] = random.standard_normal(rows.shape, dtype=np.float32)
        rows += centres[random.integers(DIRECTIONS, size=len(rows))]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
