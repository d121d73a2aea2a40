import torch
from torch import nn

from luss_mm.models.cpu_speed import use_channels_last


def test_spatial_kernels_are_reordered_and_nothing_else_changes():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    use_channels_last(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model[0].weight.is_contiguous()
    assert model[1].weight.stride() == before['1.weight'].stride()
    # the optimizer still has the same parameters
    model(torch.ones(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before['0.weight'])
