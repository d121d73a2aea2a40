"""Make the features, clusters, threshold and label maps of a run without fine-tuning.

    python tools/make_pseudo_labels.py configs/luss/pass_folder.py --cfg-options data_root=DIR ...

Takes the arguments of tools/train.py; the stages before fine-tuning must be finished.
"""

from mmengine.registry import init_default_scope
from mmseg.registry import HOOKS
from train import load_config, parse_arguments

import luss_mm  # noqa: F401  registers everything
from luss_mm.engine.processes import start_process_group
from luss_mm.engine.recipe import Recipe


def main() -> None:
    """Run the pseudo-label hook of the recipe's last stage by itself."""
    recipe = Recipe(load_config(parse_arguments()))
    start_process_group(recipe.launcher)
    init_default_scope('mmseg')
    last = recipe.stage_order[-1]
    stage = recipe.stage(last, recipe.work_dir / last)
    for hook in stage['custom_hooks']:
        if hook['type'] == 'PseudoLabelHook':
            HOOKS.build(hook).before_train(runner=None)


if __name__ == '__main__':
    main()
