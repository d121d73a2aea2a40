"""A work directory is read as it was written, also one of an earlier version or a moved one."""

import json

import numpy as np
import pytest

from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.run_folder import (
    EvaluationFolder,
    MissingPartError,
    RunFolder,
    StageFolder,
    ThresholdChoice,
    load_threshold,
    read_match,
    write_threshold,
)


def test_metrics_are_read_under_their_present_and_their_earlier_name(tmp_path):
    stage = StageFolder(tmp_path)
    assert stage.metrics() is None
    (tmp_path / 'scores.json').write_text(json.dumps(dict(epoch=1, metrics=dict(mIoU=1.0))))
    assert stage.metrics() == dict(mIoU=1.0)
    stage.write_metrics(2, 20, dict(mIoU=np.float32(2.5)))
    assert stage.metrics() == dict(mIoU=2.5)


def test_match_and_scores_come_back(tmp_path):
    folder = EvaluationFolder(tmp_path / 'evaluation')
    with pytest.raises(MissingPartError, match='evaluation/match.json'):
        folder.mapping()
    mapping = np.array([0, 3, 1, 2])
    folder.write(mapping, dict(mIoU=12.5))
    np.testing.assert_array_equal(folder.mapping(), mapping)
    assert folder.scores() == dict(mIoU=12.5)
    assert read_match(folder.match_file) == {'0': 0, '1': 3, '2': 1, '3': 2}


@pytest.mark.parametrize(
    'choice',
    [
        ThresholdChoice('otsu', 0.25, (0.1, 0.5)),
        ThresholdChoice('validation_sweep', 0.5, (0.5, 0.5), (0.1, 0.3)),
        ThresholdChoice(0.5, 0.5),
    ],
)
def test_a_threshold_comes_back(tmp_path, choice):
    write_threshold(tmp_path, choice)
    assert load_threshold(tmp_path) == choice
    assert bool(choice.used_ground_truth) == (choice.rule == 'validation_sweep')


def test_what_an_output_was_made_from_is_found_by_its_key(tmp_path):
    keys = {}
    for name, parts in dict(first=[], second=[], maps=['second']).items():
        inputs = {f'{part} part': keys[part] for part in parts}
        produce(tmp_path / name, lambda unfinished: None, inputs, dict(name=name))
        keys[name] = RunFolder(tmp_path).manifests[name]['key']
    run = RunFolder(tmp_path)
    assert run.source_of('maps', 'second part') == 'second'
    with pytest.raises(MissingPartError):
        run.source_of('maps', 'first part')
    with pytest.raises(FileNotFoundError, match='no finished stage'):
        RunFolder.read(tmp_path)
    with pytest.raises(FileNotFoundError, match='tools/train.py my_recipe.py'):
        run.finished_stage('absent', 'my_recipe.py')


def test_what_a_match_file_must_be_is_named(tmp_path):
    path = tmp_path / 'match.json'
    for text, message in [('{', 'not JSON'), ('[1]', 'one JSON object'), ('{"1": 2.5}', 'object')]:
        path.write_text(text)
        with pytest.raises(ValueError, match=f'match.json: .*{message}'):
            read_match(path)
