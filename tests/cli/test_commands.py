"""The command luss: what starts at once, and what mistakes end in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from luss_mm.cli import COMMANDS, main
from luss_mm.cli.about import candidates, settings_table
from luss_mm.recipes.find_recipe import find_recipe, recipes

HEAVY = ('torch', 'mmseg.models', 'mmpretrain', 'scipy', 'matplotlib')
TOOLS = sorted((Path(__file__).parents[2] / 'tools').glob('*.py'))
# One process asks all of them: starting Python takes longer than most answers.
ASK_ALL = """
import contextlib, json, runpy, sys
calls, heavy = map(json.loads, sys.argv[1:])
seen, told = set(), {}
for asked, (program, *words) in calls.items():
    sys.argv = [program, *words, '--help']
    run = runpy.run_path if program.endswith('.py') else runpy.run_module
    with contextlib.suppress(SystemExit):
        run(program, run_name='__main__')
    told[asked] = [name for name in heavy if name in sys.modules and name not in seen]
    seen.update(told[asked])
print(json.dumps(told))
"""


def modules_after(code):
    """Which of HEAVY a process has imported after some code."""
    shown = f'import sys; print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)'
    command = [sys.executable, '-c', f'try:\n    {code}\nexcept SystemExit: pass\n{shown}']
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()[
        -1
    ]


@pytest.fixture(scope='module')
def imported_for_help():
    """Which of HEAVY each command and tool is the first to import when asked for help."""
    calls = {f'luss {name}': ['luss_mm', name] for name in COMMANDS}
    calls |= {tool.name: [str(tool)] for tool in TOOLS}
    done = subprocess.run(
        [sys.executable, '-c', ASK_ALL, json.dumps(calls), json.dumps(HEAVY)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    'asked', [*(f'luss {name}' for name in COMMANDS), *(t.name for t in TOOLS)]
)
def test_help_imports_nothing_heavy(imported_for_help, asked):
    assert imported_for_help[asked] == []


def test_overview_and_recipes_import_nothing_heavy():
    assert (
        modules_after('from luss_mm.cli import main; main(["--help"]); main(["recipes"])') == '[]'
    )


def test_a_missing_folder_of_images_is_told_without_torch():
    code = 'from luss_mm.cli import main; main(["train", "pdso_photos", "data_root=nowhere"])'
    assert modules_after(code) == '[]'


def test_a_report_needs_no_torch():
    assert 'torch' not in modules_after('from luss_mm.visualization.report import write_report')


def test_preparing_and_packing_need_no_torch():
    code = 'import luss_mm.imagenet_s.prepare, luss_mm.imagenet_s.submission'
    assert modules_after(code) == '[]'


def end_of(capsys, *arguments):
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    if isinstance(stop.value.code, str):
        return stop.value.code
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ('arguments', 'nearest'),
    [
        (('trian',), "'train'"),
        (('train', 'pdso_photo'), "'pdso_photos'"),
        (('train', 'pdso_photos', 'num_categoris=3'), "'num_categories'"),
        (('train', 'pdso_photos', 'num_categories=three'), 'a whole number'),
        (('train', 'pdso_photos', 'data_root=testz'), 'no such folder. Did you mean tests?'),
        (('train', 'pass_s50'), 'data_root=data/ImageNetS50: no such folder. Set data_root'),
        (('evaluate', 'a', 'b', '--categories', '3', '--out', 'c', '--matching', 'x'), 'hungarian'),
        (('infer', 'run', 'images'), '--out'),
    ],
)
def test_mistakes_end_in_one_line_that_names_what_was_meant(capsys, arguments, nearest):
    line = end_of(capsys, *arguments)
    assert line.startswith('error: ') and nearest in line and '\n' not in line


def test_every_recipe_is_listed(capsys):
    main(['recipes'])
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == '  '}
    assert listed == {path.stem for path in Path('configs').glob('[!_]*/*.py')}


def test_recipes_by_name_and_by_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe('pdso_photos').is_file()
    own = tmp_path / 'own.py'
    own.touch()
    assert find_recipe('own.py').resolve() == own
    assert len(recipes()) > 50 and all(path.is_file() for path in recipes().values())


def test_settings_are_listed_with_default_type_and_meaning():
    lines = settings_table('pdso_photos').splitlines()
    place = lines.index('resize_side=256')
    assert 'a whole number >= 1' in lines[place + 1] and len(lines[place + 1].split()) > 12


def test_completion():
    assert candidates('luss tr') == ['train ']
    assert 'pdso_photos ' in candidates('luss train pdso_')
    assert candidates('luss train pdso_photos num_cat') == ['num_categories=']
    assert candidates('luss infer ') == []


def test_doctor_looks_at_the_machine(tmp_path, capsys):
    main(['doctor', '--work-dir', str(tmp_path)])
    assert f'free disk, {tmp_path}' in capsys.readouterr().out
