"""Train a small SAM on generated shapes, in minutes on a CPU: for demonstrations and tests.

    python tools/train_small_sam.py small_sam.pth --steps 1500

Writes small_sam.pth (a state dict) and small_sam.json (its sizes and IoU), for

    dict(type='SAMSegmenter', checkpoint='small_sam.pth', model_type=<sizes of small_sam.json>)

Images are blobs and polygons of random colours and textures that may cover each other; a prompt is
the inaccurate box of one of them, half of the time with a point on it. Both passes of
`SAMSegmenter` are trained. No photograph and no mask by a person is used.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

import cv2
import numpy as np

if TYPE_CHECKING:
    from luss_mm.models.segmenters.sam_segmenter import SAMSizes

    from torch import Tensor
    from torch.nn import Module

OBJECTS = (2, 4)  # painted in an image, at least and at most
RADIUS = (0.1, 0.3)  # of an object, as a share of the image's side
MIN_AREA = 0.01  # visible share of the image from which an object is prompted for
BOX_ERROR = 0.1  # standard deviation of a box's edges, as a share of the box's sides
VALIDATION_SEED = 1_000_000_007  # no training step has it


@dataclass(frozen=True)
class Training:
    """How to train."""

    steps: int = 1500
    images_per_step: int = 8
    prompts_per_image: int = 3
    learning_rate: float = 1e-3
    warmup: int = 50
    weight_decay: float = 0.01
    seed: int = 0


class Scene(NamedTuple):
    """A generated image with prompts of P of its objects.

    Attributes:
        image: RGB, uint8 (s, s, 3).
        masks: What is visible of each object, bool (P, s, s).
        boxes: Inaccurate x0, y0, x1, y1 of each, float32 (P, 4).
        points: x, y of a visible pixel of each, float32 (P, 1, 2).
    """

    image: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    points: np.ndarray


def draw_scene(rng: np.random.Generator, size: int, num_prompts: int) -> Scene:
    """Paint objects over each other and prompt for some of them (with repetitions)."""
    image = _draw_texture(rng, size)
    owner = np.full((size, size), -1)  # which object a pixel shows
    for number in range(rng.integers(OBJECTS[0], OBJECTS[1] + 1)):
        inside = _draw_object(rng, size)
        image[inside] = _draw_texture(rng, size)[inside]
        owner[inside] = number
    image = cv2.GaussianBlur(image, (3, 3), 0) + rng.normal(0, 0.02, image.shape)
    visible = [owner == number for number in range(owner.max() + 1)]
    visible = [mask for mask in visible if mask.mean() >= MIN_AREA]  # the last one is among them
    masks = [visible[i] for i in rng.integers(0, len(visible), num_prompts)]
    return Scene(
        (image.clip(0, 1) * 255 + 0.5).astype(np.uint8),
        np.stack(masks),
        np.stack([_inaccurate_box(rng, mask) for mask in masks]),
        np.stack([_visible_point(rng, mask) for mask in masks])[:, None],
    )


def _draw_object(rng: np.random.Generator, size: int) -> np.ndarray:
    """A blob or a polygon, bool (s, s)."""
    radius = size * rng.uniform(*RADIUS)
    corners = 64 if rng.random() < 0.5 else rng.integers(3, 7)
    angles = 2 * np.pi * np.arange(corners) / corners + rng.uniform(0, 2 * np.pi)
    length = np.ones(corners)
    for wave in range(2, 5):  # lobes of a blob; polygons of few corners become irregular
        length += 0.5 / wave * rng.uniform(-1, 1) * np.cos(wave * angles + rng.uniform(0, 6.3))
    stretch = np.exp(rng.uniform(-0.4, 0.4))
    points = radius * length[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = points * [stretch, 1 / stretch] + rng.uniform(0.2, 0.8, 2) * size
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
    return mask > 0


def _draw_texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Two similar or different colours, mixed by clouds or stripes, float32 (s, s, 3)."""
    first = rng.uniform(0, 1, 3)
    second = first + (rng.uniform(0, 1, 3) - first) * rng.uniform(0, 0.7)
    if rng.random() < 0.5:
        cells = int(rng.integers(2, 9))
        noise = rng.uniform(0, 1, (cells, cells)).astype(np.float32)
        mix = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    else:
        angle, periods = rng.uniform(0, np.pi), rng.uniform(2, 14)
        y, x = np.mgrid[:size, :size] / size
        wave = np.sin(2 * np.pi * periods * (x * np.cos(angle) + y * np.sin(angle)))
        mix = 0.5 + 0.5 * wave
    return (first + (second - first) * mix[..., None]).astype(np.float32)


