from functools import partial

import pytest
import torch
from mmseg.registry import MODELS

from luss_mm.models import DSSNSegmentor, dssn_segmentor
from tests.models.slow_dssn import (
    slow_alignment,
    slow_selected_cross_entropy,
    slow_selection,
)
from tests.models.slow_segmentation import IGNORED, slow_cross_entropy, slow_maps
from tests.models.small_dssn import batch, small_dssn

STRONG = ('strong1', 'strong2')


def every_second_channel(features, rate, levels, start=None):
    """In the place of random dropout: the first call drops even channels, the next odd ones."""
    start = every_second_channel.calls % 2 if start is None else start
    every_second_channel.calls += 1
    perturbed = [level.clone() for level in features]
    for level in perturbed:
        level[:, start::2] = 0
    return perturbed


@pytest.fixture(autouse=True)
def known_perturbation(monkeypatch):
    every_second_channel.calls = 0
    monkeypatch.setattr(dssn_segmentor, 'perturb_features', every_second_channel)


def logits_of(network, image, start=None):
    """Logits of one image alone, perhaps with perturbed features."""
    with torch.no_grad():
        features = network.extract_feat(image[None])
        if start is not None:
            features = every_second_channel(features, 0.5, None, start)
        return network.decode_head(features)[0]


def mixed(own, partner, box):
    """Pixel by pixel."""
    result = own.clone()
    left, top, width, height = box or (0, 0, 0, 0)
    for y in range(top, top + height):
        for x in range(left, left + width):
            result[..., y, x] = partner[..., y, x]
    return result


def slow_losses(
    model, inputs, samples, stride=1, limits=(0.92, 0.96), select_all=False, align=False
):
    """methods section 7, image by image and pixel by pixel."""
    labels = {v: torch.cat([s.gt_sem_seg.data for s in samples[v]]) for v in ('labelled', 'weak')}
    size = labels['weak'][0, ::stride, ::stride].shape
    count = len(inputs['weak']) // 2
    resized = partial(slow_maps, align_corners=align)
    valid = labels['weak'] != IGNORED
    supervised = [logits_of(model.student, image) for image in inputs['labelled']]
    results = {'decode.loss_ce': slow_cross_entropy(supervised, labels['labelled'], stride)}

    def teach(sources, masks):
        pixels = [
            set(map(tuple, m.nonzero().tolist())) if select_all else slow_selection(s, m, *limits)
            for s, m in zip(sources, masks, strict=True)
        ]
        share = sum(map(len, pixels)) / max(1, int(sum(m.sum() for m in masks)))
        return [source.argmax(dim=0) for source in sources], pixels, masks, share

    own = [mask[::stride, ::stride] for mask in valid[:count]]
    clean = [resized(logits_of(model.student, w), size) for w in inputs['weak'][:count]]
    *taught, results['selected_weak'] = teach(clean, own)
    perturbed = [
        [resized(logits_of(model.student, w, start), size) for w in inputs['weak'][:count]]
        for start in (0, 1)
    ]
    for i, maps in enumerate(perturbed, start=1):
        results[f'loss_feature{i}'] = slow_selected_cross_entropy(maps, *taught)
    results['loss_align_feature'] = slow_alignment(*perturbed, own)

    views, masks = [], []
    for v, view in enumerate(STRONG, start=1):
        boxes = [s.metainfo['cutmix_box'] for s in samples[view][:count]]
        maps, sources, view_masks = [], [], []
        for i, box in enumerate(boxes):
            image = mixed(inputs[view][i], inputs[view][count + i], box)
            maps.append(resized(logits_of(model.student, image), size))
            pair = [
                resized(logits_of(model.teacher.module, inputs['weak'][j]), size)
                for j in (i, count + i)
            ]
            inside = mixed(torch.zeros_like(valid[0]), torch.ones_like(valid[0]), box)
            sources.append(torch.where(inside[::stride, ::stride], pair[1], pair[0]))
            view_masks.append(mixed(valid[i], valid[count + i], box)[::stride, ::stride])
        *taught, results[f'selected_strong{v}'] = teach(sources, view_masks)
        results[f'loss_strong{v}'] = slow_selected_cross_entropy(maps, *taught)
        views.append(maps)
        masks.append(view_masks)
    both = [a & b for a, b in zip(*masks, strict=True)]
    results['loss_align_strong'] = slow_alignment(*views, both)
    return results


WEIGHTS = {
    'decode.loss_ce': 0.5,
    **dict.fromkeys(('loss_feature1', 'loss_feature2', 'loss_strong1', 'loss_strong2'), 0.125),
    **dict.fromkeys(('loss_align_feature', 'loss_align_strong'), 0.005),
}


def compare(losses, expected, weights=WEIGHTS):
    assert set(losses) == set(expected) | {'decode.acc_seg'}
    for name, value in expected.items():
        assert value > 0, name
        assert abs(losses[name].item() - weights.get(name, 1) * value) < 2e-5 * max(1, value), name


