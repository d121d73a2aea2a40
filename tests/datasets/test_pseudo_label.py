import numpy as np
import pytest
import torch
from mmseg.registry import MODELS, TRANSFORMS

from luss_mm.datasets.transforms.pseudo_label import GeneratePseudoLabel

SIZE = (12, 16)


class KnownMasks:
    """Segmenter that answers with given masks and writes down what it was asked."""

    used_sam = False
    knows_objects = False
    built = 0

    def __init__(self, masks=None, checkpoint=None):
        type(self).built += 1
        self.masks = masks or {}
        self.checkpoint = checkpoint
        self.calls = []

    def segment(self, encoded, prompts):
        self.calls.append((encoded, prompts))
        return [self.masks.get(p.category, p.region) for p in prompts]

    def facts(self):
        return dict(type='KnownMasks', checkpoint=self.checkpoint)

    def check(self):
        if self.checkpoint is not None:
            raise RuntimeError(f'{self.checkpoint}: no such checkpoint')


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(MODELS._module_dict, 'KnownMasks', KnownMasks)
    monkeypatch.setattr(KnownMasks, 'built', 0)


def quadrants(ids=(1, 2, 3, 2), num_categories=4, distances=None):
    """An image of four quadrants (left to right, top to bottom); the right column is background.

    Features are 6 x 8 cells of 2 x 2 pixels, the foreground score peaks in the last quadrant.
    """
    centroids = torch.eye(num_categories)
    grid = torch.tensor(ids).reshape(2, 2).repeat_interleave(3, 0).repeat_interleave(4, 1)
    features = centroids[grid - 1].permute(2, 0, 1)  # (C, 6, 8)
    score = torch.full((6, 8), 0.5)
    score[:, 7] = 0.1
    score[4, 5] = 0.9
    if distances is None:
        distances = np.linspace(0.1, 0.7, num_categories, dtype=np.float32)
    return dict(
        features=features,
        foreground_score=score,
        centroids=centroids,
        threshold=0.4,
        squared_distances=distances,
        ori_shape=SIZE,
    )


def with_segmenter(masks=None, **settings):
    return GeneratePseudoLabel(segmenter=dict(type='KnownMasks', masks=masks), **settings)


