"""How fast segmenters answer the prompts of SAM prompt optimisation, on made-up images.

    python tools/benchmarks/spo_throughput.py spo_throughput.json --num-images 2
    python tools/benchmarks/spo_throughput.py spo_throughput.json --device cuda --num-images 64

Times, in one process after a warm-up: SAM of the published size with random weights, one image and
one box after the other through SamPredictor (two passes, as published) and batched by SAMSegmenter,
encoder and decoder apart; and GrabCutSegmenter. Says how far the two SAMs' masks agree.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luss_mm.cli.arguments import new_parser
from luss_mm.functional.mask_prompts import MaskPrompt, component_boxes
from luss_mm.models.segmenters import GrabCutSegmenter, SAMSegmenter
from luss_mm.models.segmenters.promptable_segmenter import point_in_box
from luss_mm.models.segmenters.sam_segmenter import build_sam, resolve_sizes

import cv2
import numpy as np
import torch
from comparison import cost, write_report

CLOCKS = dict(wall=time.perf_counter, processor=time.process_time)


def make_image(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Clouds of colour with grain, RGB uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    clouds = rng.uniform(0, 255, (9, 12, 3)).astype(np.float32)
    smooth = cv2.resize(clouds, size[::-1], interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


def make_prompts(seed: int, size: tuple[int, int], boxes: int) -> list[MaskPrompt]:
    """One class of the given number of ellipses side by side, with a point in the first."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros(size, np.uint8)
    width = size[1] / boxes
    for number in range(boxes):
        centre = (int((number + 0.5) * width), int(size[0] * rng.uniform(0.4, 0.6)))
        axes = (int(0.4 * width), int(size[0] * rng.uniform(0.2, 0.35)))
        cv2.ellipse(canvas, centre, axes, 0, 0, 360, 1, -1)
        if number == 0:
            point = centre
    return [MaskPrompt(1, component_boxes(canvas > 0), point, canvas > 0)]


class OneAtATime:
    """The published way: SamPredictor, one image and one box after the other."""

    def __init__(self, sam: Any) -> None:
        from segment_anything import SamPredictor

        self.predictor = SamPredictor(sam)

    def encode(self, image: np.ndarray) -> None:
        """Set the predictor's image."""
        self.predictor.set_image(image)

    def segment(self, prompts: list[MaskPrompt]) -> list[np.ndarray]:
        """Union of the boxes' masks after two passes, bool (H, W) a prompt."""
        return [
            np.any([self._segment_box(prompt, box) for box in prompt.boxes], axis=0)
            for prompt in prompts
        ]

    def _segment_box(self, prompt: MaskPrompt, box: np.ndarray) -> np.ndarray:
        asked = dict(box=box)
        if (point := point_in_box(prompt.point, box)) is not None:
            asked.update(point_coords=np.array([point]), point_labels=np.array([1]))
        _, scores, logits = self.predictor.predict(**asked, multimask_output=True)
        best = logits[scores.argmax()][None]
        masks, _, _ = self.predictor.predict(**asked, mask_input=best, multimask_output=False)
        return masks[0]


