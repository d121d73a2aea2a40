"""The report of a run: one page that needs neither server nor network."""

import os
import shutil
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from luss_mm.evaluation.cluster_names import given_names, name_of
from luss_mm.version import __version__
from luss_mm.visualization.report import images, scores
from luss_mm.visualization.report.images import FOLDER, Picture, PictureFolder, bad_images
from luss_mm.work_dir.atomic_files import temporary_path, write_atomically
from luss_mm.work_dir.manifest import artifact_key, finished_outputs
from luss_mm.work_dir.run_folder import MissingPartError, RunFolder

PACKAGE = 'luss_mm.visualization.report'
PAGE = 'index.html'  # of the report's folder
KEY_LINE = '<meta name="made-from" content="{}">'
LARGEST_PAGE = 12 * 2**20  # bytes of pictures that go into the page itself
READ_FIRST = 2000  # characters of a page that hold its key


def write_report(work_dir: str | Path, largest_page: int = LARGEST_PAGE) -> Path:
    """Write `<work_dir>/report/index.html`, in place of an earlier one.

    Up to `largest_page` bytes of pictures the page holds them itself and can be moved alone. Beyond
    that they lie in `report/pictures` and are loaded when they come into view: move the folder.
    Memory: the page; one sheet at a time. Time: mostly thumbnails of 24 images a cluster.

    Args:
        work_dir: Work directory of a recipe with at least one finished stage.
        largest_page: In bytes of pictures; 0 puts all of them into the folder.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: If no stage is finished.
    """
    run = RunFolder.read(work_dir)
    page = report_page(work_dir)
    unfinished = temporary_path(page.parent)
    try:
        pictures = PictureFolder(unfinished)
        sections = make_sections(run, pictures)
        embedded = pictures.bytes <= largest_page
        html = render(run, sections, embedded)
        write_atomically(unfinished / page.name, html.encode())
        if embedded:
            shutil.rmtree(unfinished / FOLDER)
        if page.parent.exists():
            shutil.rmtree(page.parent)
        os.rename(unfinished, page.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return page


def report_page(work_dir: str | Path) -> Path:
    """Where the page of a run lies."""
    return RunFolder(work_dir).report / PAGE


def report_is_current(work_dir: str | Path) -> bool:
    """Whether there is a report of the outputs as they are now."""
    page = report_page(work_dir)
    if not page.is_file():
        return False
    with open(page, encoding='utf-8') as file:
        return KEY_LINE.format(_outputs_key(work_dir)) in file.read(READ_FIRST)


def make_sections(run: RunFolder, pictures: PictureFolder) -> list[dict[str, Any]]:
    """All parts of the page in order.

    Args:
        run: Run of a recipe.
        pictures: Gets the pictures.

    Returns:
        Of each the `id` of its heading, for links, its `title`, its `content`, which its template
        shows, or None if the run lacks it, and why it is `missing`.
    """
    try:
        evaluation, missing = scores.read_evaluation(run), ''
    except MissingPartError as error:
        evaluation, missing = None, str(error)

    def of_scores(make: Callable[[scores.ScoredRun], Any]) -> Any:
        if evaluation is None:
            raise MissingPartError(missing)
        return make(evaluation)

    matched = evaluation is not None and evaluation.scores['matching'] not in scores.NO_MATCHING
    category_of = [evaluation.names[c] for c in evaluation.category_of] if matched else None
    if given := given_names(run.path):  # by people
        category_of = [name_of(i, given) for i in range(run.settings['num_categories'] + 1)]
    parts = dict(
        summary=('Summary', lambda: scores.summarise(run)),
        stages=('Stages', lambda: scores.stage_rows(run)),
        bad=('Bad images', lambda: bad_images(run)),
        losses=('Losses', lambda: scores.loss_charts(run)),
        threshold=('Foreground threshold', lambda: scores.threshold_choice(run)),
        use=('Cluster use', lambda: images.cluster_use(run)),
        clusters=('Clusters', lambda: images.cluster_cards(run, category_of, pictures)),
        outcomes=('Pseudo-labels', lambda: scores.label_outcomes(run)),
        steps=('Pseudo-label quality', lambda: scores.label_steps(run, pictures)),
        matching=('Matching', lambda: of_scores(scores.match_rows)),
        classes=('Classes', lambda: of_scores(scores.class_rows)),
        sizes=('Object sizes', lambda: of_scores(scores.size_rows)),
        confusions=('Confusions', lambda: of_scores(scores.top_confusions)),
        images=('Images', lambda: scores.strips(run, evaluation, pictures)),
    )
    return [_section(name, *part) for name, part in parts.items()]


def render(run: RunFolder, sections: list[dict[str, Any]], embedded: bool) -> str:
    """The page as HTML; every text of the run is escaped.

    Args:
        run: Run of a recipe.
        sections: Sections from `make_sections`.
        embedded: Whether pictures are within the page.
    """
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['source'] = Picture.data_source if embedded else Picture.relative_source
    environment.filters['thousands'] = lambda number: f'{number:,}'
    folder = resources.files(PACKAGE) / 'templates'
    return environment.get_template('report.html').render(
        name=run.path.resolve().name,
        work_dir=str(run.path.resolve()),
        sections=sections,
        by_id={section['id']: section for section in sections},
        embedded=embedded,
        written=time.strftime('%Y-%m-%d %H:%M'),
        version=__version__,
        key_line=Markup(KEY_LINE).format(_outputs_key(run.path)),
        # files of the package, not of the run
        style=Markup((folder / 'report.css').read_text(encoding='utf-8')),
        script=Markup((folder / 'report.js').read_text(encoding='utf-8')),
    )


def _section(name: str, title: str, make: Callable[[], Any]) -> dict[str, Any]:
    section = dict(id=name, title=title, content=None, missing='')
    try:
        return section | dict(content=make())
    except MissingPartError as error:
        return section | dict(missing=str(error))


def _outputs_key(work_dir: str | Path) -> str:
    return artifact_key(finished_outputs(work_dir))
