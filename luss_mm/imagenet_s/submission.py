"""Submissions to the ImageNet-S benchmark: one zip of predictions, match and description.

At the top of the zip lie `<wnid>/<name>.png` (RGB, id = R + 256 G), `method.txt` and, if the ids
are generated ones, `match.json`. The same predictions give the same bytes.
"""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from luss_mm.datasets.image_file import read_image_size
from luss_mm.functional.label_codec import decode_label_map
from luss_mm.imagenet_s.archives import ArchiveError, completed, damage_named, list_members
from luss_mm.imagenet_s.lists import IMAGE_SUFFIX, NUM_IMAGES, first_names, imagenet_s_categories
from luss_mm.terminal import with_progress

METHOD_FILE, MATCH_FILE = 'method.txt', 'match.json'
# The lines of method.txt, in their order.
METHOD_LINES = (
    'Method name:',
    'Training data:',
    'Training scheme:',
    'Networks:',
    'Paper/Project link:',
    'Method description:',
)
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_PNG_END = b'IEND\xaeB`\x82'  # the last chunk with its checksum, PNG specification
_PROBLEMS_SHOWN = 20


class SubmissionError(ValueError):
    """A submission that the benchmark could not score, or that says too little."""


@dataclass(frozen=True)
class SubmittedSplit:
    """The images that a submission is about.

    Args:
        subset: 50, 300 or 919.
        split: 'validation' or 'test'.
        images: Folder with `<wnid>/<name>.JPEG` of the split.
    """

    subset: int
    split: str
    images: Path

    def prediction_names(self) -> dict[str, Path]:
        """Image of each `<wnid>/<name>.png` that a submission must hold, in sorted order.

        Raises:
            SubmissionError: If the folder does not hold the whole split.
        """
        names = {}
        for wnid, _ in imagenet_s_categories(self.subset):
            for path in sorted(Path(self.images, wnid).glob(f'*{IMAGE_SUFFIX}')):
                names[f'{wnid}/{path.stem}.png'] = path
        expected = NUM_IMAGES[self.subset][self.split]
        if len(names) != expected:
            raise SubmissionError(
                f'{self.images}: {len(names):,} images, {self.split} of ImageNet-S{self.subset} '
                f'has {expected:,}. Prepare it with tools/prepare_imagenet_s.py.'
            )
        return names


