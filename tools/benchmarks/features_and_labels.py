"""Embeddings and pixel labels of a folder of images, ours against one image at a time.

    python tools/benchmarks/features_and_labels.py --out features.json --images DIR

`DIR` holds photographs; without it 375 x 500 images are generated. Both ways use one network with
attention (random weights: speed does not depend on them), and the same K random centroids. The
alternative takes the published steps literally: PIL and torchvision transforms, one image a forward
pass, attention on enlarged and normalised features, cosine to every centroid, one PNG written after
the other. Ours is `extract_features` and `generate_labels` as the recipes call them, label maps
and manifests included. The time is this process's CPU time on a CPU, the clock on a GPU; loading
runs in this process for both.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS, TRANSFORMS
from PIL import Image
from torch.nn import functional as F
from torchvision import transforms
from views import write_images

from luss_mm.datasets.luss_dataset import list_images
from luss_mm.models import PixelAttentionModel
from luss_mm.pipeline.artifact import write_atomically
from luss_mm.pipeline.extract_features import extract_features
from luss_mm.pipeline.generate_labels import PixelLabeller, generate_labels
from luss_mm.pipeline.image_batches import ShardedBatches

RESIZE, CROP = 256, 224
LOADING = [
    dict(type='LoadBoundedImage'),
    dict(type='Resize', scale=(RESIZE * 8, RESIZE), keep_ratio=True),
]
NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def main() -> None:
    """Measure, write the JSON file and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--images', type=Path, help='folder of photographs')
    parser.add_argument('--count', type=int, default=64)
    parser.add_argument('--depth', type=int, default=18, choices=(18, 50))
    parser.add_argument('--categories', type=int, default=50)
    parser.add_argument('--batch', type=int, default=16)
    arguments = parser.parse_args()
    channels = dict([(18, 512), (50, 2048)])[arguments.depth]
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.manual_seed(0)
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        tempfile.TemporaryDirectory() as scratch,
    ):
        work = Path(scratch)
        link_images(work / 'images', arguments.images, arguments.count)
        model = build_model(arguments.depth, channels).to(device)
        centroids = F.normalize(torch.randn(arguments.categories, channels), dim=1)
        ours = label_ours(work, model, centroids, arguments.batch, device)
        theirs = label_one_by_one(work, model, centroids, device)
        agreement = compare_maps(work / 'ours', work / 'theirs')
    report = dict(
        images=arguments.count,
        network=f'ResNet-{arguments.depth}, K = {arguments.categories}',
        device=device.type,
        threads=torch.get_num_threads(),
        ours_images_per_second={k: round(arguments.count / v, 2) for k, v in ours.items()},
        one_by_one_images_per_second={k: round(arguments.count / v, 2) for k, v in theirs.items()},
        ratio={name: round(theirs[name] / ours[name], 2) for name in ours},
        equal_pixels=round(agreement, 4),
        load_average=os.getloadavg(),
    )
    text = json.dumps(report, indent=1)
    write_atomically(arguments.out, text.encode())
    print(text)


def build_model(depth: int, channels: int) -> PixelAttentionModel:
    """Backbone and attention with random weights, in eval mode."""
    model = MODELS.build(
        dict(
            type='PixelAttentionModel',
            data_preprocessor=dict(type='ViewsPreprocessor'),
            backbone=dict(type='mmpretrain.ResNet', depth=depth),
            channels=channels,
            head=dict(type='PrototypeHead', in_channels=channels, hidden_channels=64),
        )
    )
    return model.eval()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that a piece of work takes; see the module's text."""
    clock = time.perf_counter if device.type == 'cuda' else time.process_time
    started = clock()
    work()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return clock() - started


