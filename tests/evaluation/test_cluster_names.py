import json

import pytest

from luss_mm.evaluation.cluster_matching import match_of_names
from luss_mm.evaluation.cluster_names import given_names, merged_ids, name_of, read_names, run_names
from luss_mm.work_dir.run_folder import read_match


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    return folder


def scores(*names):
    return dict(per_class=[dict(id=i, name=name) for i, name in enumerate(names)])


def test_a_run_that_was_scored(tmp_path):
    match = {'0': 0, '1': 2, '2': 1, '3': 3}  # 3 = C + 1: without a category
    write(tmp_path / 'evaluation', match=match, scores=scores('others', 'ant', 'Biene'))
    names = run_names(tmp_path)
    assert names == {0: 'others', 1: 'Biene', 2: 'ant'}
    assert [name_of(i, names) for i in range(4)] == ['others', 'Biene', 'ant', 'cluster 3']


def test_a_run_that_was_not_scored(tmp_path):
    assert run_names(tmp_path) == {}
    assert name_of(0, {}) == 'others' and name_of(919, {}) == 'cluster 919'


def test_categories_without_names(tmp_path):
    write(tmp_path, match={'0': 0, '1': 300})
    assert read_names(tmp_path / 'match.json') == {0: 'others', 1: 'category 300'}
    write(tmp_path, match={'0': 0, '1': 1, '2': 2}, scores=scores('0', '1'))
    assert read_names(tmp_path / 'match.json') == {0: 'others', 1: 'category 1'}


def test_names_of_ones_own(tmp_path):
    write(tmp_path, names={'7': 'Gänse', '0': 'background'})
    assert read_names(tmp_path / 'names.json') == {7: 'Gänse', 0: 'background'}


@pytest.mark.parametrize('content', [{}, [], {'per_class': [1]}, {'per_class': [{'id': 'x'}]}])
def test_broken_scores_beside_a_match_are_named(tmp_path, content):
    write(tmp_path, match={'0': 0, '1': 1})
    (tmp_path / 'scores.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='scores.json: names no categories'):
        read_names(tmp_path / 'match.json')


@pytest.mark.parametrize('content', ['[' * 100_000, '{"%s": "a"}' % ('9' * 5000)])
def test_endless_contents_are_refused(tmp_path, content):
    (tmp_path / 'names.json').write_text(content)
    with pytest.raises(ValueError, match='names.json: n'):
        read_names(tmp_path / 'names.json')


@pytest.mark.parametrize('content', [[], {'a': 'b'}, {'-1': 'b'}, {'1': None}, {'1': 'a', '2': 3}])
def test_other_contents_are_refused(tmp_path, content):
    write(tmp_path, names=content)
    with pytest.raises(ValueError, match='names.json'):
        read_names(tmp_path / 'names.json')
    (tmp_path / 'text.json').write_text('ant')
    with pytest.raises(ValueError, match='text.json: not JSON'):
        read_names(tmp_path / 'text.json')


def test_names_that_people_gave_come_first_and_merge(tmp_path):
    write(tmp_path / 'finetune/evaluation', match={'0': 0, '1': 1, '2': 2})
    assert given_names(tmp_path) == {} and run_names(tmp_path / 'finetune')[1] == 'category 1'
    write(tmp_path, names={'1': 'beach', '2': 'cat', '3': 'beach'})
    names = {1: 'beach', 2: 'cat', 3: 'beach'}
    assert run_names(tmp_path / 'finetune') == given_names(tmp_path) == names
    assert merged_ids(names) == {3: 1}
    assert given_names(tmp_path / 'finetune/evaluation/match.json') == {}  # names nothing


def test_a_match_may_name_categories(tmp_path):
    path = write(tmp_path, names={'1': 'bee', '2': 'cat', '3': 'bee'}) / 'names.json'
    match = match_of_names(read_match(path), 4, ['others', 'ant', 'bee'])
    assert match == {'0': 0, '1': 2, '2': 3, '3': 2, '4': 3}  # 3 = C + 1: never right
    assert match_of_names({'0': 0, '1': 2}, 1, ['others', 'ant', 'bee']) == {'0': 0, '1': 2}
    with pytest.raises(ValueError, match='none of the names bee, cat'):
        match_of_names(read_match(path), 3, ['others', 'dog'])
