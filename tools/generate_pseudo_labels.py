"""Make the clusters, threshold and label maps of a run without fine-tuning.

    python tools/generate_pseudo_labels.py RECIPE --cfg-options data_root=DIR ...

Takes the arguments of tools/train.py, also under torchrun; the stages before fine-tuning must be
finished. Label maps are shared out over the ranks in shards; what is finished is skipped.
"""

import luss_mm  # noqa: F401  registers everything
from luss_mm.cli.train import load_config, parse_arguments
from luss_mm.engine.expected_errors import one_line_stops
from luss_mm.engine.hooks import ClusterHook, PseudoLabelHook
from luss_mm.engine.processes import start_process_group
from luss_mm.recipes.config_file import refuse_incomplete
from luss_mm.recipes.recipe import Recipe
from luss_mm.work_dir.artifact import MANIFEST

from mmengine.registry import init_default_scope
from mmengine.runner import get_priority
from mmseg.registry import HOOKS


@one_line_stops()
def main() -> None:
    """Run the clustering and pseudo-label hooks of the recipe's last stage by themselves."""
    arguments = parse_arguments()
    config = load_config(arguments)
    refuse_incomplete(config, arguments.config, ['stages'])
    recipe = Recipe(config)
    start_process_group(recipe.launcher)
    init_default_scope('mmseg')
    last = recipe.stage_order[-1]
    for earlier in recipe.stages_read_by(last):
        if not (recipe.work_dir / earlier / MANIFEST).is_file():
            raise FileNotFoundError(
                f'{recipe.work_dir / earlier}: not finished. Run tools/train.py {arguments.config} '
                'first, or name its folder with --work-dir.'
            )
    hooks = [
        HOOKS.build(hook) for hook in recipe.stage(last, recipe.work_dir / last)['custom_hooks']
    ]
    steps = [hook for hook in hooks if isinstance(hook, (ClusterHook, PseudoLabelHook))]
    for hook in sorted(steps, key=lambda hook: get_priority(hook.priority)):
        hook.before_train(runner=None)


if __name__ == '__main__':
    main()
