"""UO-SAM's transform against its steps written out with SamPredictor, and what it does without."""

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from scipy import ndimage
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from torch.nn import functional as F

from luss_mm.datasets.transforms import OrganizePseudoLabel
from luss_mm.models.segmenters import SAMSegmenter
from luss_mm.models.segmenters.sam_segmenter import AUTOMATIC_MASKS
from tests.datasets.test_pseudo_label import KnownMasks, box_mask, quadrants
from tests.models.small_sam import SIZES, random_image, write_sam

POINTS = 4  # of the grid, for speed


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('sam') / 'small.pth'
    write_sam(path)
    return path


def slow_similarity(predictor, region):
    """Mean of the features whose cell's centre lies in the region, cosine, enlarged as a mask."""
    features = predictor.features[0]  # (C, g, g)
    scale = predictor.input_size[0] / region.shape[0], predictor.input_size[1] / region.shape[1]
    chosen = []
    for i, j in np.ndindex(*features.shape[1:]):
        y = int((i + 0.5) * SIZES['patch_size'] / scale[0])
        x = int((j + 0.5) * SIZES['patch_size'] / scale[1])
        if y < region.shape[0] and x < region.shape[1] and region[y, x]:
            chosen.append(features[:, i, j])
    target = F.normalize(torch.stack(chosen).mean(dim=0), dim=0)
    cosine = torch.einsum('c,chw->hw', target, F.normalize(features, dim=0))
    low = F.interpolate(cosine[None, None], scale_factor=4, mode='bilinear')
    full = predictor.model.postprocess_masks(low, predictor.input_size, predictor.original_size)
    return full[0, 0].numpy()


