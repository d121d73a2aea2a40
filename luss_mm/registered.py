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

rooms = (checkpoints, datasets, transforms, engine, evaluation, imagenet_s, inference, models)
for room in (*rooms, pipeline):
    for name in room.__all__:
        getattr(room, name)
