import json

import numpy as np
import pytest

from luss_mm.evaluation import UnsupervisedIoUMetric
from luss_mm.functional.matching import MATCHING_RULES

from .metric_runs import FIGURES, evaluate, read
from .slow_toolbox import made_up_images, slow_figures, slow_scores


@pytest.mark.parametrize('rule', ['pixel_hungarian', 'majority'])
def test_other_rules_are_named_in_the_files_and_the_log(rule, tmp_path, monkeypatch):
    lines = []
    log = 'luss_mm.evaluation.unsupervised_iou.print_log'
    monkeypatch.setattr(log, lambda text, logger: lines.append(text))
    images = made_up_images(20, 14, 5)
    scores = evaluate(images, 14, 5, matching=rule, output_dir=tmp_path)
    assert scores == slow_scores(images, 14, 5, rule)[0]
    report = read(tmp_path / 'scores.json')
    assert report['matching'] == rule and report['matching_rule'] == MATCHING_RULES[rule]
    assert f'{rule}: {MATCHING_RULES[rule]}' in lines[-1]
    with pytest.raises(ValueError, match="no matching rule 'best'"):
        UnsupervisedIoUMetric(3, 3, matching='best')


def test_a_given_match_from_a_dict_or_a_file(tmp_path):
    images, match = made_up_images(12, 4, 3), {'0': 0, '1': 3, '2': 3, '3': 0, '4': 4}
    (tmp_path / 'match.json').write_text(json.dumps(match))
    scores = evaluate(images, 4, 3, match=match, output_dir=tmp_path / 'out')
    assert scores == evaluate(images, 4, 3, match=tmp_path / 'match.json')
    figures, _ = slow_figures(images, {int(g): c for g, c in match.items()}, 3)
    assert scores['mIoU'] == round(figures['mIoU'], 2)
    assert scores['ImgAcc'] == round(figures['Acc'], 2)
    report = read(tmp_path / 'out' / 'scores.json')
    assert report['matching'] == 'given' and report['unmatched_clusters'] == [4]
    assert 'match clusters' not in report['ground_truth_use']
    assert read(tmp_path / 'out' / 'match.json') == match
    with pytest.raises(ValueError, match='no category for generated id 5'):
        evaluate(images, 5, 3, match=match)


def test_a_size_without_instances_is_null_in_the_file_and_not_logged(tmp_path):
    truth = np.zeros((10, 10), dtype=np.int64)
    truth[:, :3] = 1  # 30 %
    scores = evaluate([(truth, truth)], 1, 1, output_dir=tmp_path)
    assert scores == dict.fromkeys([*FIGURES, 'ML', 'BML'], 100)
    report = read(tmp_path / 'scores.json')
    assert report['S'] is None and report['BL'] is None and report['ML'] == 100
    assert report['size_classes'] == {'S': 0, 'MS': 0, 'ML': 2, 'L': 0}
