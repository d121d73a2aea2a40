"""mmseg segmentors inside of a model that trains two of them."""

import copy
from collections.abc import Mapping, Sequence

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from luss_mm.models.label_decision import decide_label_map


def build_segmentor(config: dict) -> EncoderDecoder:
    """Build a segmentor that choosing among classes per pixel works with.

    Args:
        config: Of an mmseg EncoderDecoder or a subclass; stays as it is.

    Raises:
        ValueError: If it has several decode heads or one class.
    """
    network = MODELS.build(copy.deepcopy(config))  # building may change a config
    if not isinstance(network, EncoderDecoder) or isinstance(network.decode_head, nn.ModuleList):
        raise ValueError(
            'the segmentor must be an mmseg EncoderDecoder with one decode head, not '
            f'{type(network).__name__}'
        )
    if network.out_channels < 2:
        raise ValueError(
            f'{type(network).__name__} has {network.out_channels} output channel: set num_classes '
            'to 2 or more'
        )
    return network


def logits_of_all_heads(network: EncoderDecoder, images: Tensor) -> list[Tensor]:
    """Logits of the decode head, then of the auxiliary heads, each (B, K, h, w) of its own size.

    Raises:
        TypeError: If a head gives anything but one map.
    """
    features = network.extract_feat(images)
    auxiliary = network.auxiliary_head if network.with_auxiliary_head else []
    heads = auxiliary if isinstance(auxiliary, (nn.ModuleList, list)) else [auxiliary]
    maps = []
    for head in (network.decode_head, *heads):
        logits = head(features)
        if not isinstance(logits, Tensor):
            raise TypeError(
                f'{type(head).__name__} gives a {type(logits).__name__} where one logit map is '
                'needed: use a head whose forward gives one'
            )
        maps.append(logits)
    return maps


@torch.no_grad()
def predict_label_maps(
    networks: Mapping[str, EncoderDecoder],
    inputs: Tensor,
    data_samples: list[SegDataSample] | None,
    max_pixels: int,
    max_side: int,
    restrict_to_tags: bool = False,
) -> list[SegDataSample]:
    """Label maps of several networks at each image's original size.

    Args:
        networks: By name.
        inputs: Normalised images. Shape (B, 3, H, W).
        data_samples: With `ori_shape` and, where padded, `img_padding_size`; None for images as
            large as the inputs.
        max_pixels: As in `decide_label_map`.
        max_side: As in `decide_label_map`.
        restrict_to_tags: Predict nothing but `image_tags` of each image.

    Returns:
        The data samples with `pred_<name>` of each network, int64 of shape (1, ori_H, ori_W).

    Raises:
        KeyError: If `restrict_to_tags` and an image has no tags.
    """
    if data_samples is None:
        data_samples = [
            SegDataSample(metainfo=dict(ori_shape=tuple(inputs.shape[2:]))) for _ in inputs
        ]
    allowed = [_tags_of(sample) if restrict_to_tags else None for sample in data_samples]
    for name, network in networks.items():
        logits = _inference_logits(network, inputs, data_samples)
        for sample, sample_logits, ids in zip(data_samples, logits, allowed, strict=True):
            labels = decide_label_map(
                sample_logits,
                sample.metainfo,
                inputs.shape[2:],
                max_pixels,
                max_side,
                ids,
                network.align_corners,
            )
            sample.set_data({f'pred_{name}': PixelData(data=labels)})
    return data_samples


def _inference_logits(
    network: EncoderDecoder, inputs: Tensor, data_samples: list[SegDataSample]
) -> Tensor:
    """Low-resolution logits of whole images, or logits of sliding windows at the inputs' size."""
    if network.test_cfg is not None and network.test_cfg.get('mode', 'whole') == 'slide':
        # mmseg writes the size of its windows into the metainfo
        return network.inference(inputs, [dict(sample.metainfo) for sample in data_samples])
    return network.decode_head(network.extract_feat(inputs))


def _tags_of(sample: SegDataSample) -> Sequence[int]:
    tags = sample.metainfo.get('image_tags')
    if tags is None:
        raise KeyError(
            f'{sample.metainfo.get("img_path", "an image")} has no image tags: add SetImageTags to '
            "the test pipeline and 'image_tags' to meta_keys, or set restrict_to_tags=False"
        )
    return tags