def box_mask(x0, y0, x1, y1):
    mask = np.zeros(SIZE, dtype=bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def test_without_a_segmenter_the_coarse_label_is_final():
    transform = TRANSFORMS.build(dict(type='GeneratePseudoLabel'))
    results = transform(quadrants())
    labels = results['gt_seg_map']
    assert labels.dtype == results['coarse_label'].dtype == np.int64 and labels.shape == SIZE
    assert [labels[0, 0], labels[0, 8], labels[6, 0], labels[6, 8], labels[0, 15]] == [
        1,
        2,
        3,
        2,
        0,
    ]
    np.testing.assert_array_equal(labels, results['coarse_label'])
    assert labels is not results['coarse_label'] and transform.segmenter is None
    assert results['active_categories'] == [1, 2, 3, 4]
    assert results['label_outcome'] == dict(labelled=[1, 2, 3])
    transform.check()


def test_the_segmenter_is_asked_once_for_one_prompt_a_class():
    transform = with_segmenter()
    distances = np.array([0.5, 0.2, 0.9, 0.6], dtype=np.float32)  # active: 2, 1, 4
    results = transform(quadrants((2, 1, 1, 2), distances=distances) | dict(encoded_image='code'))
    ((encoded, prompts),) = transform.segmenter.calls
    assert encoded == 'code' and [p.category for p in prompts] == [2, 1]
    # diagonal quadrants touch, so each class is one component but for the cut-off column
    assert prompts[0].boxes.tolist() == [[0, 0, 13, 11]]
    assert prompts[0].point[0] in (10, 11) and prompts[0].point[1] in (8, 9)
    assert prompts[1].boxes.tolist() == [[0, 0, 13, 11]] and prompts[1].point is None
    np.testing.assert_array_equal(prompts[1].region, results['coarse_label'] == 1)
    assert results['active_categories'] == [2, 1, 4]


def test_an_image_without_foreground_asks_for_nothing():
    transform = with_segmenter()
    results = transform(quadrants() | dict(threshold=2.0, encoded_image=None))
    assert transform.segmenter.calls == [] and not results['gt_seg_map'].any()
    told = results['label_outcome']
    assert told['kept_coarse'] and told['labelled'] == [] and told['absent'] == [1, 2, 3, 4]


@pytest.mark.parametrize('ids', [(255, 256, 919, 511), (1, 1, 1, 1)])
def test_large_ids_and_a_single_category(ids):
    num_categories = max(ids)
    inputs = quadrants(ids, num_categories, np.zeros(num_categories, np.float32))
    results = with_segmenter()(inputs | dict(encoded_image=None))
    np.testing.assert_array_equal(results['gt_seg_map'], results['coarse_label'])
    assert not results['label_outcome']['kept_coarse']
    assert results['gt_seg_map'][[0, 0, 6, 6], [0, 8, 0, 8]].tolist() == list(ids)


def test_half_precision_and_inference_tensors():
    expected = GeneratePseudoLabel()(quadrants())['gt_seg_map']
    with torch.inference_mode():
        inputs = quadrants()
        inputs['features'] = inputs['features'].half()
        inputs['foreground_score'] = inputs['foreground_score'].bfloat16()
        results = with_segmenter()(inputs | dict(encoded_image=None))
    np.testing.assert_array_equal(results['coarse_label'], expected)
    results['gt_seg_map'] += 1


@pytest.mark.parametrize('key', [*GeneratePseudoLabel.NEEDED, 'encoded_image'])
def test_missing_inputs_are_named(key):
    inputs = quadrants() | dict(encoded_image=None)
    del inputs[key]
    with pytest.raises(KeyError, match=f"needs results..?'{key}"):
        with_segmenter()(inputs)


def test_a_segmenter_that_answers_otherwise_is_named():
    short = with_segmenter({2: np.zeros((3, 3), dtype=bool)})
    with pytest.raises(ValueError, match=r'category 2 is bool \(3, 3\)'):
        short(quadrants() | dict(encoded_image=None))


def test_prompts_from_the_score_carry_it_and_a_point_for_every_class():
    transform = with_segmenter(prompts='score')
    inputs = quadrants() | dict(encoded_image=None, certain_scores=(0.3, 0.8))
    results = transform(dict(inputs))
    ((_, prompts),) = transform.segmenter.calls
    by_region = with_segmenter()
    expected = by_region(dict(inputs))
    ((_, published),) = by_region.segmenter.calls
    assert [p.category for p in prompts] == [p.category for p in published] == [1, 2, 3]
    assert [p.point is None for p in published] == [True, False, True]
    for prompt, other in zip(prompts, published, strict=True):
        x, y = prompt.point
        values = prompt.score.values
        assert values.shape == SIZE and values.dtype == np.float32
        assert prompt.region[y, x] and values[y, x] == values[prompt.region].max()
        assert (prompt.score.low, prompt.score.threshold, prompt.score.high) == (0.3, 0.4, 0.8)
        np.testing.assert_array_equal(prompt.region, other.region)
        np.testing.assert_array_equal(prompt.boxes, other.boxes)
        assert other.score is None
    np.testing.assert_array_equal(results['gt_seg_map'], expected['gt_seg_map'])


def test_prompts_from_the_score_need_certain_scores_and_are_a_fact():
    with pytest.raises(KeyError, match="needs results..?'certain_scores"):
        with_segmenter(prompts='score')(quadrants() | dict(encoded_image=None))
    GeneratePseudoLabel(prompts='score')(quadrants())  # nothing is prompted
    facts = with_segmenter(prompts='score').facts()
    assert facts == with_segmenter().facts() | dict(prompts='score')
