"""Where curves and pictures of a stage go: mmengine's visualizer and its backends."""

from collections.abc import Mapping, Sequence
from typing import Any

LOCAL_BACKEND = 'LocalVisBackend'
Backends = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


def stage_visualizer(
    visualizer: Mapping[str, Any], backends: Backends | None, name: str, group: str
) -> dict[str, Any]:
    """Config of the visualizer of one stage.

    Args:
        visualizer: As the recipe has it for all stages.
        backends: Of the recipe, instead of the visualizer's own: names or configs, one or several.
        name: Of the stage's run.
        group: What the stages of a recipe have in common; W&B shows a run for each stage.

    Returns:
        With the local backend among the others: loss curves and report are drawn from its files.
    """
    chosen = visualizer.get('vis_backends', ()) if backends is None else backends
    listed = [chosen] if isinstance(chosen, (str, Mapping)) else chosen
    configs = [dict(type=b) if isinstance(b, str) else dict(b) for b in listed]
    if all(config['type'] != LOCAL_BACKEND for config in configs):
        configs.insert(0, dict(type=LOCAL_BACKEND))
    for config in configs:
        if config['type'] == 'WandbVisBackend':
            given = config.get('init_kwargs') or {}
            config['init_kwargs'] = dict(name=name, group=group) | dict(given)
    return dict(visualizer, name=name, vis_backends=configs)