def label_ours(
    work: Path,
    model: PixelAttentionModel,
    centroids: torch.Tensor,
    batch: int,
    device: torch.device,
) -> dict[str, float]:
    """Seconds for features and for label maps."""
    crop = dict(type='CenterCrop', crop_size=CROP)

    def batches(*more: dict) -> ShardedBatches:
        pipeline = [*LOADING, *more, dict(type='PackImage')]
        folder = dict(img_path='images')
        dataset = dict(
            type='LUSSDataset', data_root=str(work), data_prefix=folder, pipeline=pipeline
        )
        return ShardedBatches(DATASETS.build(dataset), batch)

    def embed() -> None:
        extract_features(work / 'features', model, batches(crop), {}, {}, device)

    def label() -> None:
        embeddings = np.load(work / 'features' / 'embeddings.npy', mmap_mode='r')
        transform = TRANSFORMS.build(dict(type='GeneratePseudoLabel'))
        labeller = PixelLabeller(model, centroids.numpy(), 0.4, transform)
        generate_labels(work / 'ours', labeller, batches(), embeddings, {}, {})

    return dict(features=timed(embed, device), labels=timed(label, device))


@torch.no_grad()
def label_one_by_one(
    work: Path, model: PixelAttentionModel, centroids: torch.Tensor, device: torch.device
) -> dict[str, float]:
    """Seconds of the published steps, an image after the other."""
    resize = transforms.Resize(RESIZE)
    tensor = transforms.Compose([transforms.ToTensor(), NORMALISE])
    model.to(memory_format=torch.contiguous_format)
    paths = [work / 'images' / name for name in list_images(work / 'images')]
    (work / 'theirs').mkdir()

    def attend(picture: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        deep = model.backbone(tensor(picture)[None].to(device))[-1]
        enlarged = F.interpolate(deep, scale_factor=4, mode='bilinear', align_corners=False)
        gates = model.attention.layers(F.normalize(enlarged, dim=1)) + model.attention.offset
        return enlarged, torch.sigmoid(gates)

    def embed() -> None:
        rows = []
        for path in paths:
            with Image.open(path) as image:
                picture = transforms.functional.center_crop(resize(image.convert('RGB')), CROP)
            features, gates = attend(picture)
            rows.append(F.normalize((features * gates).mean((2, 3))).cpu().numpy())
        np.save(work / 'theirs.npy', np.concatenate(rows))

    def label() -> None:
        for path in paths:
            with Image.open(path) as image:
                width, height = image.size
                picture = resize(image.convert('RGB'))
            features, gates = attend(picture)
            similarity = torch.einsum(
                'chw,kc->khw', F.normalize(features, dim=1)[0], centroids.to(device)
            )
            labels = similarity.argmax(0) + 1
            labels = F.interpolate(labels[None, None].float(), (height, width))[0, 0]
            score = F.interpolate(gates.mean(1, keepdim=True), (height, width), mode='bilinear')
            labels[score[0, 0] < 0.4] = 0
            ids = labels.cpu().numpy().astype(np.int64)
            rgb = np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)
            Image.fromarray(rgb).save(work / 'theirs' / f'{path.stem}.png')

    return dict(features=timed(embed, device), labels=timed(label, device))


def link_images(folder: Path, source: Path | None, count: int) -> None:
    """The first images of a folder, or generated ones, side by side."""
    folder.mkdir()
    if source is None:
        write_images(folder, count)
        return
    names = list(list_images(source))
    for number, name in enumerate(names[:: max(1, len(names) // count)][:count]):
        (folder / f'{number:06d}.jpg').symlink_to((source / name).resolve())


def compare_maps(ours: Path, theirs: Path) -> float:
    """Share of pixels with the same label; resizing of image and labels differs."""
    equal = total = 0
    for path in sorted(theirs.glob('*.png')):
        own = cv2.imread(str(ours / path.name), cv2.IMREAD_UNCHANGED)
        same = (own == cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).all(axis=-1)
        equal, total = equal + int(same.sum()), total + same.size
    return equal / total


if __name__ == '__main__':
    main()
