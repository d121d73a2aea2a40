import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from luss_mm.datasets.transforms import collate_views
from luss_mm.models import SemiPreprocessor
from luss_mm.models.student_teacher import stack_labels

SETTINGS = dict(mean=[1.0, 2.0, 3.0], std=[2.0, 4.0, 8.0], bgr_to_rgb=True, size=(6, 8))


def image_and_sample(seed, height=6, width=8):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 300, (1, height, width), generator=generator)
    metainfo = dict(img_shape=(height, width), ori_shape=(height, width))
    return image, SegDataSample(metainfo=metainfo, gt_sem_seg=PixelData(data=labels))


def views(names, **size):
    pairs = {name: image_and_sample(seed, **size) for seed, name in enumerate(names, len(names))}
    return dict(
        inputs={name: image for name, (image, _) in pairs.items()},
        data_samples={name: sample for name, (_, sample) in pairs.items()},
    )


def slow_normalize(image):
    return torch.stack([(image[2 - c].float() - (1 + c)) / 2 ** (c + 1) for c in range(3)])


def test_each_view_is_normalised_and_stacked():
    samples = [views(['labelled']), views(['weak', 'strong']), views(['labelled'])]
    result = SemiPreprocessor(**SETTINGS)(collate_views(samples), training=True)
    shapes = {name: tuple(batch.shape) for name, batch in result['inputs'].items()}
    assert shapes == dict(labelled=(2, 3, 6, 8), weak=(1, 3, 6, 8), strong=(1, 3, 6, 8))
    for name, batch in result['inputs'].items():
        images = [sample['inputs'][name] for sample in samples if name in sample['inputs']]
        assert batch.dtype == torch.float32 and len(result['data_samples'][name]) == len(images)
        for row, image in zip(batch, images, strict=True):
            torch.testing.assert_close(row, slow_normalize(image), rtol=0, atol=0)


def test_padding_is_ignored():
    data = collate_views([views(['weak']), views(['weak'], height=5, width=4)])
    result = SemiPreprocessor(**SETTINGS)(data, training=True)
    small = result['inputs']['weak'][1]
    labels = stack_labels(result['data_samples']['weak'])
    assert labels.shape == (2, 6, 8)
    assert (labels[1, 5:] == 1000).all() and (labels[1, :, 4:] == 1000).all()
    assert (labels[1, :5, :4] < 300).all() and (labels[0] < 300).all()
    assert not small[:, 5:].any() and not small[..., 4:].any()