@pytest.mark.parametrize(
    'stride, selection, classes', [(1, 'class_aware', 5), (3, 'class_aware', 300), (2, 'all', 5)]
)
def test_every_term_equals_the_slow_loops(stride, selection, classes):
    model = small_dssn(
        network=dict(num_classes=classes), loss_stride=stride, selection=selection, certain=0.8
    )
    inputs, samples = batch(num_classes=classes)
    losses = model.loss(inputs, samples)
    expected = slow_losses(
        model, inputs, samples, stride, limits=(0.8, 0.96), select_all=selection == 'all'
    )
    compare(losses, expected)
    if selection == 'class_aware':
        assert all(0.01 < losses[f'selected_{v}'] < 0.99 for v in ('weak', *STRONG))


def test_padding_counts_nowhere():
    model = small_dssn(selection='all')
    for network in (model.student, model.teacher.module):
        # fine cells only: resizing mixes coarse ones with their neighbours in the padding
        network.decode_head.conv_seg.weight.data[:, 6:] = 0
    inputs, samples = batch()
    before = model.loss(inputs, samples)
    for view, images in inputs.items():
        known = samples['labelled' if view == 'labelled' else 'weak']
        padded = torch.cat([sample.gt_sem_seg.data for sample in known]) == IGNORED
        assert padded.any()
        images[padded[:, None].expand_as(images)] = 5.0
    for name, value in model.loss(inputs, samples).items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize('view', ['weak', *STRONG])
def test_partners_are_mixed_in_within_the_boxes_only(view):
    model = small_dssn(selection='all')
    inputs, samples = batch()
    before = model.loss(inputs, samples)
    inputs[view][2:] += 1.0
    after = model.loss(inputs, samples)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    terms = {'weak': {'loss_strong1', 'loss_strong2'}}
    assert moved == terms.get(view, {f'loss_{view}', 'loss_align_strong'})
    for strong in STRONG:
        for one in samples[strong]:
            one.set_metainfo(dict(cutmix_box=None))
    alone = model.loss(inputs, samples)
    inputs[view][2:] += 1.0
    assert all(torch.equal(v, alone[n]) for n, v in model.loss(inputs, samples).items())


def test_only_the_student_learns_and_labels_pass_no_gradient():
    model = small_dssn(network=dict(auxiliary=True), selection='all')
    inputs, samples = batch()
    losses = model.loss(inputs, samples)
    assert 'aux.loss_ce' in losses
    sum(v for n, v in losses.items() if 'loss' in n).backward()
    assert all(p.grad.any() for p in model.student.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())


def test_no_strong_losses_in_the_very_first_iteration():
    model = small_dssn(strong_from_iteration=1)
    inputs, samples = batch()
    first = model.loss(inputs, samples)
    assert not {name for name in first if 'strong' in name} - {'loss_align_strong'}
    assert {'loss_align_strong', 'loss_feature1'} <= set(first)
    model.iteration = 1
    assert 'loss_strong1' in model.loss(inputs, samples)


def test_corners_are_aligned_as_the_head_says():
    model = small_dssn(selection='all', network=dict(decode=dict(align_corners=True)))
    for network in (model.student, model.teacher.module):
        network.decode_head.in_index = [1, 0]  # coarse cells first: the logits have their size
    inputs, samples = batch()
    losses, found = model.loss(inputs, samples), {}
    for align in (True, False):
        expected = slow_losses(model, inputs, samples, select_all=True, align=align)
        del expected['decode.loss_ce']  # mmseg's own
        found[align] = [
            abs(losses[name].item() - WEIGHTS.get(name, 1) * value)
            for name, value in expected.items()
        ]
    assert max(found[True]) < 2e-5 < max(found[False])


def test_mistakes_are_named():
    inputs, samples = batch()
    with pytest.raises(RuntimeError, match=r"no teacher yet: add dict\(type='TeacherHook'\)"):
        small_dssn(teacher=False).loss(inputs, samples)
    model = small_dssn()
    with pytest.raises(ValueError, match="no view 'strong2'"):
        model.loss({k: v for k, v in inputs.items() if k != 'strong2'}, samples)
    with pytest.raises(ValueError, match='crop all to one size'):
        model.loss(dict(inputs, labelled=inputs['labelled'][..., :8]), samples)
    with pytest.raises(ValueError, match='set partners=True in SemiSampler'):
        model.loss(dict(inputs, **{v: inputs[v][:3] for v in ('weak', *STRONG)}), samples)
    samples['labelled'][1].set_metainfo(dict(has_mask=False, img_path='a.jpg'))
    with pytest.raises(ValueError, match=r'a\.jpg is among the labelled images, but has no mask'):
        model.loss(inputs, samples)
    with pytest.raises(ValueError, match="selection must be 'class_aware' or 'all'"):
        small_dssn(selection='some')
    assert MODELS.get('DSSNSegmentor') is DSSNSegmentor
