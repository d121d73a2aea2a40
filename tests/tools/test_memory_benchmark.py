import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from luss_mm.functional.label_codec import decode_label_map

FOLDER = Path(__file__).parents[2] / 'tools' / 'benchmarks'
MEGABYTE = 2**20
HOLD = """
import sys
kept = bytearray({megabytes} * 2**20)
print('held', flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope='module')
def tool():
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location('memory', FOLDER / 'memory.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    yield module
    for name in ('generated_files', 'comparison', 'network_steps'):
        del sys.modules[name]


pytestmark = pytest.mark.skipif(
    not Path('/proc/self/smaps_rollup').exists(), reason='reads /proc of Linux'
)


def megabytes_of(tool, program):
    """Private memory of a process that runs the program, when that says so."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen([sys.executable, '-c', program], **pipes) as process:
        assert process.stdout.readline() == b'held\n'
        found = tool.private_megabytes(process.pid)
        process.stdin.close()
    return found


def test_private_memory_counts_and_a_mapped_file_does_not(tool, tmp_path):
    (tmp_path / 'file.bin').write_bytes(b'x' * 30 * MEGABYTE)
    read_all_pages = f"""
import mmap
file = open({str(tmp_path / 'file.bin')!r}, 'rb')
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
assert set(mapped[::512]) == {{ord('x')}}
"""
    alone = megabytes_of(tool, HOLD.format(megabytes=0))
    assert abs(megabytes_of(tool, read_all_pages + HOLD.format(megabytes=0)) - alone) < 3
    assert 29 < megabytes_of(tool, HOLD.format(megabytes=30)) - alone < 33


def test_processes_below_count(tool):
    """A process that starts another one: both hold memory."""
    inner = [sys.executable, '-c', HOLD.format(megabytes=20)]
    assert megabytes_of(tool, f'import subprocess; subprocess.run({inner!r})') > 22


def test_a_process_that_ended_has_none(tool):
    with subprocess.Popen([sys.executable, '-c', '']) as process:
        process.wait()
    assert tool.private_megabytes(process.pid) == 0


def test_files_are_links_with_all_contents(tool, tmp_path, monkeypatch):
    monkeypatch.setattr('generated_files.PER_FOLDER', 8)
    monkeypatch.setattr('generated_files.SOURCES', 4)
    tool.write_label_maps(919, tmp_path, 20)
    tool.write_label_maps(919, tmp_path, 22)  # a larger size keeps what there is
    masks = sorted((tmp_path / 'masks').rglob('*.png'))
    assert len(masks) == 22 and len({path.stat().st_ino for path in masks}) == 4
    labels = decode_label_map(cv2.imread(str(masks[9]))[..., ::-1])
    assert labels.shape == (96, 128) and 255 < labels.max() <= 919


def test_a_step_gives_figures_and_a_plot(tool, tmp_path):
    options = ['--quick', '--steps', 'k-means, K = 50', '--plot', tmp_path / 'memory.png']
    command = [sys.executable, FOLDER / 'memory.py', '--out', tmp_path / 'memory.json', *options]
    subprocess.run(command, check=True)
    report = json.loads((tmp_path / 'memory.json').read_text())
    (found,) = report['steps'].values()
    assert found['images'] == [500, 1000] and all(0 < m < 200 for m in found['megabytes'])
    growth = (found['megabytes'][1] - found['megabytes'][0]) * MEGABYTE / 500
    assert found['bytes_an_image'] == pytest.approx(growth, abs=0.1)
    assert 'memory of k-means, K = 50 at 1,000 images' in report['comparisons']
    assert cv2.imread(str(tmp_path / 'memory.png')) is not None
    assert (tmp_path / 'memory.png').stat().st_size < 60_000


@pytest.mark.slow
def test_steps_with_networks_run(tool, tmp_path):
    names = ['features', 'label maps', 'SPO, GrabCut', 'inference']
    command = [sys.executable, FOLDER / 'memory.py', '--out', tmp_path / 'memory.json', '--quick']
    subprocess.run([*command, '--steps', *names], check=True)
    report = json.loads((tmp_path / 'memory.json').read_text())
    assert list(report['steps']) == names
    assert all(m > 0 for found in report['steps'].values() for m in found['megabytes'])
