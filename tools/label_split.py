"""Label maps of another split from a run's features, centroids and threshold.

    python tools/label_split.py WORK_DIR validation OUT

These are the pseudo-labels before fine-tuning; the split's folder names are only copied.
"""

from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops


@one_line_stops()
def main() -> None:
    """Write `<OUT>/labels/<relative path>.png` for every image of the split."""
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('split', help='folder below the data root of the run')
    parser.add_argument('out', type=Path)
    arguments = parser.parse_args()

    from luss_mm.inference.label_steps import find_label_steps

    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    last = find_label_steps(arguments.work_dir)[-1]
    print(last.label_split(arguments.split, arguments.out))


if __name__ == '__main__':
    main()
