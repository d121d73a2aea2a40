import pytest
import torch

from luss_mm.models import ContrastivePretrainer
from tests.functional.test_contrastive import slow_info_nce
from tests.models.slow_pass import slow_unit
from tests.models.small_networks import (
    CONVNEXT,
    CONVNEXT_CHANNELS,
    RESNET,
    RESNET_CHANNELS,
    build,
    random_views,
    without_batch_statistics,
)


def small_model(backbone=RESNET, channels=RESNET_CHANNELS, **settings):
    head = dict(type='ProjectionHead', in_channels=channels[-1], hidden_channels=24)
    return build(ContrastivePretrainer, backbone=backbone, head=head, **settings)


@pytest.mark.parametrize('sizes', [(64, 64, 32, 32), (32, 32)])
@pytest.mark.parametrize('network', [(RESNET, RESNET_CHANNELS), (CONVNEXT, CONVNEXT_CHANNELS)])
def test_loss_equals_one_view_at_a_time(sizes, network):
    model = without_batch_statistics(small_model(*network, temperature=0.3))
    views = random_views(3, sizes)
    loss = model(views, mode='loss')['loss_image']
    pooled = [model.backbone(view)[-1].mean(dim=(2, 3)) for view in views]
    embeddings = torch.stack([slow_unit(model.head.projection(each)) for each in pooled])
    assert float(loss) == pytest.approx(slow_info_nce(embeddings.detach(), 0.3), rel=1e-4)


def test_steps_bring_views_of_an_image_together():
    model = small_model()
    views = random_views(6, (32, 32))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        loss = model(views, mode='loss')['loss_image']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
