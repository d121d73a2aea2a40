"""The distance matching protocol of ImageNet-S: no training, a few labelled images.

    python tools/distance_matching.py WORK_DIR --data-root DIR --out OUT
    python tools/distance_matching.py STAGE/config.py STAGE/final.pth --data-root DIR --out OUT

WORK_DIR is that of a recipe (its pretrain stage is taken) or of one stage. Of the model only the
backbone is used. Every image of DIR/train-semi and every category of its mask gives a reference:
the mean feature of the category. Every pixel of DIR/<split> takes the vote of its nearest ones.

Writes OUT/references, the label maps OUT/<split>/<folder>/<name>.png (id = R + 256 G) and, if
DIR/<split>-segmentation is there, OUT/scores.json. What is finished is not made again.
"""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

if TYPE_CHECKING:
    from luss_mm.pipeline.image_batches import ShardedBatches
    from luss_mm.pipeline.reference_features import PixelFeatures


@one_line_stops()
def main() -> None:
    """Make references and label maps, and score them."""
    parser = new_parser(__doc__)
    parser.add_argument('config', type=Path, metavar='CONFIG_OR_WORK_DIR')
    parser.add_argument('checkpoint', type=Path, nargs='?', help='default: final.pth beside it')
    parser.add_argument('--data-root', type=Path, required=True, metavar='DIR')
    parser.add_argument('--out', type=Path, required=True, metavar='OUT')
    parser.add_argument('--split', default='validation', help='to label (validation)')
    parser.add_argument('--categories', type=int, metavar='K', help="train-semi's folders")
    parser.add_argument('--neighbours', type=int, default=10, help='that vote (%(default)s)')
    parser.add_argument('--temperature', type=float, default=0.07, help='of votes (%(default)s)')
    parser.add_argument('--upsample', type=int, default=4, help='of feature maps (4)')
    parser.add_argument('--in-index', type=int, help="output of the backbone (the config's, or -1)")
    parser.add_argument('--resize-side', type=int, default=256, help='short side of images (256)')
    parser.add_argument(
        '--stored-pixels', action='store_true', help='no EXIF orientation, as in ImageNet-S'
    )
    parser.add_argument('--batch-size', type=int, default=8, help='images (8)')
    parser.add_argument('--shard-size', type=int, default=64, help='images lost at a kill (64)')
    parser.add_argument('--num-workers', type=int, default=2, help='processes that load (2)')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='that score')
    arguments = parser.parse_args()

    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    match_distances(arguments)


def match_distances(arguments: argparse.Namespace) -> None:
    """Run the protocol."""
    from luss_mm.pipeline.reference_features import extract_references, label_by_references
    from luss_mm.recipes.config_file import read_config
    from luss_mm.work_dir.artifact import fingerprint_file
    from luss_mm.work_dir.manifest import read_manifest

    config, checkpoint = find_model(arguments)
    model = read_config(config).to_dict().get('model', {})
    extractor = load_extractor(model, checkpoint, arguments)
    labelled = split_batches(arguments, 'train-semi', seg_map_path='train-semi-segmentation')
    settings = dict(
        backbone=model['backbone'],  # strides and dilations are not in its weights
        transforms=loading(arguments),
        batch_size=arguments.batch_size,
        shard_size=arguments.shard_size,
    )
    references = extract_references(
        arguments.out / 'references',
        extractor,
        labelled,
        inputs=dict(model=fingerprint_file(checkpoint), images=labelled.dataset.fingerprint()),
        settings=settings,
    )
    num_categories = arguments.categories or len(labelled.dataset.metainfo['classes']) - 1
    if references.categories.max(initial=0) > num_categories:
        raise ValueError(
            f'the masks of train-semi have ids up to {references.categories.max()}, more than '
            f'{num_categories} categories: set --categories'
        )
    batches = split_batches(arguments, arguments.split)
    labels = label_by_references(
        arguments.out / arguments.split,
        extractor,
        batches,
        references,
        inputs=dict(
            references=read_manifest(arguments.out / 'references')['key'],
            images=batches.dataset.fingerprint(),
        ),
        settings=settings,
        neighbours=arguments.neighbours,
        temperature=arguments.temperature,
    )
    print(
        f'{len(references.categories):,} references, {len(batches.dataset):,} label maps: {labels}'
    )
    masks = arguments.data_root / f'{arguments.split}-segmentation'
    if masks.is_dir():
        score(arguments, labels, masks, num_categories, labelled.dataset.ignore_index)
    else:
        print(
            f'{masks} is not there: nothing to score. Pack a submission: tools/make_submission.py'
        )


