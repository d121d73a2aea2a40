"""The eight views of pretraining, ours against torchvision on PIL images, from the same JPEGs.

    python tools/benchmarks/views.py --out views.json

Both read 375 x 500 JPEGs and make 2 views of 224 and 6 of 96 pixels with SwAV's augmentation (ours
ends with uint8, which the device normalises; torchvision's with normalised floats, as its recipes
do). Each runs on one thread of one process, so images/s are those of one core; CPU seconds are
counted, since other jobs may share the machine. `--images DIR` takes photographs instead of
generated ones.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.datasets.image_index import scan_images
from luss_mm.datasets.transforms import LoadBoundedImage, MultiCrop
from luss_mm.functional.colour_changes import change_colours

import cv2
import numpy as np
import torch
from comparison import rate, write_report
from PIL import Image
from torchvision import transforms

HEIGHT, WIDTH = 375, 500
GENERATED = 50  # images at most
VIEWS = (dict(num=2, size=224, scale=(0.14, 1.0)), dict(num=6, size=96, scale=(0.05, 0.14)))
BLUR_KERNEL = 13  # reaches three times the largest standard deviation, as ours does


def main() -> None:
    """Measure, write the JSON file and print the comparisons."""
    parser = new_parser(__doc__)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--images', type=Path, help='folder of photographs')
    parser.add_argument('--count', type=int, default=200)
    parser.add_argument('--rounds', type=int, default=3, help='of which the best counts')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = (
            [str(arguments.images / name) for name in scan_images(arguments.images)]
            if arguments.images
            else write_images(Path(folder), GENERATED)
        )
        paths = (paths * (arguments.count // len(paths) + 1))[: arguments.count]
        report = compare(paths, arguments.rounds)
    kind = 'photographs' if arguments.images else f'generated {HEIGHT} x {WIDTH} JPEGs'
    theirs = report['torchvision_on_pil_images_per_cpu_second']
    report['comparisons'] = {
        f'views 2 x 224 + 6 x 96, {kind}{ending}': rate(
            report[f'{way}_images_per_cpu_second'], theirs, 'images/s a core', 'torchvision on PIL'
        )
        for way, ending in (('ours', ''), ('ours_colours_left_to_the_device', ', without colours'))
    }
    report['images'] = len(paths)
    write_report(arguments.out, report)


def compare(paths: Sequence[str], rounds: int) -> dict[str, float]:
    """Images a CPU second of each way, the ways taking turns."""
    ways = dict(
        ours=our_views(colours_on_device=False),
        ours_colours_left_to_the_device=our_views(colours_on_device=True),
        torchvision_on_pil=torchvision_views(),
    )
    rates = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, make in ways.items():
            np.random.seed(0)
            torch.manual_seed(0)
            started = time.process_time()
            for path in paths:
                make(path)
            rates[name] = max(rates[name], len(paths) / (time.process_time() - started))
    report = {f'{name}_images_per_cpu_second': round(rate, 1) for name, rate in rates.items()}
    report['ratio'] = round(rates['ours'] / rates['torchvision_on_pil'], 2)
    report['batched_colours_images_per_cpu_second'] = round(
        batched_colours_rate(min(len(paths), 32)), 1
    )
    return report


def our_views(colours_on_device: bool) -> Callable[[str], object]:
    """Path to views, as `configs/_base_/pass_stages.py` makes them."""
    load, crop = LoadBoundedImage(), MultiCrop(VIEWS, colours_on_device=colours_on_device)
    return lambda path: crop.transform(load.transform(dict(img_path=path)))


def torchvision_views() -> Callable[[str], object]:
    """Path to views, as a plain SwAV loader makes them."""
    views = [
        transforms.Compose(
            [
                transforms.RandomResizedCrop(view['size'], view['scale']),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
                transforms.RandomGrayscale(0.2),
                transforms.RandomApply([transforms.GaussianBlur(BLUR_KERNEL, (0.1, 2.0))], 0.5),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )
        for view in VIEWS
        for _ in range(view['num'])
    ]

    def make(path: str) -> list[torch.Tensor]:
        with Image.open(path) as image:
            picture = image.convert('RGB')
        return [transform(picture) for transform in views]

    return make


def batched_colours_rate(batch: int = 32, device: str = 'cpu') -> float:
    """Images whose eight views get their colours in batches, a second of this CPU or of a GPU.

    On a GPU the time of sending the uint8 views there is in it, as in a training.
    """
    crop = MultiCrop(VIEWS, colours_on_device=True)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    samples = [crop.transform(dict(img=image)) for _ in range(batch)]
    collated = torch.utils.data.default_collate(samples)
    pairs = list(zip(collated['inputs'], collated['colour_changes'].unbind(dim=1), strict=True))
    clock, taken = time.process_time if device == 'cpu' else time.perf_counter, []
    for _ in range(1 if device == 'cpu' else 4):  # a GPU is slow the first time
        started = clock()
        for view, changes in pairs:
            change_colours(view.to(device), changes.to(device))
        if device != 'cpu':
            torch.cuda.synchronize()
        taken.append(clock() - started)
    return batch / min(taken)


def write_images(folder: Path, count: int) -> list[str]:
    """Images with detail at several scales, about 55 kB each."""
    random = np.random.default_rng(0)
    paths = []
    for index in range(count):
        image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        for step, weight in ((64, 0.5), (16, 0.3), (4, 0.15), (1, 0.05)):
            grid = random.integers(0, 256, (HEIGHT // step + 1, WIDTH // step + 1, 3))
            detail = cv2.resize(
                grid.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
            )
            image += weight * detail
        path = folder / f'{index}.jpg'
        cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
        paths.append(str(path))
    return paths


if __name__ == '__main__':
    main()
