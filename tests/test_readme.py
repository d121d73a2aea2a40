"""README's commands, read from README and run as they stand there, one after another.

Left out is what installs, tests, or needs ImageNet-S. PHOTOS are images of the first job.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```$', README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    part
    for language, text in BLOCKS
    if language == 'bash'
    for line in text.splitlines()
    for part in line.split(' && ')
]
PROGRAMS = {'luss': ['-m', 'luss_mm'], '.venv/bin/python': []}
FIRST_JOB = '.venv/bin/python tools/train.py configs/luss/pass_tiny.py'
MOST_LINES = 80
NUM_PHOTOS = 64

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('readme')
    for name in ('tools', 'configs'):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(command, folder):
    """Lines that a command of README prints."""
    program, *words = shlex.split(command)
    words = [sys.executable, *PROGRAMS[program], *words]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.fixture(scope='module')
def first_job(folder):
    assert FIRST_JOB in COMMANDS
    return run(FIRST_JOB, folder)


@pytest.fixture(scope='module')
def photographs(first_job, folder):
    images = sorted((folder / 'work_dirs/pass_tiny/data/train').rglob('*.*'))
    (folder / 'PHOTOS').mkdir()
    for number, image in enumerate(images[:NUM_PHOTOS]):
        shutil.copy(image, folder / 'PHOTOS' / f'{number}{image.suffix}')
    return folder / 'PHOTOS'


def test_the_first_job_is_quiet_and_leaves_what_is_said(first_job, folder):
    assert len(first_job) <= MOST_LINES
    assert any(line.startswith('score (finetune): ') for line in first_job)
    for path in re.findall(r'`(work_dirs/pass_tiny/\S+)`', README):
        assert (folder / path).is_file()


def test_photographs_by_command(photographs, folder):
    for command in COMMANDS:
        if command.startswith('luss '):
            run(command, folder)
    assert (folder / 'work_dirs/pdso_photos/report/index.html').is_file()
    labels = list((folder / 'predictions/labels').rglob('*.png'))
    assert len(labels) == NUM_PHOTOS


def test_photographs_from_python(photographs, folder):
    (text,) = (text for language, text in BLOCKS if language == 'python')
    for name, image in zip(('a.jpg', 'b.jpg'), photographs.iterdir(), strict=False):
        shutil.copy(image, folder / name)
    (folder / 'session.py').write_text(f'{text}assert len(labels) == 2 and labels[0].ndim == 2\n')
    run('.venv/bin/python session.py', folder)
    assert (folder / 'work_dirs/photos/report/index.html').is_file()
