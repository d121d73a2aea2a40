import json

import pytest

from .metric_runs import evaluate, read
from .slow_toolbox import made_up_images, slow_figures


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