def _inaccurate_box(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)
    sides = np.tile(box[2:] - box[:2] + 1, 2)
    box += rng.normal(0, BOX_ERROR, 4).clip(-2 * BOX_ERROR, 2 * BOX_ERROR) * sides
    return box.clip(0, len(mask) - 1).astype(np.float32)


def _visible_point(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    row, column = np.unravel_index(rng.choice(np.flatnonzero(mask)), mask.shape)
    return np.array([column, row], np.float32)


class Passes(NamedTuple):
    """Logits (P, M, m, m) and predicted IoU (P, M) of the pass with three masks, then one."""

    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]


def run_both_passes(sam: Module, scenes: list[Scene], with_point: list[bool]) -> Passes:
    """What `SAMSegmenter` does, with gradients. P counts the prompts of all scenes."""
    import torch

    images = np.stack([scene.image for scene in scenes])
    inputs = sam.preprocess(torch.from_numpy(images).permute(0, 3, 1, 2))  # (B, 3, s, s)
    embeddings = sam.image_encoder(inputs)
    first, second = [], []
    for embedding, scene, point in zip(embeddings, scenes, with_point, strict=True):
        positive = torch.ones(len(scene.points), 1, dtype=torch.int)
        points = (torch.from_numpy(scene.points), positive) if point else None
        prompt = dict(points=points, boxes=torch.from_numpy(scene.boxes))
        logits, quality = _decode(sam, embedding, prompt, None, multimask_output=True)
        best = quality.argmax(dim=1)
        mask_input = logits[torch.arange(len(best)), best][:, None].detach()
        first.append((logits, quality))
        second.append(_decode(sam, embedding, prompt, mask_input, multimask_output=False))
    return Passes(*(tuple(map(torch.cat, zip(*part, strict=True))) for part in (first, second)))


def _decode(
    sam: Module,
    embedding: Tensor,
    prompt: dict,
    masks: Tensor | None,
    multimask_output: bool,
) -> tuple[Tensor, Tensor]:
    sparse, dense = sam.prompt_encoder(**prompt, masks=masks)
    return sam.mask_decoder(
        image_embeddings=embedding[None],
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask_output,
    )


