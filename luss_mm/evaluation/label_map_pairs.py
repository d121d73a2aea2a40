"""Label maps in folders: which prediction belongs to which mask, checked before any is decoded."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
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


def list_pairs(
    predictions: Path, masks: Path, scores: Path | None = None
) -> tuple[list[LabelMapPair], int]:
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
    pairs = [LabelMapPair(predictions / name, masks / name) for name in names]
    if scores is not None:
        pairs = _with_scores(pairs, names, scores)
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


def _label_maps(folder: Path) -> list[Path]:
    """Relative paths of all PNGs, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder.')
    names = sorted(path.relative_to(folder) for path in folder.rglob('*.png'))
    if not names:
        raise FileNotFoundError(f'{folder}: no label maps (<folder>/<name>.png) in it.')
    return names


def _with_scores(pairs: list[LabelMapPair], names: list[Path], scores: Path) -> list[LabelMapPair]:
    if not scores.is_dir():
        raise FileNotFoundError(f'{scores}: no such folder.')
    files = {p.relative_to(scores) for p in scores.rglob('*') if p.suffix in ('.png', '.npy')}
    suffixes = {
        name: [s for s in ('.npy', '.png') if name.with_suffix(s) in files] for name in names
    }
    _refuse_missing((name for name, found in suffixes.items() if not found), scores, len(names))
    return [
        pair._replace(score=scores / name.with_suffix(suffixes[name][0]))
        for pair, name in zip(pairs, names, strict=True)
    ]


def _refuse_missing(names: Iterable[Path], folder: Path, total: int) -> None:
    missing = list(names)
    if missing:
        shown = ', '.join(str(name) for name in missing[:SHOWN])
        more = ', ...' if len(missing) > SHOWN else ''
        raise FileNotFoundError(
            f'{folder}: {len(missing)} of {total} images are missing: {shown}{more}. '
            'Every mask needs a file of its name.'
        )
