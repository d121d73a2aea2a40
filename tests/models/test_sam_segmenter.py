import json

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from luss_mm.models.segmenters import SAMSegmenter, SegmenterError
from tests.models.small_sam import SIZES, prompt, random_image, write_sam

SHAPES = dict(square=(40, 40), wide=(30, 71), tall=(90, 33), tiny=(2, 3), large=(97, 1100))
LEFT, RIGHT, ALL = (0.1, 0.2, 0.4, 0.7), (0.6, 0.1, 0.9, 0.9), (0, 0, 1, 1)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('sam') / 'small.pth'
    write_sam(path)
    return path


def segmenter_of(checkpoint, **settings):
    return SAMSegmenter(checkpoint, model_type=SIZES, **settings)


def mixed_prompts(size):
    """Boxes and points in all combinations."""
    return [
        prompt(size, LEFT, RIGHT, point=(0.7, 0.5)),
        prompt(size, RIGHT),
        prompt(size, ALL, point=(0.2, 0.3)),
        prompt(size),
        prompt(size, LEFT, ALL, RIGHT),
    ]


def contains(box, point):
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def slow_logits(sam, image, prompts):
    """Full-size logits of the second pass by SamPredictor, a box at a time, a list a prompt."""
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    results = []
    for asked in prompts:
        results.append([])
        for box in asked.boxes:
            x0, y0, x1, y1 = box.tolist()  # first and last pixel
            settings = dict(box=np.array([x0, y0, x1 + 1, y1 + 1]))
            if asked.point is not None and contains(box, asked.point):
                settings.update(point_coords=np.array([asked.point]), point_labels=np.array([1]))
            _, scores, low = predictor.predict(**settings, multimask_output=True)
            best = low[scores.argmax()][None]
            logits, _, _ = predictor.predict(
                **settings, mask_input=best, multimask_output=False, return_logits=True
            )
            results[-1].append(logits[0])
    return results


def slow_masks(logits, size):
    return [np.any([np.zeros(size)] + [one > 0 for one in many], axis=0) for many in logits]


@pytest.mark.parametrize('prompts_per_batch', [1, 2, 32])
@pytest.mark.parametrize('size', SHAPES.values(), ids=SHAPES)
def test_equals_one_prompt_at_a_time(checkpoint, size, prompts_per_batch):
    image, prompts = random_image(size), mixed_prompts(size)
    segmenter = segmenter_of(checkpoint, prompts_per_batch=prompts_per_batch)
    masks = segmenter.segment(segmenter.encode([image])[0], prompts)
    logits = slow_logits(segmenter.sam, image, prompts)
    expected = slow_masks(logits, size)
    for mask, truth, many in zip(masks, expected, logits, strict=True):
        assert mask.dtype == bool and mask.shape == size
        undecided = np.any([np.zeros(size)] + [np.abs(one) < 1e-4 for one in many], axis=0)
        assert not ((mask != truth) & ~undecided).any()
        assert undecided.mean() < 0.05
    if min(size) > 2:
        shares = [mask.mean() for mask in expected if mask.any()]
        assert len(shares) >= 3 and min(shares) < 0.95, 'the masks are too simple to test anything'


def test_low_resolution_logits_equal_the_predictor(checkpoint):
    size = SHAPES['wide']
    image, prompts = random_image(size), mixed_prompts(size)
    segmenter = segmenter_of(checkpoint)
    encoded = segmenter.encode([image])[0]
    with torch.inference_mode():
        for batch in segmenter._batches(prompts):
            logits = segmenter._decode_twice(encoded, batch)
            for one, low in zip(batch, logits, strict=True):
                alone = prompts[one.index]
                position = [np.array_equal(box, one.box) for box in alone.boxes].index(True)
                truth = slow_logits(segmenter.sam, image, [alone])[0][position]
                full = segmenter.sam.postprocess_masks(low[None], encoded.input_size, size)
                np.testing.assert_allclose(full[0, 0], truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize('dtype, tolerance', [('bfloat16', 0.05), ('float16', 0.005)])
def test_encoder_in_half_precision(checkpoint, dtype, tolerance):
    image = random_image((50, 64))
    exact = segmenter_of(checkpoint).encode([image])[0].embedding
    half = segmenter_of(checkpoint, encoder_dtype=dtype).encode([image])[0].embedding
    assert half.dtype == torch.float32
    difference = (half - exact).abs().max() / exact.abs().max()
    assert 0 < difference < tolerance


def test_facts_follow_the_file_and_the_settings(tmp_path):
    write_sam(tmp_path / 'a.pth')
    (tmp_path / 'b.pth').write_bytes((tmp_path / 'a.pth').read_bytes())
    write_sam(tmp_path / 'c.pth', window_size=3)
    facts = segmenter_of(tmp_path / 'a.pth').facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts == segmenter_of(tmp_path / 'b.pth', prompts_per_batch=1).facts()
    assert facts != segmenter_of(tmp_path / 'a.pth', encoder_dtype='bfloat16').facts()
    other = SAMSegmenter(tmp_path / 'c.pth', model_type={**SIZES, 'window_size': 3}).facts()
    assert other['checkpoint_sha256'] != facts['checkpoint_sha256']


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(model_type='vit_x'), 'vit_b, vit_l, vit_h'),
        (dict(model_type=dict(depth=3)), 'unknown sizes depth'),
        (dict(encoder_dtype='int8'), 'float32, bfloat16, float16'),
        (dict(prompts_per_batch=0), 'must be >= 1'),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(SegmenterError, match=message):
        SAMSegmenter('x.pth', **settings)


@pytest.mark.parametrize('size', [(1, 1000), (1000, 1), (1, 1), (2, 1000)])
def test_an_image_without_a_row_at_sams_size_gets_one(checkpoint, size):
    segmenter = segmenter_of(checkpoint)
    encoded = segmenter.encode([random_image(size)])[0]
    assert min(encoded.input_size) >= 1
    whole = np.array([[0, 0, size[1] - 1, size[0] - 1]])
    (mask,) = segmenter.segment(encoded, [prompt(size, whole)])
    assert mask.shape == size and mask.dtype == bool
    assert segmenter.similarity(encoded, np.ones(size, bool)).shape == size
    for mask in segmenter.segment_everything(random_image(size), points_per_side=2):
        assert mask.shape == size and mask.dtype == bool


def test_infinite_embeddings_are_refused(tmp_path):
    sam = write_sam(tmp_path / 'small.pth')
    state = sam.state_dict()
    state['image_encoder.neck.1.bias'][0] = float('nan')
    torch.save(state, tmp_path / 'nan.pth')
    with pytest.raises(SegmenterError, match='gave NaN or infinity in float32'):
        segmenter_of(tmp_path / 'nan.pth').encode([random_image((8, 8))])
