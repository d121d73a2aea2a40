import pytest
import torch
from mmseg.registry import MODELS
from torch.nn.parallel import DistributedDataParallel

from luss_mm.models import PASSPretrainer
from tests.models.slow_pass import slow_losses
from tests.models.small_networks import (
    CONVNEXT,
    CONVNEXT_CHANNELS,
    RESNET,
    RESNET_CHANNELS,
    SWIN,
    SWIN_CHANNELS,
    build,
    full_queue,
    gradients,
    largest_difference,
    prototype_head,
    random_views,
    without_batch_statistics,
)
from tests.two_ranks import run_on_two_ranks

POINTS = 3
VIEWS = (64, 64, 32, 32, 32)


def small_model(
    backbone=RESNET, channels=RESNET_CHANNELS, shallow=(2,), placement='edge', **settings
):
    return build(
        PASSPretrainer,
        backbone=backbone,
        head=prototype_head(channels[-1]),
        deep_to_shallow=[
            dict(
                type='DeepToShallowHead',
                in_channels=channels[stage],
                hidden_channels=24,
                embedding_channels=16,
                in_index=stage,
            )
            for stage in shallow
        ],
        pixel_to_pixel=dict(
            type='PixelToPixelHead',
            in_channels=channels[-1],
            hidden_channels=24,
            embedding_channels=16,
            points=POINTS,
            placement=placement,
        )
        if placement
        else None,
        **settings,
    )


def some_crops(batch, views=5, apart=()):
    """Crops that overlap in the first two views, except in the pairs `apart`."""
    generator = torch.Generator().manual_seed(7)
    left_top = 20 * torch.rand(batch, views, 2, generator=generator)
    extent = 30 + 30 * torch.rand(batch, views, 2, generator=generator)
    flips = torch.randint(0, 2, (batch, views, 1), generator=generator)
    crops = torch.cat([left_top, extent, flips], dim=2)
    crops[list(apart), 1, 0] += 200
    return crops


def use_full_queue(model, length):
    model.queue.restore(full_queue(length, 16))
    model.queue.active = True


def difference(result, expected):
    return abs(torch.as_tensor(result).item() - torch.as_tensor(expected).item())


# ---------------------------------------------------------------- against loops


@torch.no_grad()
@pytest.mark.parametrize(
    'shallow, placement, views, queue_length',
    [
        ((2,), 'edge', VIEWS, 0),
        ((2,), 'centre', VIEWS, 9),
        ((0, 1), 'edge', (64, 64), 0),
        ((), 'centre', (64, 64, 32), 0),
        ((2,), None, (64, 64, 48, 32, 32, 48), 0),
    ],
    ids=[
        'as published',
        'with queue, cell centres',
        'two shallow heads',
        'no shallow head',
        'no pixel head',
    ],
)
def test_losses_equal_loops(shallow, placement, views, queue_length):
    model = small_model(shallow=shallow, placement=placement, queue_length=queue_length)
    without_batch_statistics(model)
    if queue_length:
        use_full_queue(model, queue_length)
    images, crops = random_views(5, views), some_crops(5, len(views), apart=[3])
    expected = slow_losses(model, images, crops, shallow)
    losses = model(images, crops, mode='loss')
    weights = 1 + len(shallow)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert difference(losses[name] * (1 if name == 'loss_p2p' else weights), value) < 2e-5, name


# ---------------------------------------------------------------- backbones and views


@pytest.mark.parametrize(
    'backbone, channels, shallow',
    [
        (RESNET, RESNET_CHANNELS, (2,)),
        (RESNET, RESNET_CHANNELS, (0, 1, 2)),
        (CONVNEXT, CONVNEXT_CHANNELS, (1, 2)),
        (SWIN, SWIN_CHANNELS, (2,)),
    ],
)
def test_any_backbone_trains_all_its_parameters(backbone, channels, shallow):
    model = small_model(backbone, channels, shallow).train()
    losses = model(random_views(4, VIEWS), some_crops(4, apart=[1]), mode='loss')
    assert len(losses) == 2 + len(shallow)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith('backbone.norm'):  # of the stages that no head reads
            continue
        assert parameter.grad is not None, name  # else DDP would wait for it
        assert torch.isfinite(parameter.grad).all(), name
    changed = ('backbone', 'head.projection', 'head.prototypes', 'shallow_heads', 'pixel_head')
    for part in changed:
        trained = [v for k, v in gradients(model).items() if k.startswith(part)]
        assert trained and sum(v.abs().sum() for v in trained) > 0, part


