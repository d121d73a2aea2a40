"""A page about a finished run: score, stages, losses, clusters, matching, classes and images.

    luss report WORK_DIR

Writes WORK_DIR/report/index.html, which needs neither server nor network. It holds its pictures
itself while they are few; many clusters get a folder of pictures beside it, which moves with it.
The end of a recipe writes the same page. Trains and predicts nothing and reads no mask: what the
run did not leave is left out, with the reason.
"""

import os
from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.expected_errors import one_line_stops

MEGABYTE = 2**20


@one_line_stops()
def main(arguments: list[str] | None = None) -> None:
    """Write the page and say where it is."""
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', type=Path)
    parser.add_argument(
        '--largest-page',
        type=float,
        default=12,
        metavar='MB',
        help='pictures beyond this go into a folder beside the page (%(default)s; 0: always)',
    )
    parsed = parser.parse_args(arguments)
    with os.scandir(parsed.work_dir):
        pass  # names a folder that is not there or may not be read

    from luss_mm.visualization.report import write_report

    page = write_report(parsed.work_dir, int(parsed.largest_page * MEGABYTE))
    print(f'report: {page} ({page.stat().st_size / MEGABYTE:.1f} MB)')
