"""Training and using a run from Python, the notebook of the documentation included."""

import json
from pathlib import Path

import numpy as np
import pytest

import luss_mm
from luss_mm.recipes.settings import SettingsError
from tests.small_recipe import OPTIONS, RECIPE, copy_run, final_scores, finished_run

NOTEBOOK = Path('docs/photographs.ipynb')


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    return copy_run(finished_run(), tmp_path_factory.mktemp('api') / 'run')


def test_a_run_says_what_it_has(work_dir):
    run = luss_mm.load(work_dir)
    assert run.scores == final_scores(work_dir)
    assert run.labels_used == ['validation masks: matching and scoring']
    assert run.pseudo_labels == work_dir / 'pseudo_labels'
    assert run.report.is_file() and 'validation masks' in repr(run)
    (labels,) = run.predict(np.zeros((40, 56, 3), np.uint8))
    assert labels.shape == (40, 56) and labels.dtype == np.uint16


def test_trains_twice_in_one_process(work_dir):
    """Only fine-tuning: the stages before it are finished."""
    lengths = []
    for epochs in (1, 2):
        run = luss_mm.train(None, work_dir, RECIPE, **OPTIONS | dict(finetune_epochs=epochs))
        (log,) = (work_dir / 'finetune').glob('*/*.log')
        lengths.append(log.read_text().count('Epoch(train)'))
        assert run.scores.keys() == final_scores(finished_run()).keys()
    assert lengths == [3, 6]  # a line a batch: no line of one training in the log of the other


def test_mistakes_are_named_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match='pdso_photos'):
        luss_mm.train('photos', tmp_path / 'out', recipe='pdso_foto')
    with pytest.raises(SettingsError, match='finetune_epochs'):
        luss_mm.train('photos', tmp_path / 'out', finetune_epoch=3)
    assert not (tmp_path / 'out').exists()


def test_recipes_are_listed():
    assert 'photographs' in luss_mm.list_recipes()['pdso_photos']


def test_the_notebook_runs(work_dir, tmp_path):
    """Its cells as they are, but for the first, which names the images and the settings."""
    cells = [c for c in json.loads(NOTEBOOK.read_text())['cells'] if c['cell_type'] == 'code']
    images = sorted(finished_run().glob('data/validation/**/*.*'))[:2]
    values = dict(
        PHOTOS=None, OUT=copy_run(finished_run(), tmp_path / 'run'), RECIPE=RECIPE, SETTINGS=OPTIONS
    )
    assert {line.split(' = ')[0] for line in cells[0]['source']} >= values.keys()
    values['NEW'] = images
    for cell in cells[1:]:
        exec(''.join(cell['source']), values)
    assert len(values['labels']) == len(images)
