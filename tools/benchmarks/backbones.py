"""A pretraining step of PASS for every backbone that has a recipe.

    OMP_NUM_THREADS=1 python tools/benchmarks/backbones.py --out backbones.json

Two views of 224 x 224 pixels of each image, forward, losses, backward and the optimiser's step,
with the networks at full size. The backbones take turns, so that a busy machine slows all of them.
On a CPU these are CPU seconds of all threads divided by their number, on a GPU seconds.
"""

import argparse
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from luss_mm.engine.optimizers import cpu_has_fast_bfloat16
from luss_mm.recipes.recipe import Recipe
from luss_mm.work_dir.atomic_files import write_atomically

import torch
from comparison import rate
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from pretraining_step import measure

RECIPES = Path(__file__).parents[2] / 'configs' / 'luss'
BACKBONES = ('resnet50', 'swin_tiny', 'convnext_tiny', 'mit_b0', 'vit_small')
SIZE = 224


def main() -> None:
    """Measure, write the JSON file and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--steps', type=int, default=3, help='of each backbone, after one more')
    parser.add_argument('--backbones', nargs='+', choices=BACKBONES, default=BACKBONES)
    arguments = parser.parse_args()
    MMLogger.get_instance('backbones', log_level='WARNING')  # it lists every parameter
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    with DefaultScope.overwrite_default_scope('mmseg'):
        built = {name: build_step(name, arguments.batch, device) for name in arguments.backbones}
        seconds = measure(
            {name: step for name, (step, _) in built.items()}, arguments.steps, device
        )
    report = dict(
        device=torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu',
        threads=torch.get_num_threads(),
        batch=arguments.batch,
        precision=str(autocast_dtype(device) or torch.float32),
        backbones={
            name: dict(
                million_parameters=round(parameters / 1e6, 1),
                seconds_a_step=round(seconds[name], 3),
                images_per_second=round(arguments.batch / seconds[name], 2),
            )
            for name, (_, parameters) in built.items()
        },
        load_average=os.getloadavg(),
    )
    unit = 'images/s' if device.type == 'cuda' else f'images/s, {torch.get_num_threads()} threads'
    report['comparisons'] = {
        f'pretraining step, {name}, 2 x {SIZE}': rate(found['images_per_second'], None, unit)
        for name, found in report['backbones'].items()
    }
    text = json.dumps(report, indent=1)
    write_atomically(arguments.out, text.encode())
    print(text)


def build_step(name: str, batch: int, device: torch.device) -> tuple[Callable[[], None], int]:
    """One training step of a backbone's recipe, and the number of the backbone's parameters."""
    config = Config.fromfile(RECIPES / f'pdso_s50_{name}.py')
    config.merge_from_dict(dict(work_dir='unused', amp=False, evaluate=False))
    stage = Recipe(config).stage('pretrain', 'unused')
    model = MODELS.build(stage['model']).to(device).train()
    optimizer = build_optim_wrapper(model, stage['optim_wrapper'])
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, SIZE, SIZE)
    views = [torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for _ in range(2)]
    crops = torch.tensor([10.0, 20.0, 300.0, 280.0, 0.0]).repeat(batch, 2, 1)
    crops[:, 1, :2] += 30
    dtype = autocast_dtype(device)

    def step() -> None:
        data = model.data_preprocessor(dict(inputs=views, crops=crops), training=True)
        with torch.autocast(device.type, dtype=dtype) if dtype else nullcontext():
            losses = model.loss(data['inputs'], data['crops'])
        optimizer.update_params(sum(losses.values()))

    return step, sum(p.numel() for p in model.backbone.parameters())


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Low precision where the device is fast at it; bfloat16, for nothing here scales losses."""
    return torch.bfloat16 if device.type == 'cuda' or cpu_has_fast_bfloat16() else None


if __name__ == '__main__':
    main()
