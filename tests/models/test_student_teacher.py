import pytest
import torch

from tests.models.small_dssn import batch, randomize, small_dssn


def states(model):
    """Copies of the student's and the teacher's parameters and buffers."""
    networks = (model.student, model.teacher.module)
    return [{k: v.clone() for k, v in network.state_dict().items()} for network in networks]


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
    """To float64, as to another device, tensors are made again."""
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


# ---------------------------------------------------------------- inference


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="predict_with must be 'student' or 'teacher'"):
        small_dssn(predict_with='pseudo')
    with pytest.raises(ValueError, match="modes loss, predict and tensor, not 'train'"):
        small_dssn()(None, mode='train')
