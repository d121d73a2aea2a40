"""How well the clusters of a run follow the category folders: accuracy and NMI.

    python tools/evaluate_clusters.py WORK_DIR

Looks at the category folders of the training images, which no stage of the run does.
"""

import json
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

CLUSTERINGS = ('clusters', 'dff_clusters', 'csd_clusters')  # k-means 1, 2 and 3 of PDSO


@one_line_stops()
def main() -> None:
    """Print a line of JSON for each clustering."""
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', type=Path)
    work_dir = parser.parse_args().work_dir

    from luss_mm.functional.clustering_scores import (
        clustering_accuracy,
        contingency,
        normalized_mutual_information,
    )
    from luss_mm.recipes.config_file import read_own_config, refuse_incomplete
    from luss_mm.work_dir.manifest import is_finished
    from luss_mm.work_dir.run_folder import LAST_STAGE, StageFolder, load_clusters

    import numpy as np
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS

    init_default_scope('mmseg')
    path = StageFolder(work_dir / LAST_STAGE).config
    config = read_own_config(path)
    refuse_incomplete(config, path, ['train_dataloader'])
    dataset = DATASETS.build(dict(config.train_dataloader.dataset, pipeline=[]))
    folders = [dataset.relative_path(i).rpartition('/')[0] for i in range(len(dataset))]
    names, categories = np.unique(folders, return_inverse=True)
    for name in CLUSTERINGS:
        if is_finished(work_dir / name):
            clusters = load_clusters(work_dir / name)
            counts = contingency(
                clusters.assignment, categories, len(clusters.centroids), len(names)
            )
            figures = dict(
                clustering=name,
                images=len(dataset),
                clusters=len(clusters.centroids),
                categories=len(names),
                accuracy=round(float(clustering_accuracy(counts)), 4),
                nmi=round(float(normalized_mutual_information(counts)), 4),
                used_ground_truth='category folders of the training images, for these figures only',
            )
            print(json.dumps(figures))


if __name__ == '__main__':
    main()