def slow_region(predictor, region):
    """Two predictions; the second with the box of the first."""
    similarity = slow_similarity(predictor, region)
    width = region.shape[1]
    best, worst = int(similarity.argmax()), int(similarity.argmin())
    points = np.array([[best % width, best // width], [worst % width, worst // width]])
    prompts = dict(point_coords=points, point_labels=np.array([1, 0]))
    parts, _ = ndimage.label(region, np.ones((3, 3)))
    ys, xs = np.nonzero(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    masks, scores, low = predictor.predict(**prompts, box=box, multimask_output=True)
    best = scores.argmax()
    ys, xs = np.nonzero(masks[best])
    if not len(ys):
        return None
    box = np.array([xs.min(), ys.min(), xs.max(), ys.max()])
    masks, *_ = predictor.predict(
        **prompts, box=box, mask_input=low[best][None], multimask_output=False
    )
    return masks[0]


def slow_labels(sam, image, coarse, min_overlap):
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    areas = {c: (coarse == c).sum() for c in np.unique(coarse) if c}
    large = [c for c in sorted(areas, key=areas.get, reverse=True) if areas[c] >= coarse.size / 10]
    local = np.zeros_like(coarse)
    for category in large:
        region = coarse == category
        mask = slow_region(predictor, region)
        if mask is None:
            continue
        if (mask & region).sum() / (mask | region).sum() < min_overlap:
            local[:] = 0
            break
        local[mask] = category
    local = local if local.any() else coarse
    if len(np.unique(local)) == 1:
        return local
    voted = local.copy()
    found = SamAutomaticMaskGenerator(sam, POINTS, **AUTOMATIC_MASKS).generate(image)
    for one in sorted(found, key=lambda one: one['area'], reverse=True):
        inside = one['segmentation']
        voted[inside] = np.bincount(local[inside]).argmax()
    return voted if voted.any() else local


def sample(image, segmenter):
    """Three regions of different sizes, one too small, in the image."""
    ids = torch.zeros(12, 16, dtype=torch.long)
    ids[1:8, 1:9], ids[2:8, 10:15], ids[10, 2:4] = 1, 2, 3
    features = torch.eye(4)[ids].permute(2, 0, 1)
    return dict(
        features=features,
        foreground_score=(ids > 0).float(),
        centroids=torch.eye(4)[1:],
        threshold=0.5,
        squared_distances=np.array([0.1, 0.2, 0.3], np.float32),
        ori_shape=image.shape[:2],
        encoded_image=segmenter.encode([image])[0],
        loaded_image=image,
    )


@pytest.mark.parametrize('min_overlap', [0.0, 0.4])
@pytest.mark.parametrize('size', [(48, 64), (64, 40)])
def test_equals_the_steps_written_out(checkpoint, monkeypatch, size, min_overlap):
    # A network with random weights is sure of nothing: its masks are taken as they come.
    settings = dict(pred_iou_thresh=-1, stability_score_thresh=-1, box_nms_thresh=1)
    for name, value in (settings | dict(min_mask_region_area=0)).items():
        monkeypatch.setitem(AUTOMATIC_MASKS, name, value)
    config = dict(type='SAMSegmenter', checkpoint=checkpoint, model_type=SIZES)
    transform = OrganizePseudoLabel(config, min_overlap=min_overlap, points_per_side=POINTS)
    image = random_image(size)
    results = transform(sample(image, transform.segmenter))
    coarse, labels = results['coarse_label'], results['gt_seg_map']
    expected = slow_labels(transform.segmenter.sam, image, coarse, min_overlap)
    assert set(np.unique(coarse)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int64 and (labels != coarse).any()
    assert len(np.unique(labels)) > 1
    assert results['label_outcome']['too_small'] == [3]


class KnownObjects(KnownMasks):
    """`KnownMasks` with features that resemble the region most at its first pixel."""

    knows_objects = True

    def __init__(self, everything=(), **kwargs):
        super().__init__(**kwargs)
        self.everything = everything

    def similarity(self, encoded, region):
        return np.where(region, 1.0, -1.0)

    def segment_everything(self, image, points_per_side):
        return list(self.everything)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(MODELS._module_dict, 'KnownObjects', KnownObjects)
    monkeypatch.setitem(MODELS._module_dict, 'KnownMasks', KnownMasks)


def organized(everything=(), masks=None, **settings):
    config = dict(type='KnownObjects', everything=everything, masks=masks)
    transform = OrganizePseudoLabel(config, **settings)
    transform.check()
    return transform, transform(quadrants() | dict(encoded_image='code', loaded_image=None))


def test_prompts_and_votes():
    transform, results = organized([box_mask(0, 0, 15, 2)])
    ((_, prompts),) = transform.segmenter.calls
    assert [p.category for p in prompts] == [2, 1, 3]  # by area
    assert prompts[1].boxes.tolist() == [[0, 0, 7, 5]]
    assert prompts[1].point == (0, 0) and prompts[1].other_point == (8, 0)
    labels, coarse = results['gt_seg_map'], results['coarse_label']
    assert (labels[:3] == 1).all()  # 8 of 16 columns
    np.testing.assert_array_equal(labels[3:], coarse[3:])
    assert results['label_outcome']['labelled'] == [1, 2, 3]


def test_smaller_categories_paint_over_and_disagreement_keeps_the_image():
    masks = {2: box_mask(0, 0, 15, 11), 1: box_mask(0, 0, 7, 5), 3: box_mask(0, 6, 7, 11)}
    _, results = organized(masks=masks, min_overlap=0.37)  # 72 of 192 pixels of 2's mask agree
    assert np.unique(results['gt_seg_map'], return_counts=True)[1].tolist() == [48, 96, 48]
    assert not results['label_outcome']['kept_coarse']
    _, results = organized(masks=masks, min_overlap=0.38)
    np.testing.assert_array_equal(results['gt_seg_map'], results['coarse_label'])
    assert results['label_outcome']['kept_coarse']


def test_a_segmenter_without_features_is_refused_beforehand():
    with pytest.raises(ValueError, match="KnownMasks has none: set segmenter.type='SAMSegmenter'"):
        OrganizePseudoLabel(dict(type='KnownMasks')).check()


@pytest.mark.parametrize(
    'wrong', [dict(min_share=1.5), dict(min_overlap=-1), dict(points_per_side=0)]
)
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match='lie in'):
        OrganizePseudoLabel(**wrong)


def test_facts_tell_the_method(checkpoint):
    config = dict(type='SAMSegmenter', checkpoint=checkpoint, model_type=SIZES)
    facts = OrganizePseudoLabel(config).facts()
    assert facts['method'] == 'UO-SAM' and facts['points_per_side'] == 64
    assert facts != OrganizePseudoLabel(config, min_share=0.2).facts()
    assert OrganizePseudoLabel().facts() == dict(segmenter=None)
    assert SAMSegmenter.knows_objects
