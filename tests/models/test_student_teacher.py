import io

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from mmseg.structures import SegDataSample

from tests.models.slow_segmentation import slow_maps, wrong_pixels
from tests.models.small_dssn import batch, randomize, small_dssn


def states(model):
    """Copies of the student's and the teacher's parameters and buffers."""
    networks = (model.student, model.teacher.module)
    return [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# ---------------------------------------------------------------- averages


def test_the_first_update_copies_and_the_next_ones_average_parameters_and_buffers():
    model = small_dssn(network=dict(norm=True))
    assert any(buffer.dtype == torch.float32 for buffer in model.student.buffers())
    expected = None
    for step in range(4):
        model.loss(*batch(seed=step))  # moves the running statistics of both
        randomize(model.student, seed=10 + step)
        student, teacher = states(model)
        assert not torch.equal(student['backbone.norm.running_mean'], torch.zeros(6))
        expected = {
            name: value
            if step == 0 or not value.is_floating_point()
            # the teacher's own statistics moved, too: it works in training mode
            else 0.996 * teacher[name].double() + 0.004 * value.double()
            for name, value in student.items()
        }
        model.update_teacher()
        for name, value in states(model)[1].items():
            if value.is_floating_point():
                torch.testing.assert_close(value.double(), expected[name].double(), msg=name)
        assert model.teacher.steps == step + 1
    assert not torch.equal(*(state['backbone.fine.weight'] for state in states(model)))


def test_before_the_strong_losses_the_teacher_is_a_plain_copy():
    model = small_dssn(strong_from_epoch=2)
    for epoch, copied in ((0, True), (1, True), (1, True), (2, False), (3, False)):
        model.epoch = epoch
        randomize(model.student, seed=20 + 3 * epoch)
        model.student.backbone.fine.weight.data += model.teacher.steps
        student, teacher = states(model)
        model.update_teacher()
        for name, value in states(model)[1].items():
            wanted = student[name] if copied else 0.996 * teacher[name] + 0.004 * student[name]
            torch.testing.assert_close(value, wanted, msg=name)


@pytest.mark.parametrize('built_before', [False, True])
def test_a_moved_model_averages_what_it_uses(built_before):
    """To float64, as to another device, tensors are made anew."""
    model = small_dssn(teacher=built_before)
    model.to(torch.float64)
    if not built_before:
        model.build_teacher()
    model.update_teacher()
    randomize(model.student, seed=3)
    student, teacher = states(model)
    model.update_teacher()
    moved = states(model)[1]
    assert moved['backbone.fine.weight'].dtype == torch.float64
    for name, value in moved.items():
        torch.testing.assert_close(value, 0.996 * teacher[name] + 0.004 * student[name])
        assert not torch.equal(value, teacher[name])


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize('load', [torch.nn.Module.load_state_dict, load_state_dict])
def test_a_checkpoint_builds_the_teacher_and_goes_on(load):
    """With torch's loader and mmengine's, which init_model and test.py use."""
    model = small_dssn()
    for step in range(3):
        randomize(model.student, seed=step)
        model.update_teacher()
    state = saved_and_loaded(model.state_dict())
    fresh = small_dssn(teacher=False)
    load(fresh, state, strict=True)
    assert fresh.teacher.steps == 3
    for one in (model, fresh):
        randomize(one.student, seed=7)
        one.update_teacher()
    for name, value in model.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


# ---------------------------------------------------------------- inference

SIZES = ((12, 16), (20, 31))


def predicted(model, images):
    samples = [SegDataSample(metainfo=dict(ori_shape=size)) for size in SIZES]
    return model(images, samples, mode='predict')


@pytest.mark.parametrize('classes', [5, 300])
@pytest.mark.parametrize('slide', [False, True])
def test_both_networks_predict(classes, slide):
    settings = dict(test_cfg=dict(mode='slide', crop_size=(8, 8), stride=(4, 4))) if slide else {}
    models = {
        name: small_dssn(network=dict(num_classes=classes, **settings), predict_with=name).eval()
        for name in ('student', 'teacher')
    }
    images = batch(num_classes=classes)[0]['weak'][:2]
    for name, model in models.items():
        results = predicted(model, images)
        logits = model(images)  # of the network that predicts
        for sample, maps, size in zip(results, logits, SIZES, strict=True):
            labels = {n: sample.get(f'pred_{n}').data for n in models}
            assert all(m.shape == (1, *size) and m.dtype == torch.int64 for m in labels.values())
            assert torch.equal(sample.pred_sem_seg.data, labels[name])
            assert not torch.equal(labels['student'], labels['teacher'])
            # windows resize the logits at their edges otherwise
            assert wrong_pixels(labels[name][0], slow_maps(maps, size)) <= (0.4 if slide else 0)
            assert classes < 256 or labels[name].max() > 255


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="predict_with must be 'student' or 'teacher'"):
        small_dssn(predict_with='pseudo')
    with pytest.raises(ValueError, match="modes loss, predict and tensor, not 'train'"):
        small_dssn()(None, mode='train')