def test_what_is_missing_or_unknown_is_named():
    with pytest.raises(ValueError, match='needs the crops of the views'):
        small_model()(random_views(2), mode='loss')
    with pytest.raises(ValueError, match="loss and tensor, not 'predict'"):
        small_model()(random_views(2), mode='predict')


def test_embeddings_and_prototypes_are_unit_vectors_under_mixed_precision():
    head = small_model().train().head
    with torch.autocast('cpu', torch.bfloat16):
        embeddings = head.embed(torch.randn(6, RESNET_CHANNELS[-1]))
        scores = head.score(embeddings)
    assert embeddings.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(scores, embeddings @ head.prototypes.weight.T)
    torch.testing.assert_close(head.prototypes.weight.norm(dim=1), torch.ones(20))


# ---------------------------------------------------------------- queue


# ---------------------------------------------------------------- two processes


def losses_on_rank(rank, batch, queue_length, apart):
    """On both ranks a half of the batch; without rank all of it."""
    model = without_batch_statistics(small_model(shallow=(1, 2), queue_length=queue_length))
    if queue_length:
        use_full_queue(model, queue_length)
    views, crops = random_views(2 * batch, VIEWS), some_crops(2 * batch, apart=apart)
    if rank is not None:
        views = [view.split(batch)[rank] for view in views]
        crops = crops.split(batch)[rank]
        model = DistributedDataParallel(model)
    losses = model(views, crops, mode='loss')
    sum(losses.values()).backward()
    module = model if rank is None else model.module
    return {k: v.detach() for k, v in losses.items()}, gradients(module), module.queue.rows


@pytest.mark.parametrize('queue_length', [0, 8, 7])
@pytest.mark.parametrize('apart', [(), (0, 4), (3, 4, 5), range(6)])
def test_two_ranks_equal_one(queue_length, apart):
    first, second = run_on_two_ranks(losses_on_rank, 3, queue_length, tuple(apart))
    losses, gradient, rows = losses_on_rank(None, 3, queue_length, tuple(apart))
    for name, expected in losses.items():
        assert difference((first[0][name] + second[0][name]) / 2, expected) < 1e-5, name
    assert largest_difference(first[1], gradient) < 1e-4
    assert largest_difference(second[1], first[1]) == 0
    assert torch.equal(first[2], second[2])
    torch.testing.assert_close(first[2], rows, atol=1e-6, rtol=0)


def test_a_frozen_backbone_stays_as_it_is_and_the_head_learns():
    model = small_model(shallow=(), placement=None, freeze_backbone=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(2):  # also after an evaluation
        losses = model.eval().train()(random_views(4), mode='loss')
        assert list(losses) == ['loss_image']
        losses['loss_image'].backward()
        optimizer.step()
    after = model.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name], value) == name.startswith('backbone.'), name


def test_sets_of_prototypes_are_balanced_by_themselves_and_averaged():
    """As if each set were the only one: slow losses of two heads that share a projection."""
    backbone = dict(shallow=(2,), placement=None)
    model = without_batch_statistics(small_model(**backbone))
    model.head.set_sizes = [8, 12]
    views, crops = random_views(4, VIEWS), some_crops(4, len(VIEWS))
    losses = model.loss(views, crops)
    whole = model.head.prototypes.weight.data.clone()
    expected = {}
    for rows in (slice(0, 8), slice(8, 20)):
        model.head.prototypes.weight.data = whole[rows]
        for name, value in slow_losses(model, views, crops).items():
            expected[name] = expected.get(name, 0) + float(value) / 2
    for name, value in expected.items():
        assert abs(losses[name].item() - value / 2) < 1e-5  # two terms, weight 1 / 2 each
    built = small_model(**backbone, queue_length=8)
    built.head = MODELS.build(dict(prototype_head(RESNET_CHANNELS[-1]), num_prototypes=[8, 12]))
    assert built.head.set_sizes == [8, 12] and built.head.prototypes.weight.shape == (20, 16)
