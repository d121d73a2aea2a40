import json

import numpy as np
import pytest

from luss_mm.pipeline.generate_labels import count_outcome, summarise_images
from luss_mm.pipeline.image_counts import judge_run, mean_predicted_foreground


def image(foreground, cluster):
    labels = np.zeros(100, int)
    labels[:foreground] = cluster
    outcome = dict(labelled=[cluster])
    return dict(
        gt_seg_map=labels.reshape(10, 10), active_categories=[cluster], label_outcome=outcome
    )


def summary_of(images, num_clusters):
    counts = sum((count_outcome(image(*each)) for each in images), start=count_outcome(image(1, 1)))
    counts.subtract(count_outcome(image(1, 1)))
    return summarise_images(+counts, num_clusters)


def test_a_summary_of_the_images():
    shares = [0, 0, 10, 35, 100]
    found = summary_of([(share, 1 + (share > 50)) for share in shares], 3)
    assert found['images'] == 5 and found['images without foreground'] == 2
    assert found['images without background'] == 1 and found['categories labelled'] == 5
    assert found['mean foreground in %'] == np.mean(shares)
    assert found['median foreground in %'] == np.median(shares)
    assert found['clusters with few images'] == 1  # of 4, 1 and 0
    assert not any('per mille' in name or 'of cluster' in name for name in found)


def write(run, shares, predicted, ignored=0):
    (run / 'pseudo_labels').mkdir()
    outcomes = summary_of([(share, 1) for share in shares], 1)
    (run / 'pseudo_labels/outcomes.json').write_text(json.dumps(outcomes))
    (run / 'finetune/evaluation').mkdir(parents=True)
    lines = [
        dict(image='a', clusters=[0, 3], categories=[0, 1], pixels=[[100 - p, 0], [0, p]])
        for p in predicted
    ]
    lines += [dict(image='b', clusters=[], categories=[], pixels=[])] * ignored
    text = '\n'.join(map(json.dumps, lines))
    (run / 'finetune/evaluation/image_counts.0.jsonl').write_text(text)


def test_a_sound_run_has_one_line(tmp_path):
    write(tmp_path, [20, 30], [10, 15], ignored=1)
    assert mean_predicted_foreground(tmp_path / 'finetune/evaluation') == 0.125
    (line,) = judge_run(tmp_path, 'finetune').lines
    assert '25.0% of pseudo-labels, 12.5% of predictions (validation images)' in line


@pytest.mark.parametrize(
    'shares, predicted, failures',
    [
        ([0, 30, 30], [30], ['pseudo-labels: 33% of the images have no foreground']),
        ([1, 1, 50], [30], ['pseudo-labels: 1.0% of the median image']),
        ([100, 95], [90], ['pseudo-labels: 97.5% of the median image']),
        ([20, 30], [12], ['fine-tuning (finetune): predictions have 12.0% foreground']),
        ([0, 30], [1], ['pseudo-labels: 50% of the images', 'fine-tuning (finetune)']),
    ],
)
def test_what_has_failed_and_where(tmp_path, shares, predicted, failures):
    write(tmp_path, shares, predicted)
    found = judge_run(tmp_path, 'finetune').failures
    assert len(found) == len(failures)
    for text, expected in zip(found, failures, strict=True):
        assert f'probably failed at its {expected}' in text and 'Try ' in text
