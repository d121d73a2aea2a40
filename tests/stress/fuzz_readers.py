"""Feeds mutated files to everything that reads files from elsewhere.

    python -m tests.stress.fuzz_readers --seconds 120

A reader may accept a file or raise what its docstring names; any other error is a finding, and so
is more than MOST_SECONDS of CPU time for one file, all of which are small. Each file follows from
(seed, reader, number), so that a finding can be made again with --only and --seed, and its file is
kept in --keep.
"""

import argparse
import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from luss_mm.checkpoints.conversion import convert_centroids
from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint
from luss_mm.datasets.image_file import (
    ImageFileError,
    decode_image,
    find_image_problem,
    read_header,
    read_image_size,
)
from luss_mm.datasets.mask_files import read_label_map
from luss_mm.datasets.published_classes import _read_lines, _read_tags
from luss_mm.evaluation.cluster_names import read_names
from luss_mm.evaluation.folders import label_map_size, read_foreground_score
from luss_mm.functional.matching import given_mapping
from luss_mm.imagenet_s.archives import ArchiveError, list_members, unpack
from luss_mm.imagenet_s.lists import read_list
from luss_mm.imagenet_s.submission import (
    SubmissionError,
    _decode,
    check_method,
    generated_ids,
)
from luss_mm.models.segmenters.promptable_segmenter import SegmenterError
from luss_mm.models.segmenters.sam_segmenter import _read_state
from luss_mm.recipes.config_file import ConfigError, read_literal_config
from luss_mm.work_dir.run_folder import read_match
from tests.stress.fuzz_readers_files import (
    ARCHIVES,
    LABELS,
    LIST,
    METHOD,
    OFFICIAL,
    SCORES,
    checkpoint,
    config,
    jpeg,
    npy,
    png,
    sam_state,
)

MOST_SECONDS = 5.0  # of CPU time, which other processes do not lengthen
LARGEST_DECODED = 2**20  # pixels; a mutated header may promise 4 billion

# What is special to some format, put into files at random places.
TOKENS = [
    *(b'../', b'/', b'\\', b'\0', b' ', b'\n\n', b'\r', b'#', b'\xff', b'\xc3\x28'),
    b'\xef\xbb\xbf',
    *(b'-1', b'1000', b'65536', b'9' * 30, b'9' * 5000, b'1e999', b'NaN', b'null', b'true', b'""'),
    *(b'[' * 50, b'{' * 50, b'[' * 100_000, b'-' * 3000, b'1+' * 2000, b'a.' * 2000, b'{[]}'),
    *(b"dict(type='os.system')", b'filename = 1\n', b'custom_imports = 1\n', b'__import__("os")'),
    *(b'\xff\xd8', b'\xff\xd9', b'\xff\xff\xff\xff', b'IHDR', b'PK\5\6', b'cos\nsystem\n', b'O8'),
]


def read_scores(path):
    match = path.with_name('match.json')
    match.write_text('{"0": 0, "1": 2}')
    path.replace(path.with_name('scores.json'))
    read_names(match)


def unpack_all(path):
    members = list_members(path)
    out = path.with_name('out')
    for written in unpack(path, {m.name: out / str(i) for i, m in enumerate(members)}):
        written.unlink()


def read_image(path):
    problem = find_image_problem(path)
    height, width = read_image_size(path)
    if height * width <= LARGEST_DECODED and problem is None:
        decode_image(path, read_header(path).format)


def read_official_list(path):
    names = path.parent / 'mapping'
    names.mkdir(exist_ok=True)
    os.replace(path, names / 'ImageNetS_im50_mapping_test.txt')
    read_list(path.parent, 50, 'test')


