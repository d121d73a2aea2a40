"""Label maps in folders: which prediction belongs to which mask, checked before any is decoded."""

import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, overload

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
SCORE_SUFFIXES = ('.npy', '.png')
RGB = 2  # colour type in a PNG's header
SHOWN = 3  # names in a message


class LabelMapPair(NamedTuple):
    """Files of one image.

    Attributes:
        prediction: Predicted ids, an RGB PNG with id = R + 256 G.
        mask: True ids in the same coding.
        score: Foreground score, see `read_foreground_score`; None without one.
    """

    prediction: Path
    mask: Path
    score: Path | None = None


class LabelMapPairs(Sequence[LabelMapPair]):
    """Pairs of two folders, made when they are asked for: an image costs its name, no more.

    Args:
        predictions: Folder of predicted label maps.
        masks: Folder of true ones.
        names: Relative paths in both folders.
        scores: Folder of foreground scores.
        suffixes: Of the score of each image, if there are scores.
    """

    def __init__(
        self,
        predictions: Path,
        masks: Path,
        names: list[str],
        scores: Path | None = None,
        suffixes: list[str] | None = None,
    ) -> None:
        self.predictions = predictions
        self.masks = masks
        self.names = names
        self.scores = scores
        self.suffixes = suffixes

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> LabelMapPair: ...

    @overload
    def __getitem__(self, index: slice) -> list[LabelMapPair]: ...

    def __getitem__(self, index: int | slice) -> LabelMapPair | list[LabelMapPair]:
        """One pair, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name, score = self.names[index], None
        if self.scores is not None:
            score = self.scores / f'{os.path.splitext(name)[0]}{self.suffixes[index]}'
        return LabelMapPair(self.predictions / name, self.masks / name, score)


def list_pairs(
    predictions: Path, masks: Path, scores: Path | None = None
) -> tuple[LabelMapPairs, int]:
    """Pair `<folder>/<name>.png` of predictions and masks and check names, coding and sizes.

    Reads 26 bytes a file, so that what would stop an evaluation stops it before it starts.

    Args:
        predictions: Folder of predicted label maps.
        masks: Folder of true ones; it decides which images there are.
        scores: Folder of foreground scores, `<folder>/<name>.png` or `.npy`.

    Returns:
        The pairs, sorted by the masks' names, and the number of predictions without a mask.

    Raises:
        FileNotFoundError: If a folder is missing, has no label map, or an image has no prediction
            or no score.
        ValueError: If a file is no 8-bit RGB PNG, or sizes differ.
    """
    names = _label_maps(masks)
    predicted = set(_label_maps(predictions))
    _refuse_missing((name for name in names if name not in predicted), predictions, len(names))
    suffixes = None if scores is None else _score_suffixes(names, scores)
    pairs = LabelMapPairs(predictions, masks, names, scores, suffixes)
    for pair in pairs:
        expected, found = label_map_size(pair.mask), label_map_size(pair.prediction)
        if expected != found:
            raise ValueError(
                f'{pair.prediction}: {found[0]} x {found[1]} pixels (height x width), its mask '
                f'{pair.mask} has {expected[0]} x {expected[1]}. Save predictions at image size.'
            )
    return pairs, len(predicted) - len(names)


def label_map_size(path: Path) -> tuple[int, int]:
    """Height and width from the header of a label map.

    Raises:
        ValueError: If it is no 8-bit RGB PNG.
    """
    with open(path, 'rb') as file:
        header = file.read(26)
    if len(header) < 26 or header[:8] != PNG_SIGNATURE or header[12:16] != b'IHDR':
        raise ValueError(f'{path}: not a PNG file. Label maps are RGB PNGs with id = R + 256 * G.')
    width, height, depth, colour = struct.unpack('>IIBB', header[16:26])
    if (depth, colour) != (8, RGB):
        raise ValueError(
            f'{path}: a PNG of {depth} bits and colour type {colour}. Label maps are 8-bit RGB '
            '(colour type 2) with id = R + 256 * G.'
        )
    return height, width


def _label_maps(folder: Path) -> list[str]:
    """Relative paths of all PNGs, in the order of their parts."""
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder.')
    names = sorted(_relative_files(folder, ('.png',)), key=lambda name: name.split('/'))
    if not names:
        raise FileNotFoundError(f'{folder}: no label maps (<folder>/<name>.png) in it.')
    return names


def _relative_files(folder: Path, suffixes: tuple[str, ...]) -> Iterable[str]:
    for parent, _, names in os.walk(folder, onerror=_refuse):
        for name in names:
            if name.endswith(suffixes):
                yield os.path.relpath(os.path.join(parent, name), folder)


def _refuse(error: OSError) -> None:
    """A folder that may not be read would only make the number of images smaller."""
    raise error


def _score_suffixes(names: list[str], scores: Path) -> list[str]:
    """Suffix of the score of each image; an array is taken before a picture."""
    if not scores.is_dir():
        raise FileNotFoundError(f'{scores}: no such folder.')
    files = set(_relative_files(scores, SCORE_SUFFIXES))
    found = [
        next((s for s in SCORE_SUFFIXES if os.path.splitext(name)[0] + s in files), None)
        for name in names
    ]
    missing = (name for name, suffix in zip(names, found, strict=True) if suffix is None)
    _refuse_missing(missing, scores, len(names))
    return found


def _refuse_missing(names: Iterable[str], folder: Path, total: int) -> None:
    missing = list(names)
    if missing:
        shown = ', '.join(missing[:SHOWN])
        more = ', ...' if len(missing) > SHOWN else ''
        raise FileNotFoundError(
            f'{folder}: {len(missing)} of {total} images are missing: {shown}{more}. '
            'Every mask needs a file of its name.'
        )
