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

rooms = (checkpoints, datasets, engine, engine.hooks, evaluation, imagenet_s, inference, pipeline)
for room in rooms:
    for name in room.__all__:
        getattr(room, name)