class Stopwatch:
    """Measures calls.

    Args:
        device: Whose queue belongs to a call.
        clock: A key of CLOCKS.
    """

    def __init__(self, device: torch.device, clock: str) -> None:
        self.device = device
        self.clock = CLOCKS[clock]

    def __call__(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds that a call takes, and its result."""
        self._wait()
        start = self.clock()
        result = work()
        self._wait()
        return self.clock() - start, result

    def _wait(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)


def time_sam(
    segmenter: SAMSegmenter,
    images: list[np.ndarray],
    prompts: list[list[MaskPrompt]],
    seconds: Stopwatch,
) -> dict[str, Any]:
    """Seconds an image of both ways, encoder and decoder apart, and their ratios."""
    count = len(images)
    alone = OneAtATime(segmenter.sam)
    alone.encode(images[0])  # warm-up of both ways
    alone.segment(prompts[0])
    segmenter.segment(segmenter.encode(images[:1])[0], prompts[0])

    published, expected = dict(encoder=0.0, decoder=0.0), []
    for image, asked in zip(images, prompts, strict=True):
        published['encoder'] += seconds(lambda image=image: alone.encode(image))[0] / count
        elapsed, masks = seconds(lambda asked=asked: alone.segment(asked))
        published['decoder'] += elapsed / count
        expected += masks
    batched = {}
    elapsed, encoded = seconds(lambda: segmenter.encode(images))
    batched['encoder'] = elapsed / count
    pairs = list(zip(encoded, prompts, strict=True))
    elapsed, masks = seconds(lambda: [m for pair in pairs for m in segmenter.segment(*pair)])
    batched['decoder'] = elapsed / count
    for way in (published, batched):
        way['images_per_second'] = 1 / (way['encoder'] + way['decoder'])
    return dict(
        one_at_a_time_seconds=published,
        batched_seconds=batched,
        speed_up={name: published[name] / batched[name] for name in ('encoder', 'decoder')}
        | {'whole': batched['images_per_second'] / published['images_per_second']},
        equal_pixels=float(np.mean(np.stack(masks) == np.stack(expected))),
    )


def time_grabcut(
    segmenter: GrabCutSegmenter,
    images: list[np.ndarray],
    prompts: list[list[MaskPrompt]],
    seconds: Stopwatch,
) -> dict[str, Any]:
    """Images a second."""
    pairs = list(zip(segmenter.encode(images), prompts, strict=True))
    segmenter.segment(*pairs[0])
    elapsed, _ = seconds(lambda: [segmenter.segment(*pair) for pair in pairs])
    return dict(facts=segmenter.facts(), images_per_second=len(images) / elapsed)


def random_sam(directory: str, args: argparse.Namespace) -> SAMSegmenter:
    """A segmenter whose checkpoint holds random weights."""
    torch.manual_seed(0)
    checkpoint = Path(directory, 'random_weights.pth')
    torch.save(build_sam(resolve_sizes(args.model_type)).state_dict(), checkpoint)
    segmenter = SAMSegmenter(
        checkpoint,
        args.model_type,
        args.device,
        args.encoder_dtype,
        args.images_per_batch,
        args.prompts_per_batch,
    )
    segmenter.check()
    segmenter.sam  # noqa: B018  read now, before the file goes
    return segmenter


def parse_args(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, or these words."""
    parser = new_parser(__doc__)
    parser.add_argument('output', type=Path, help='JSON file to write')
    parser.add_argument('--device', default='cpu', help='of SAM (default: cpu)')
    parser.add_argument('--model-type', default='vit_b', help='(default: vit_b)')
    parser.add_argument('--encoder-dtype', default='float32', help='batched way (default: float32)')
    parser.add_argument('--num-images', type=int, default=2, help='(default: 2)')
    parser.add_argument('--num-grabcut-images', type=int, default=50, help='(default: 50)')
    parser.add_argument('--boxes', type=int, default=4, help='an image (default: 4)')
    parser.add_argument('--images-per-batch', type=int, help="(default: the segmenter's own)")
    parser.add_argument('--prompts-per-batch', type=int, default=32, help='(default: 32)')
    parser.add_argument(
        '--clock',
        choices=CLOCKS,
        default='wall',
        help='processor: CPU seconds of all threads, for a busy machine (default: wall)',
    )
    parser.add_argument('--size', type=int, nargs=2, default=(375, 500), help='height and width')
    return parser.parse_args(words)


def main() -> None:
    """Time everything, write and print the figures."""
    args = parse_args()
    figures = measure(args)
    write_report(args.output, figures)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of both segmenters."""
    size = tuple(args.size)
    count = max(args.num_images, args.num_grabcut_images)
    images = [make_image(seed, size) for seed in range(count)]
    prompts = [make_prompts(seed, size, args.boxes) for seed in range(count)]
    with tempfile.TemporaryDirectory() as directory:
        segmenter = random_sam(directory, args)
    seconds = Stopwatch(segmenter.device, args.clock)
    grabcut_images = images[: args.num_grabcut_images]
    figures = dict(
        settings={name: str(value) for name, value in vars(args).items()},
        torch_threads=torch.get_num_threads(),
        sam=time_sam(segmenter, images[: args.num_images], prompts[: args.num_images], seconds),
        grabcut=time_grabcut(
            GrabCutSegmenter(), grabcut_images, prompts[: len(grabcut_images)], seconds
        ),
    )
    name = args.model_type if isinstance(args.model_type, str) else 'of other sizes'
    seconds_of = 'CPU s an image' if args.clock == 'processor' else 's an image'
    figures['comparisons'] = {
        f'SAM {name}, {part} of an image with {args.boxes} boxes': cost(
            figures['sam']['batched_seconds'][part],
            figures['sam']['one_at_a_time_seconds'][part],
            seconds_of,
            'prompt by prompt',
        )
        for part in ('encoder', 'decoder')
    }
    return figures


if __name__ == '__main__':
    main()
