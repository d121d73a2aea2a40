"""Everything of ours that mmseg's registries hold: importing this module registers it."""

from luss_mm import (
    checkpoints,
    datasets,
    engine,
    evaluation,
    imagenet_s,
    inference,
    models,  # noqa: F401
    pipeline,
)

for room in (checkpoints, datasets, engine, evaluation, imagenet_s, inference, pipeline):
    for name in room.__all__:
        getattr(room, name)
