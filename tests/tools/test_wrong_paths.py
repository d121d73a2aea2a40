"""Every tool ends with one line where a path or an option is wrong, never with a traceback."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engine.small_run import make_run
from tests.permissions import closed
from tests.test_bad_input import JPEG
from tests.tiny_layout import write_label_map

TOOLS = Path(__file__).parents[2] / 'tools'
RECIPE = 'configs/luss/pass_folder.py'
S50 = ('--subset', '50')
# What goes before the path in question, and what goes after it.
CONFIGS = {
    'browse_dataset': ((), ()),
    'estimate': ((), ()),
    'generate_pseudo_labels': ((), ()),
    'plain_baseline': ((), ()),
    'test': ((), ('gone.pth',)),
    'train': ((), ()),
    'convert_checkpoint': (('mae', 'RUN/finetune/final.pth', 'OUT', '--config'), ()),
    'export_segmentor': (('RUN/finetune/final.pth', '--out', 'OUT.ts', '--config'), ()),
    'infer': (('RUN/finetune/final.pth', 'IMAGES', '--out', 'OUT', '--config'), ()),
}
RUNS = {
    'distance_matching': ((), ('--data-root', 'IMAGES', '--out', 'OUT')),
    'evaluate_clusters': ((), ()),
    'evaluate_pseudo_labels': ((), ()),
    'export_segmentor': ((), ('--out', 'OUT.ts')),
    'infer': ((), ('IMAGES', '--out', 'OUT')),
    'label_split': ((), ('validation', 'OUT')),
    'plain_baseline': ((), ('--out', 'OUT')),
    'record_result': (
        (),
        ('--set', 'a', '--weights', 'b', '--method', 'PASS', '--seed', '0', '--file', 'OUT'),
    ),
    'report': ((), ()),
    'suggest_categories': ((), ()),
}
FOLDERS = {
    'convert_masks': ((), ()),
    'evaluate': (('MAPS',), ('--categories', '5', '--out', 'OUT.json')),
    'evaluate_features': ((RECIPE,), ('--checkpoint', 'random')),
    'infer': (('RUN',), ('--out', 'OUT')),
    'make_collages': ((), ('OUT', '--pairs', '2')),
    'make_submission': ((*S50, '--split', 'test', '--check', 'MAPS/a.png', '--images'), ()),
    'prepare_imagenet_s': ((), ('OUT', *S50, '--lists', 'IMAGES')),
}
FILES = {
    'record_result': (('--set', 'a', '--weights', 'b', '--file', 'OUT', '--baseline'), ()),
    'convert_checkpoint': (('mae',), ('OUT',)),
    'evaluate': (('MAPS', 'MAPS', '--categories', '5', '--out', 'OUT.json', '--match'), ()),
    'infer': (('RUN', 'IMAGES', '--out', 'OUT', '--names'), ()),
    'make_submission': (
        ('IMAGES', 'OUT', *S50, '--split', 'test', '--images', 'RUN', '--method'),
        (),
    ),
    'prepare_imagenet_s': (('IMAGES', 'OUT', *S50, '--lists', 'IMAGES', '--annotations'), ()),
}
OUTPUTS = {
    'estimate': ((RECIPE, '--images', '900', '--cfg-options', 'data_root=IMAGES', '--json'), ()),
    'evaluate': (('MAPS', 'MAPS', '--categories', '5', '--out'), ()),
    'export_segmentor': (('RUN', '--out'), ()),
    'render_tiny_shapes': ((), ('--num-train', '1', '--num-validation', '1')),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run, a folder with an image, an empty one and a file that is none of these."""
    folder = tmp_path_factory.mktemp('wrong')
    make_run(folder / 'run')
    for name in ('images', 'empty'):
        (folder / name).mkdir()
    (folder / 'images' / 'a.jpg').write_bytes(JPEG)
    write_label_map(folder / 'maps' / 'a.png', np.ones((8, 8), int))
    (folder / 'file').write_text('neither this nor that\n')
    (folder / 'file.py').write_text('neither this nor that\n')
    return folder