def mask_loss(logits: Tensor, quality: Tensor, targets: Tensor) -> Tensor:
    """BCE + dice of the best of M masks, and the squared error of the predicted IoU of all.

    Args:
        logits: float32 (P, M, m, m).
        quality: Predicted IoU, float32 (P, M).
        targets: Share of each cell that the object covers, in [0, 1]. float32 (P, m, m).

    Returns:
        A scalar, the mean over the prompts.

    Source: Kirillov et al. 2023, appendix A, with BCE for the focal loss.
    """
    from torch.nn import functional as F

    targets = targets[:, None].expand_as(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    share = logits.sigmoid()
    overlap = 2 * (share * targets).sum((2, 3))
    dice = 1 - (overlap + 1) / (share.sum((2, 3)) + targets.sum((2, 3)) + 1)
    best = (cross_entropy.mean((2, 3)) + dice).amin(dim=1)  # (P,)
    iou = _iou(logits.detach() > 0, targets > 0.5)
    return (best + (quality - iou).square().mean(dim=1)).mean()


def _iou(masks: Tensor, targets: Tensor) -> Tensor:
    union = (masks | targets).sum((-2, -1)).clamp_min(1)
    return (masks & targets).sum((-2, -1)) / union


def train(sizes: SAMSizes, training: Training) -> Module:
    """Train from random weights; prints the loss every 50 steps."""
    from luss_mm.models.segmenters.sam_segmenter import build_sam

    import torch
    from torch.nn import functional as F

    torch.manual_seed(training.seed)
    sam = build_sam(sizes)
    optimizer = torch.optim.AdamW(
        sam.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: _rate(t, training))
    recent = []
    for step in range(training.steps):
        rng = np.random.default_rng([training.seed, step])
        scenes, with_point = _draw_batch(
            rng, training.images_per_step, sizes.image_size, training.prompts_per_image
        )
        passes = run_both_passes(sam, scenes, with_point)
        targets = np.concatenate([scene.masks for scene in scenes]).astype(np.float32)
        shrunk = F.adaptive_avg_pool2d(torch.from_numpy(targets), passes.first[0].shape[-2:])
        loss = mask_loss(*passes.first, shrunk) + mask_loss(*passes.second, shrunk)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == training.steps:
            print(f'step {step + 1}/{training.steps}: loss {np.mean(recent):.3f}', flush=True)
            recent.clear()
    return sam.eval()


def _rate(step: int, training: Training) -> float:
    """Share of the learning rate: a linear start, then half a cosine."""
    warm = min(1.0, (step + 1) / training.warmup)
    return warm * 0.5 * (1 + math.cos(math.pi * step / training.steps))


def _draw_batch(
    rng: np.random.Generator, num_images: int, size: int, num_prompts: int
) -> tuple[list[Scene], list[bool]]:
    scenes = [draw_scene(rng, size, num_prompts) for _ in range(num_images)]
    return scenes, list(rng.random(num_images) < 0.5)


def evaluate(sam: Module, size: int, num_images: int) -> dict[str, float]:
    """Mean IoU at image size of both passes on new scenes, and of the boxes filled."""
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(VALIDATION_SEED)
    scores = dict(box=[], first_pass=[], second_pass=[])
    for _ in range(num_images):
        scenes, with_point = _draw_batch(rng, 1, size, num_prompts=2)
        passes = run_both_passes(sam, scenes, with_point)
        best = passes.first[1].argmax(dim=1)
        first = passes.first[0][torch.arange(len(best)), best]
        targets = torch.from_numpy(scenes[0].masks)
        filled = torch.zeros_like(targets)
        for mask, (x0, y0, x1, y1) in zip(filled, scenes[0].boxes.round().astype(int), strict=True):
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        masks = dict(box=filled, first_pass=first, second_pass=passes.second[0][:, 0])
        for name, result in masks.items():
            if result.dtype != torch.bool:
                result = F.interpolate(result[None], (size, size), mode='bilinear')[0] > 0
            scores[name] += _iou(result, targets).tolist()
    return {name: round(float(np.mean(values)), 4) for name, values in scores.items()}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument('checkpoint', type=Path, help='file to write, name.pth')
    for name, default in asdict(Training()).items():
        flag = f'--{name.replace("_", "-")}'
        parser.add_argument(flag, type=type(default), default=default, help=f'(default: {default})')
    parser.add_argument('--num-validation', type=int, default=200, help='images (default: 200)')
    parser.add_argument('--image-size', type=int, default=128, help='(default: 128)')
    parser.add_argument('--patch-size', type=int, default=8, help='(default: 8)')
    parser.add_argument('--encoder-channels', type=int, default=96, help='(default: 96)')
    parser.add_argument('--encoder-depth', type=int, default=4, help='(default: 4)')
    parser.add_argument('--encoder-heads', type=int, default=4, help='(default: 4)')
    parser.add_argument('--window-size', type=int, default=8, help='(default: 8)')
    parser.add_argument('--prompt-channels', type=int, default=64, help='(default: 64)')
    return parser.parse_args()


@one_line_stops()
def main() -> None:
    """Train, evaluate, write the checkpoint and its description."""
    args = parse_args()

    from luss_mm.models.segmenters.sam_segmenter import SAMSizes
    from luss_mm.work_dir.atomic_files import refuse_unwritable, write_atomically

    import torch

    refuse_unwritable(args.checkpoint)
    sizes = SAMSizes(
        image_size=args.image_size,
        patch_size=args.patch_size,
        encoder_channels=args.encoder_channels,
        encoder_depth=args.encoder_depth,
        encoder_heads=args.encoder_heads,
        global_attention=tuple(range(1, args.encoder_depth, 2)),
        window_size=args.window_size,
        prompt_channels=args.prompt_channels,
        decoder_heads=4,
        decoder_hidden_channels=4 * args.prompt_channels,
        quality_channels=args.prompt_channels,
    )
    training = Training(**{name: getattr(args, name) for name in asdict(Training())})
    sam = train(sizes, training)
    with torch.no_grad():
        iou = evaluate(sam, sizes.image_size, args.num_validation)
    content = io.BytesIO()
    torch.save(sam.state_dict(), content)
    write_atomically(args.checkpoint, content.getvalue())
    description = dict(sizes=asdict(sizes), training=asdict(training), iou=iou)
    write_atomically(args.checkpoint.with_suffix('.json'), json.dumps(description).encode())
    print(json.dumps(iou))


if __name__ == '__main__':
    main()
