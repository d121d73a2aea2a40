"""A stage's config as others see it: an ordinary one for mmseg's tools, and its visualizer."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS

from luss_mm.recipes.dataset_facts import without_index
from luss_mm.recipes.image_preparation import image_transforms

# Of the run: other tools would write into the finished stage, or build a runner of recipes.
RUN_KEYS = ('runner_type', 'work_dir')
RUN_HOOKS = ('PicturesHook',)  # would draw another training over the run's pictures
# LoadBoundedImage without its early stop at damaged files and its fast decoding of large JPEGs, by
# whether it leaves the pixels as they are stored.
LOAD_IMAGE = {
    False: dict(type='LoadImageFromFile', color_type='color'),
    True: dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),
}
BOUNDED, BOUND = 'LoadBoundedImage', 'BoundImage'
Pipeline = list[dict[str, Any]]


def ordinary_config(
    stage: Mapping[str, Any], test: Mapping[str, Any], optim_wrapper: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Config of a finished stage that mmseg's tools, `init_model` and inferencer take.

    Args:
        stage: As it was resolved for the run.
        test: `test_dataloader`, `test_cfg` and `test_evaluator`, also of a run without evaluation;
            empty for a stage that makes no segmentor.
        optim_wrapper: As the machine of the run needed it.

    Returns:
        A config of its own. The test data loader begins with mmseg's own loader of images, and a
        segmentor has `test_pipeline`, `tta_pipeline` and `tta_model`, the stage's own if it has
        them. Evaluators write nothing
        unless they are told where to.
    """
    config = {k: v for k, v in copy.deepcopy(dict(stage)).items() if k not in RUN_KEYS}
    config = without_index(config | copy.deepcopy(dict(test)))
    config['launcher'] = 'none'
    if 'custom_hooks' in config:
        config['custom_hooks'] = [h for h in config['custom_hooks'] if h['type'] not in RUN_HOOKS]
    if optim_wrapper is not None:
        config['optim_wrapper'] = dict(optim_wrapper)
    for key in ('val_evaluator', 'test_evaluator'):
        evaluators = config.get(key) or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            evaluator.pop('output_dir', None)
            evaluator.get('metric', {}).pop('output_dir', None)  # of a PredictionMetric
    if not test:
        return config
    visualization = dict(visualization=dict(type='PredictionVisualizationHook'))
    config['default_hooks'] = config.get('default_hooks', {}) | visualization
    dataset = innermost_dataset(config['test_dataloader']['dataset'])
    dataset['pipeline'] = pipeline = plain_loading(dataset['pipeline'])
    config['test_pipeline'] = images = image_transforms(pipeline)
    if issubclass(MODELS.get(config['model']['type']), EncoderDecoder):
        labels = [transform for transform in pipeline if transform not in images]
        config.setdefault('tta_pipeline', tta_pipeline(images, labels))
        config.setdefault('tta_model', dict(type='LUSSTTAModel'))
    return config


def innermost_dataset(dataset: dict[str, Any]) -> dict[str, Any]:
    """The data set with the pipeline, inside of wrappers."""
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def plain_loading(pipeline: Sequence[Mapping[str, Any]]) -> Pipeline:
    """A pipeline that loads images by mmseg's loader, which its inferencer looks for.

    Pixels are those of `LoadBoundedImage`, except of JPEGs twice as large as its bound.
    """
    transforms = [dict(transform) for transform in pipeline]
    if transforms and transforms[0]['type'] == BOUNDED:
        bound = transforms[0] | dict(type=BOUND)
        stored = bound.pop('stored_pixels', False)
        transforms[:1] = [dict(LOAD_IMAGE[stored]), bound]
    return transforms


def bounded_loading(pipeline: Sequence[Mapping[str, Any]]) -> Pipeline:
    """What `plain_loading` made plain as it was, for tools of this package."""
    transforms = [dict(transform) for transform in pipeline]
    for stored, loading in LOAD_IMAGE.items():
        if transforms[:1] == [loading] and transforms[1:] and transforms[1]['type'] == BOUND:
            kept = dict(stored_pixels=True) if stored else {}
            transforms[:2] = [transforms[1] | dict(type=BOUNDED, **kept)]
    return transforms


def tta_pipeline(images: Pipeline, labels: Pipeline) -> Pipeline:
    """Test-time augmentation by a horizontal flip.

    Args:
        images: Transforms of test images; the last one packs.
        labels: Those that read labels, which are not flipped.
    """
    loading = [t for t in images if t['type'] in ('LoadImageFromFile', BOUND)]
    middle = [t for t in images[:-1] if t not in loading]
    flips = [dict(type='RandomFlip', prob=float(p), direction='horizontal') for p in (0, 1)]
    steps = [*([t] for t in middle), flips, *([t] for t in labels), [images[-1]]]
    return [*loading, dict(type='TestTimeAug', transforms=steps)]


LOCAL_BACKEND = 'LocalVisBackend'
Backends = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


def stage_visualizer(
    visualizer: Mapping[str, Any], backends: Backends | None, name: str, group: str
) -> dict[str, Any]:
    """Config of the visualizer of one stage.

    Args:
        visualizer: As the recipe has it for all stages.
        backends: Backends of the recipe, instead of the visualizer's own: names or configs, one or
            several.
        name: Name of the stage's run.
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