# Reader: whole files to start from, how it is called, its documented errors.
READERS = {
    'mask': ([png(LABELS)], read_label_map, ValueError),
    'mask header': ([png(LABELS)], label_map_size, ValueError),
    'mask in a zip': ([png(LABELS)], lambda p: _decode(p.read_bytes()), ValueError),
    'foreground score': (
        [npy(np.ones((3, 4), np.float16))],
        lambda p: read_foreground_score(p.replace(p.with_suffix('.npy'))),
        ValueError,
    ),
    'centroids': (
        [npy(np.ones((3, 4), np.float32))],
        lambda p: convert_centroids(p, p.with_name(f'{time.time_ns()}.npy')),
        CheckpointError,
    ),
    'image': ([jpeg(), png(LABELS)], read_image, ImageFileError),
    'list of images': ([LIST], lambda p: list(_read_lines(p)), ValueError),
    'list of tags': ([b'a.JPEG 1 2\nb.JPEG\nc.JPEG 0\n'], lambda p: _read_tags(p, 3), ValueError),
    'official list': ([OFFICIAL], read_official_list, ValueError),
    'match': (
        [b'{"0": 0, "1": 2, "2": 4}'],
        lambda p: given_mapping(read_match(p), 2, 3),
        ValueError,
    ),
    'names': ([b'{"0": "others", "1": "ant"}'], read_names, ValueError),
    'scores': ([SCORES], read_scores, ValueError),
    'submitted match': (
        [b'{"0": 0, "1": 2, "2": 4}'],
        lambda p: generated_ids(p.read_bytes(), 3),
        SubmissionError,
    ),
    'submitted method': ([METHOD], lambda p: check_method(p.read_bytes()), SubmissionError),
    'config': ([config()], read_literal_config, ConfigError),
    'checkpoint': (
        [checkpoint(True), checkpoint(False)],
        lambda p: load_checkpoint(p, map_location='cpu'),
        CheckpointError,
    ),
    'checkpoint of SAM': ([sam_state(True), sam_state(False)], _read_state, SegmenterError),
    'archive': (ARCHIVES, unpack_all, ArchiveError),
}


def mutate(content, rng):
    """A few changes: bytes, bits, cuts, repetitions, tokens of formats."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        place, length = rng.randrange(len(changed) + 1), rng.choice([1, 4, 30])
        kind = rng.randrange(6)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place : place + length] = rng.randbytes(length)
        elif kind == 2 and rng.random() < 0.3:
            del changed[place:]
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[place : place + length] * rng.choice([1, 2, 50])
        else:
            changed[place:place] = rng.choice(TOKENS)
    return bytes(changed)


def try_once(reader, number, seed, folder):
    """Feed one file.

    Returns:
        What the reader should not have raised, with the file, or None; whether it refused; seconds
        of CPU time.
    """
    wholes, read, documented = READERS[reader]
    rng = random.Random(f'{seed}/{reader}/{number}')
    path = Path(folder, 'file')
    content = mutate(rng.choice(wholes), rng)
    path.write_bytes(content)
    started = time.process_time()
    error = None
    try:
        read(path)
    except Exception as raised:
        error = raised
    spent = time.process_time() - started
    # UnicodeDecodeError and others are ValueErrors of Python's own, without a file's name.
    own = type(error) is ValueError or type(error).__module__.startswith('luss_mm')
    finding = None if error is None or (isinstance(error, documented) and own) else error
    if finding is None and spent > MOST_SECONDS:
        finding = TimeoutError(f'{spent:.1f} s of CPU time')
    return (finding and (finding, content)), error is not None, spent


def fuzz(is_over, seed=0, readers=tuple(READERS)):
    """Try readers in turn until `is_over(number)` of the next files is True.

    Returns:
        Files, refused ones, seconds of CPU time in all and of the slowest file of each reader;
        findings as (reader, number, error, content).
    """
    counts = {reader: [0, 0, 0.0, 0.0] for reader in readers}
    findings = []
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        number = 0
        while not is_over(number):
            for reader in readers:
                finding, refused, spent = try_once(reader, number, seed, scratch)
                counts[reader][0] += 1
                counts[reader][1] += refused
                counts[reader][2] += spent
                counts[reader][3] = max(counts[reader][3], spent)
                if finding is not None:
                    findings.append((reader, number, *finding))
            number += 1
    return counts, findings


def main():
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='+', choices=READERS, default=list(READERS))
    parser.add_argument('--keep', type=Path, help='folder for the files of findings')
    parsed = parser.parse_args()
    end = time.monotonic() + parsed.seconds
    counts, findings = fuzz(lambda _: time.monotonic() >= end, parsed.seed, parsed.only)
    for reader, (tried, refused, spent, slowest) in counts.items():
        print(
            f'{reader:18} {tried:8,} files {refused:8,} refused {tried / spent:8,.0f} a second of '
            f'CPU time, the slowest took {slowest:.2f} s'
        )
    total = sum(count[0] for count in counts.values())
    print(f'{total:,} files, {total / parsed.seconds:,.0f} a second, {len(findings)} findings')
    for reader, number, error, content in findings[:20]:
        print(f'{reader} {number}: {type(error).__name__}: {str(error)[:150]!r}', file=sys.stderr)
        if parsed.keep is not None:
            parsed.keep.mkdir(parents=True, exist_ok=True)
            (parsed.keep / f'{reader.replace(" ", "-")}-{number}').write_bytes(content)
    sys.exit(1 if findings else 0)


if __name__ == '__main__':
    main()
