"""Everything of ours that mmseg's registries hold: importing this module registers it."""

from luss_mm import (
    checkpoints,
    datasets,
    engine,
    evaluation,
    imagenet_s,
    inference,
    models,
    pipeline,
)
from luss_mm.datasets import transforms

rooms = (checkpoints, datasets, transforms, engine, engine.hooks, evaluation, imagenet_s, inference)
for room in (*rooms, models, pipeline):
    for name in room.__all__:
        getattr(room, name)
