import pytest
import torch
from torch import nn

import luss_mm  # noqa: F401  (registers)
from luss_mm.engine.optimizers import LARS


class SlowLARC:
    """Apex's LARC (clip=False) around SGD, one parameter and one plain step at a time."""

    def __init__(self, groups):
        self.groups = groups  # dicts of params, lr, momentum, weight_decay, trust_coefficient
        self.buffers = {}

    def step(self):
        for group in self.groups:
            for p in group['params']:
                if p.grad is None:
                    continue
                g = p.grad.clone()
                p_norm, g_norm = p.data.norm().item(), g.norm().item()
                if p_norm != 0 and g_norm != 0 and not (group.get('exclude') and p.ndim <= 1):
                    d = group['trust_coefficient'] * p_norm
                    d /= g_norm + p_norm * group['weight_decay'] + 1e-8
                    g = (g + group['weight_decay'] * p.data) * d
                buffer = group['momentum'] * self.buffers.get(p, torch.zeros_like(p)) + g
                self.buffers[p] = buffer
                p.data -= group['lr'] * buffer


def parameters(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(16, 3, 3, 3), (16,), (16,), (10, 16), (10,), (4, 4), ()]
    made = [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]
    made[2].data.zero_()  # like a BN bias or a zero-initialised gamma
    return made


def set_gradients(params, step, size=1.0):
    generator = torch.Generator().manual_seed(1000 + step)
    for index, p in enumerate(params):
        p.grad = (torch.randn(p.shape, generator=generator) * size).to(p.dtype)
        if index == 4 and step % 3 == 1:
            p.grad = None
        if index == 3 and step % 4 == 2:
            p.grad.zero_()


def schedule(step):
    return 0.6 * 0.8**step


@pytest.mark.parametrize('weight_decay', [0.0, 1e-6, 0.05])
@pytest.mark.parametrize('momentum', [0.0, 0.9])
@pytest.mark.parametrize('exclude', [False, True])
def test_ten_steps_equal_the_slow_loop(weight_decay, momentum, exclude):
    fast, slow = parameters(), parameters()
    settings = {'momentum': momentum, 'weight_decay': weight_decay, 'trust_coefficient': 0.01}
    optimizer = LARS(fast, lr=1.0, exclude_one_dimensional=exclude, **settings)
    reference = SlowLARC([{'params': slow, 'exclude': exclude, **settings}])
    for step in range(10):
        set_gradients(fast, step)
        set_gradients(slow, step)
        kept = [None if p.grad is None else p.grad.clone() for p in fast]
        optimizer.param_groups[0]['lr'] = reference.groups[0]['lr'] = schedule(step)
        optimizer.step()
        reference.step()
        for p, before in zip(fast, kept, strict=True):  # gradients are not touched
            assert (p.grad is None) == (before is None)
            assert before is None or torch.equal(p.grad, before)
    for p, q in zip(fast, slow, strict=True):
        torch.testing.assert_close(p, q, rtol=2e-6, atol=2e-6)


def test_nothing_is_read_back_to_the_host(monkeypatch):
    def refuse(*_):
        raise AssertionError('a tensor was read back')

    params = parameters()
    optimizer = LARS(params, lr=0.5, weight_decay=1e-6)
    set_gradients(params, 0)
    for name in ('item', '__bool__', '__float__', 'tolist', 'cpu', 'numpy'):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    optimizer.step()