def find_model(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Config and checkpoint that the command line names.

    Raises:
        FileNotFoundError: If one is missing.
    """
    from luss_mm.work_dir.run_folder import FINAL_CHECKPOINT, StageFolder

    config = arguments.config
    if config.is_dir():
        stage = StageFolder(config)
        if not stage.config.is_file():
            stage = StageFolder(config / 'pretrain')
        config = stage.config
    checkpoint = arguments.checkpoint or config.with_name(FINAL_CHECKPOINT)
    for path in (config, checkpoint):
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such file. Name a finished stage and its weights.')
    return config, checkpoint


def load_extractor(model: dict, checkpoint: Path, arguments: argparse.Namespace) -> 'PixelFeatures':
    """The backbone of a model's config with its weights from a checkpoint of the whole model.

    Raises:
        CheckpointError: If the checkpoint does not hold exactly the backbone's weights.
        ValueError: If the model has no backbone or takes BGR images.
    """
    from luss_mm.checkpoints.loading import load_backbone
    from luss_mm.models.preprocessors import ViewsPreprocessor
    from luss_mm.pipeline.reference_features import PixelFeatures

    from mmengine.device import get_device
    from mmseg.registry import MODELS

    if 'backbone' not in model:
        raise ValueError('the config has no model.backbone: name the config of one stage')
    backbone = MODELS.build(model['backbone'])
    load_backbone(backbone, checkpoint)
    normalisation = model.get('data_preprocessor') or {}
    if normalisation.get('type') != 'ViewsPreprocessor' and not normalisation.get('bgr_to_rgb'):
        raise ValueError('the model takes BGR images: its data_preprocessor needs bgr_to_rgb=True')
    preprocessor = ViewsPreprocessor(
        **{key: normalisation[key] for key in ('mean', 'std') if key in normalisation}
    )
    in_index = model.get('in_index', -1) if arguments.in_index is None else arguments.in_index
    device = get_device()
    return PixelFeatures(backbone.to(device), preprocessor.to(device), in_index, arguments.upsample)


def split_batches(arguments: argparse.Namespace, split: str, **masks: str) -> 'ShardedBatches':
    """Whole images of a split."""
    from luss_mm.pipeline.image_batches import ShardedBatches

    from mmseg.registry import DATASETS

    dataset = dict(
        type='LUSSDataset',
        data_root=str(arguments.data_root),
        data_prefix=dict(img_path=split, **masks),
        categories='folders',
        pipeline=loading(arguments, bool(masks)),
    )
    return ShardedBatches(
        DATASETS.build(dataset), arguments.batch_size, arguments.shard_size, arguments.num_workers
    )


def loading(arguments: argparse.Namespace, masks: bool = False) -> list[dict]:
    """Transforms of whole images at a short side, with their whole masks if they have any."""
    stored = dict(stored_pixels=True) if arguments.stored_pixels else {}
    return [
        dict(type='LoadBoundedImage', max_side=2048, **stored),
        dict(type='ResizeShortSide', side=arguments.resize_side),
        *([dict(type='LoadLabelMap', match_image=False)] if masks else []),
        dict(type='PackImage'),
    ]


def score(
    arguments: argparse.Namespace, labels: Path, masks: Path, num_categories: int, ignored: int
) -> None:
    """Score label maps as tools/evaluate.py --protocol distance does."""
    from luss_mm.evaluation.cluster_matching import category_ids
    from luss_mm.evaluation.folders import FolderCounter, count_folders, folder_report, list_pairs
    from luss_mm.evaluation.score_report import figure_table, official_figures
    from luss_mm.terminal import Progress
    from luss_mm.work_dir.atomic_files import write_atomically
    from luss_mm.work_dir.run_folder import EvaluationFolder

    pairs, _ = list_pairs(labels, masks)
    matching = category_ids(num_categories)
    counter = FolderCounter(num_categories, num_categories, matching, ignore_index=ignored)
    counts, _ = count_folders(counter, pairs, arguments.workers, Progress('scoring', len(pairs)))
    scores = matching.scores(counts)
    use = f'train-semi masks: references; {arguments.split} masks: scoring'
    report = folder_report(
        scores, matching, counter, protocol='distance', split=arguments.split, ground_truth_use=use
    )
    path = EvaluationFolder(arguments.out).scores_file
    write_atomically(path, json.dumps(report, indent=1).encode())
    print(figure_table(official_figures(scores)))
    print(f'{use}\nscores: {path}')


if __name__ == '__main__':
    main()
