"""Label maps of another split from a run's attention model, centroids and threshold.

    python tools/label_split.py WORK_DIR validation OUT

These are the pseudo-labels before fine-tuning; the split's folder names are only copied.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

import luss_mm  # noqa: F401  registers everything
from luss_mm.engine.hooks.pseudo_labels import load_attention_model
from luss_mm.pipeline.cluster_features import load_clusters
from luss_mm.pipeline.generate_labels import generate_labels
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.pseudo_labels import fingerprint_file


def main() -> None:
    """Write `<OUT>/<relative path>.png` for every image of the split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('split', help='folder below the data root of the run')
    parser.add_argument('out', type=Path)
    arguments = parser.parse_args()
    init_default_scope('mmseg')
    config = Config.fromfile(arguments.work_dir / 'finetune' / 'config.py')
    hook = next(h for h in config.custom_hooks if h['type'] == 'PseudoLabelHook')
    dataset = DATASETS.build(
        dict(hook['label_dataset'], data_prefix=dict(img_path=arguments.split))
    )
    threshold = json.loads((arguments.work_dir / 'threshold' / 'threshold.json').read_text())
    model = load_attention_model(hook['attention_config'], hook['attention_checkpoint'])
    generate_labels(
        arguments.out,
        model,
        ShardedBatches(dataset, hook['batch_size'], num_workers=hook['num_workers']),
        load_clusters(arguments.work_dir / 'clusters').centroids,
        threshold['threshold'],
        inputs=dict(
            model=fingerprint_file(hook['attention_checkpoint']), images=dataset.fingerprint()
        ),
        settings=dict(work_dir=str(arguments.work_dir)),
        device=get_device(),
    )


if __name__ == '__main__':
    main()
