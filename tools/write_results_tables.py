"""Write the tables of docs/results.md from docs/results.json, which tools/record_result.py fills.

    python tools/write_results_tables.py

tests/test_docs.py compares the page with what this writes.
"""

from pathlib import Path

from luss_mm.cli.arguments import new_parser
from luss_mm.engine.run_records import read_results, result_tables

PAGE = Path(__file__).parents[1] / 'docs' / 'results.md'
RESULTS = PAGE.with_suffix('.json')
BEGIN = '<!-- Written by tools/write_results_tables.py from results.json: -->\n'
END = '<!-- end of the written tables -->\n'


def main() -> None:
    """Write the page."""
    new_parser(__doc__).parse_args()
    PAGE.write_text(results_page())
    print(PAGE)


def results_page() -> str:
    """The page with the tables of the recorded results between its two markers."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or END not in rest:
        raise ValueError(f'{PAGE}: lacks the marker {(END if rest else BEGIN).strip()!r}')
    return f'{before}{BEGIN}\n{result_tables(read_results(RESULTS))}\n{END}{after}'


if __name__ == '__main__':
    main()
