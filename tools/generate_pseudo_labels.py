"""Make the clusters, threshold and label maps of a run without fine-tuning.

    python tools/generate_pseudo_labels.py RECIPE --cfg-options data_root=DIR ...

Takes the arguments of tools/train.py, also under torchrun; the stages before fine-tuning must be
finished. Label maps are shared out over the ranks in shards; what is finished is skipped.
"""

from luss_mm.cli.train import load_config, parse_arguments
from luss_mm.engine.expected_errors import one_line_stops


@one_line_stops()
def main() -> None:
    """Run the steps before the training of the recipe's last stage."""
    arguments = parse_arguments()

    from luss_mm.engine.processes import start_process_group
    from luss_mm.pipeline.step import check_order, steps_of
    from luss_mm.recipes.config_file import refuse_incomplete
    from luss_mm.recipes.recipe import Recipe
    from luss_mm.work_dir.run_folder import RunFolder

    from mmengine.logging import print_log
    from mmengine.registry import init_default_scope

    config = load_config(arguments)
    refuse_incomplete(config, arguments.config, ['stages'])
    recipe = Recipe(config)
    start_process_group(recipe.launcher)
    init_default_scope('mmseg')
    last = recipe.stage_order[-1]
    for earlier in recipe.stages_read_by(last):
        RunFolder(recipe.work_dir).finished_stage(earlier, arguments.config)
    steps = steps_of(recipe.stage(last, recipe.work_dir / last))
    check_order(steps)
    for step in steps:
        print_log(f'step: {step.name}', logger='current')
        step.run()


if __name__ == '__main__':
    main()