@pytest.fixture
def end_of(folder, tmp_path, monkeypatch, capsys):
    """The line that a tool ends with."""

    def run(tool, arguments):
        places = {name: folder / name.lower() for name in ('RUN', 'IMAGES', 'MAPS')}
        places['OUT'] = tmp_path / 'out'
        shown = [re.sub('|'.join(places), lambda m: str(places[m[0]]), str(a)) for a in arguments]
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *shown])
        monkeypatch.syspath_prepend(TOOLS)  # one of them imports another
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
        if stop.value.code == 2:  # argparse has said it
            return capsys.readouterr().err.splitlines()[-1]
        assert str(stop.value).startswith('error: ') and '\n' not in str(stop.value)
        assert not (tmp_path / 'out').exists()
        return str(stop.value)

    return run


def cases(*tables):
    return [
        pytest.param(tool, *around, id=tool) for table in tables for tool, around in table.items()
    ]


@pytest.mark.parametrize(('tool', 'before', 'after'), cases(CONFIGS, RUNS, FOLDERS, FILES))
def test_a_path_that_is_not_there(end_of, folder, tool, before, after):
    assert f'{folder}/gone' in end_of(tool, [*before, folder / 'gone', *after])


@pytest.mark.parametrize(('tool', 'before', 'after'), cases(RUNS, FOLDERS, FILES))
@pytest.mark.parametrize('name', ['file', 'empty'])
def test_a_path_of_something_else(end_of, folder, tool, before, after, name):
    assert f'{folder}/' in end_of(tool, [*before, folder / name, *after])


@pytest.mark.parametrize(('tool', 'before', 'after'), cases(CONFIGS))
def test_a_config_that_is_none(end_of, folder, tool, before, after):
    for name in ('file', 'empty', 'file.py'):
        line = end_of(tool, [*before, folder / name, *after])
        assert line.startswith(f'error: {folder}/{name}')
    line = end_of(tool, [*before, 'configs/luss/pass_foldr.py', *after])
    assert line.endswith('Did you mean configs/luss/pass_folder.py?')


@pytest.mark.parametrize(('tool', 'before', 'after'), cases(CONFIGS, RUNS, FOLDERS, FILES))
def test_a_path_that_may_not_be_read(end_of, folder, tmp_path, tool, before, after):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file.py').write_bytes(b'')
    for name in ('folder', 'file.py'):
        with closed(tmp_path / name):
            assert f'{tmp_path}/' in end_of(tool, [*before, tmp_path / name, *after])


@pytest.mark.parametrize(('tool', 'before', 'after'), cases(OUTPUTS))
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    end_of, folder, tmp_path, tool, before, after
):
    suffix = '.ts' if tool == 'export_segmentor' else '.json'
    assert f'{folder}/file' in end_of(tool, [*before, folder / 'file' / f'x{suffix}', *after])
    (tmp_path / 'shut').mkdir()
    with closed(tmp_path / 'shut'):
        line = end_of(tool, [*before, tmp_path / 'shut' / f'x{suffix}', *after])
    assert f'{tmp_path}/shut' in line and 'Permission denied' in line


@pytest.mark.parametrize('tool', [tool for tool in CONFIGS if tool not in RUNS])
def test_misspelt_options(end_of, tool, tmp_path):
    before, after = CONFIGS[tool]
    assert 'unrecognized arguments: --optoin' in end_of(
        tool, [*before, RECIPE, *after, '--optoin', 'x']
    )
    if tool in ('convert_checkpoint', 'test'):  # has no such options; looks at a run first
        return
    options = ['--work-dir', tmp_path / 'run', '--cfg-options', 'data_rot=x']
    assert "'data_rot'; did you mean 'data_root'?" in end_of(tool, [RECIPE, *options])


def test_no_tool_is_forgotten():
    tested = {*CONFIGS, *RUNS, *FOLDERS, *FILES, *OUTPUTS}
    for path in TOOLS.glob('*.py'):
        source = path.read_text()
        if '\ndef main(' in source and not path.name.startswith('write_'):  # pages of the docs
            assert '\n@one_line_stops()\ndef main(' in source, path
            assert path.stem in tested, path