def make_submission(
    predictions: str | Path,
    out: str | Path,
    split: SubmittedSplit,
    method: str,
    match: str | Path | None = None,
) -> int:
    """Write a zip and check it; it gets its name only if nothing is wrong with it.

    Args:
        predictions: Folder with `<wnid>/<name>.png`, as UnsupervisedIoUMetric saves them.
        out: The zip. It must not exist.
        split: What was predicted.
        method: Content of method.txt, see `method_text`.
        match: match.json, if the predictions hold generated ids.

    Returns:
        Number of predictions.

    Raises:
        SubmissionError: If predictions are missing or anything that `check_submission` looks at is
            wrong.
        FileExistsError: If `out` exists.
    """
    out, predictions = Path(out), Path(predictions)
    if os.path.lexists(out):
        raise FileExistsError(f'{out} exists. Move it away or choose another name.')
    names = split.prediction_names()
    missing = [name for name in names if not (predictions / name).is_file()]
    if missing:
        raise SubmissionError(
            f'{predictions}: {len(missing):,} of {len(names):,} predictions are not there: '
            f'{first_names(missing)}. Predict the whole of {split.split}.'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with completed(out) as temporary:
        with zipfile.ZipFile(temporary, 'w') as archive:
            _write(archive, METHOD_FILE, method.encode())
            if match is not None:
                _write(archive, MATCH_FILE, Path(match).read_bytes())
            for name in with_progress(names, len(names), 'packing'):
                _copy(archive, name, predictions / name)
        check_submission(temporary, split)
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
    return len(names)


def check_submission(path: str | Path, split: SubmittedSplit) -> int:
    """Check a zip: its files, method.txt, match.json, and each prediction's coding, size and ids.

    Ids are 0 to K or, where there is a match, those that it names.

    Returns:
        Number of predictions.

    Raises:
        SubmissionError: If anything is wrong; up to 20 faults are named.
        ArchiveError: If the file is damaged or unsafe.
    """
    names = split.prediction_names()
    if not zipfile.is_zipfile(path):
        raise SubmissionError(f'{path}: no zip, or a damaged one.')
    members = {member.name for member in list_members(path)}
    _check_names(members, set(names))
    with zipfile.ZipFile(path) as archive:
        check_method(_read(archive, METHOD_FILE))
        num_categories = split.subset
        allowed = np.arange(num_categories + 1)
        if MATCH_FILE in members:
            allowed = generated_ids(_read(archive, MATCH_FILE), num_categories)
        faults = list(_faulty_predictions(archive, names, allowed))
    if faults:
        shown = '\n  '.join(faults[:_PROBLEMS_SHOWN])
        raise SubmissionError(f'{len(faults):,} predictions are wrong:\n  {shown}')
    return len(names)


def method_text(entries: Mapping[str, str]) -> str:
    """Content of method.txt.

    Args:
        entries: A text for each of `METHOD_LINES`.

    Raises:
        SubmissionError: If a text is missing, empty or has several lines.
    """
    for line in METHOD_LINES:
        text = entries.get(line, '')
        if not text.strip() or len(text.splitlines()) != 1:
            raise SubmissionError(f'{METHOD_FILE}: "{line}" needs a text of one line.')
    return ''.join(f'{line} {entries[line].strip()}\n' for line in METHOD_LINES)


def check_method(content: bytes) -> None:
    """Check method.txt. A text may go on in the lines that follow.

    Raises:
        SubmissionError: If it is not UTF-8, or a line is missing, empty, doubled or out of order.
    """
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise SubmissionError(f'{METHOD_FILE}: not UTF-8 ({error}).') from error
    starts = [(label, i) for i, line in enumerate(lines) for label in _labels_of(line)]
    found = tuple(label for label, _ in starts)
    if found != METHOD_LINES:
        raise SubmissionError(
            f'{METHOD_FILE}: needs the lines {", ".join(METHOD_LINES)} once each in this order; '
            f'it has {", ".join(found) or "none of them"}.'
        )
    ends = [i for _, i in starts[1:]] + [len(lines)]
    for (label, start), end in zip(starts, ends, strict=True):
        if not '\n'.join(lines[start:end]).removeprefix(label).strip():
            raise SubmissionError(f'{METHOD_FILE}: "{label}" is followed by nothing.')


def generated_ids(content: bytes, num_categories: int) -> np.ndarray:
    """Generated ids that match.json names, int64, sorted.

    Raises:
        SubmissionError: If it is no match `{"generated id": category id}` with 0 -> 0 and
            category ids in [0, K + 1]; K + 1 marks a cluster without a category.
    """
    try:
        match = json.loads(content)
        mapping = {int(generated): category for generated, category in match.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise SubmissionError(
            f'{MATCH_FILE}: no {{"generated id": category id}} ({error}).'
        ) from None
    wrong = [c for c in mapping.values() if type(c) is not int or not 0 <= c <= num_categories + 1]
    if wrong or len(mapping) != len(match) or min(mapping, default=-1) < 0:
        raise SubmissionError(
            f'{MATCH_FILE}: ids must be numbers, named once, categories in 0 to {num_categories} '
            f'({num_categories + 1}: without a category); wrong: {wrong[:3] or "generated ids"}.'
        )
    if mapping.get(0) != 0:
        raise SubmissionError(f'{MATCH_FILE}: "0" must become 0 ("others").')
    return np.array(sorted(mapping))


def _labels_of(line: str) -> list[str]:
    return [label for label in METHOD_LINES if line.startswith(label)]


def _check_names(members: set[str], expected: set[str]) -> None:
    folders = {name.partition('/')[0] for name in members if name.count('/') > 1}
    if folders:
        raise SubmissionError(
            f'predictions lie in a folder {min(folders)}/; they must lie at the top of the zip.'
        )
    if METHOD_FILE not in members:
        raise SubmissionError(f'there is no {METHOD_FILE}.')
    missing = sorted(expected - members)
    strange = sorted(members - expected - {METHOD_FILE, MATCH_FILE})
    for names, text in ((missing, 'are missing'), (strange, 'belong to no image of the split')):
        if names:
            raise SubmissionError(f'{len(names):,} files {text}: {first_names(names)}.')


def _faulty_predictions(
    archive: zipfile.ZipFile, names: Mapping[str, Path], allowed: np.ndarray
) -> Iterator[str]:
    is_allowed = np.zeros(2**16, dtype=bool)
    is_allowed[allowed[allowed < len(is_allowed)]] = True
    for name in with_progress(names, len(names), 'checking'):
        try:
            labels = _decode(_read(archive, name))
            size = read_image_size(names[name], stored_pixels=True)
        except ArchiveError as error:
            yield str(error)
            continue
        except ValueError as error:
            yield f'{name}: {error}'
            continue
        if labels.shape != size:
            yield f'{name}: {labels.shape}, its image is {size} (height, width)'
        elif not is_allowed[labels].all():
            wrong = labels[~is_allowed[labels]].min()
            yield f'{name}: id {wrong}; {len(allowed)} ids from 0 to {allowed[-1]} are allowed'


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with damage_named(name):
        return archive.read(name)


def _decode(content: bytes) -> np.ndarray:
    """Ids of a PNG, int32; PIL, because OpenCV takes what it can get of a broken file."""
    if not content.endswith(_PNG_END):
        raise ValueError('no readable PNG (its end is missing)')
    try:
        with Image.open(io.BytesIO(content), formats=['PNG']) as image:
            rgb = np.asarray(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'no readable PNG ({error})') from error
    if image.mode == 'RGB' and rgb[..., 2].any():
        raise ValueError('its blue channel is not 0; the coding is id = R + 256 * G')
    return decode_label_map(rgb)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)  # stored as it is: a PNG is compressed
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # Unix, on every system
    return entry


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(_entry(name), content)


def _copy(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    with open(path, 'rb') as source, archive.open(_entry(name), 'w') as target:
        shutil.copyfileobj(source, target)
