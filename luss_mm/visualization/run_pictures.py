"""The pictures of a run, curves and histograms among them, also as SVG of the report."""

import json
import logging
import re
import traceback
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mmengine.logging import print_log

from luss_mm.datasets.image_file import read_image
from luss_mm.visualization.pictures import contact_sheet, save_picture
from luss_mm.work_dir.stop_request import stop_asked

STRIPS = 'strips'  # folder of images as all models see them
LONGEST_NAME = 40
DOTS_PER_INCH = 100
INCHES = (7.0, 4.0)
BELOW, ABOVE = '#9aa3ad', '#3b75af'
MARKED_POINTS = 30  # a curve of fewer points shows each of them
# Of the report, readable on light and dark.
MAX_POINTS = 200  # of a curve; more are averaged
MAX_BINS = 100  # of a histogram; more are added up
INK = '#78828c'
COLOURED = ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color')
STYLE = dict.fromkeys(COLOURED, INK) | {
    'font.size': 13,
    'font.sans-serif': ['DejaVu Sans'],  # each text names all of them
    'svg.fonttype': 'none',  # text, not outlines of letters
    'svg.hashsalt': 'report',  # the same page every time
}


def cluster_members(
    assignment: np.ndarray, values: np.ndarray, num_clusters: int
) -> list[np.ndarray]:
    """Images of each cluster, those of the lowest value first.

    Args:
        assignment: Cluster from 0 of each image; -1 for those that are left out. Shape (N,).
        values: Values of each image. Shape (N,).
        num_clusters: K.
    """
    order = np.lexsort((values, assignment))
    starts = np.searchsorted(assignment[order], np.arange(num_clusters + 1))
    return [order[start:end] for start, end in pairwise(starts)]


def save_cluster_sheets(
    directory: Path,
    image_paths: Sequence[str | Path],
    assignment: np.ndarray,
    values: np.ndarray,
    num_clusters: int,
    value: str = 'd2',
    kept: np.ndarray | None = None,
    images_per_cluster: int = 24,
) -> None:
    """One contact sheet a cluster with the images nearest to its centroid, or that it lost.

    Args:
        directory: Gets `cluster-<generated id>.jpg`.
        image_paths: Paths of all images, in the order of the assignment; only those shown are read.
        assignment: Cluster from 0 of each image. Shape (N,).
        values: Squared distances to the centroid, or qualities; the lowest come first. Shape (N,).
        num_clusters: K.
        value: What the values are, below each image.
        kept: Whether an image was kept, bool: the others are shown, and a cluster that lost none
            has no sheet. None shows all. Shape (N,).
        images_per_cluster: Shown at most.
    """
    chosen = assignment if kept is None else np.where(kept, -1, assignment)
    sizes = np.bincount(assignment, minlength=num_clusters)
    for cluster, members in enumerate(cluster_members(chosen, values, num_clusters)):
        if kept is not None and not members.size:
            continue
        told = 'images, nearest' if kept is None else f'of {sizes[cluster]} images dropped, worst'
        shown = members[:images_per_cluster]
        sheet = contact_sheet(
            [image_paths[i] for i in shown],
            captions=[f'{value} {abs(values[i]):.3f}' for i in shown],
            title=f'cluster {cluster + 1}: {len(members)} {told} first',
        )
        save_picture(directory / f'cluster-{cluster + 1:03d}.jpg', sheet)


def strip_name(index: int, image: str | Path) -> str:
    """File name of an image's strip: index in the data set, and the beginning of its own name."""
    name = re.sub(r'[^\w.-]', '_', Path(image).stem)
    return f'{index:06d}_{name[:LONGEST_NAME]}.jpg'


def strip_index(path: str | Path) -> int:
    """Index in the data set of the image that a strip shows, see `strip_name`."""
    return int(Path(path).name.partition('_')[0])


def read_losses(stage_directory: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Losses of one stage over its iterations, from mmengine's scalar files.

    A resumed stage has several; of an iteration that was repeated the last record counts. A last
    line that is not whole is what a kill leaves, and does not count.

    Returns:
        Name -> (iterations, values), sorted by name; empty without any loss.

    Raises:
        ValueError: If another line is damaged.
    """
    records: dict[int, dict[str, float]] = {}
    for file in sorted(stage_directory.glob('*/vis_data/scalars.json')):
        for record in _read_records(file):
            if 'loss' in record:
                records[record.get('iter', record['step'])] = record
    names = sorted({name for record in records.values() for name in record if 'loss' in name})
    series = {}
    for name in names:
        points = [(step, r[name]) for step, r in sorted(records.items()) if name in r]
        series[name] = tuple(map(list, zip(*points, strict=True)))
    return series


def _read_records(file: Path) -> Iterator[dict[str, float]]:
    lines = file.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            if number < len(lines):
                raise ValueError(
                    f'{file}, line {number}: damaged ({error}). Delete the line; it is a log.'
                ) from error


def save_loss_curves(stage_directory: Path, path: Path) -> None:
    """Draw the losses of one stage, if it has any."""
    if series := read_losses(stage_directory):
        title = f'{stage_directory.name}: losses'
        save_figure(draw_curves(series, title, 'iteration', 'loss'), path)


def save_threshold_histogram(score_counts: np.ndarray, threshold: float, path: Path) -> None:
    """Histogram of the training foreground scores with the chosen threshold."""
    edges = np.linspace(0, 1, len(score_counts) + 1)
    title = 'Foreground score of the training pixels'
    save_figure(draw_histogram(score_counts, edges, threshold, title, 'foreground score'), path)


def read_rgb(path: str | Path, stored_pixels: bool = False) -> np.ndarray:
    """Image for display, RGB uint8 (H, W, 3), see `read_image`."""
    return read_image(path, stored_pixels)[..., ::-1].copy()


def plot_retained(total: np.ndarray, kept: np.ndarray, title: str, path: str | Path) -> None:
    """Draw a bar a category, the largest first: retained below, dropped above.

    Args:
        total: Images before the selection, int (K,).
        kept: Images after it, int (K,).
        title: Above the picture.
        path: Picture to write.
    """
    order = np.argsort(-total, kind='stable')
    figure, axes = new_figure(title, 'categories, largest first', 'images')
    positions = np.arange(len(total))
    axes.bar(positions, kept[order], color=ABOVE, width=0.8, label='retained')
    dropped = (total - kept)[order]
    axes.bar(positions, dropped, bottom=kept[order], color=BELOW, width=0.8, label='dropped')
    axes.legend()
    save_figure(figure, path)


@contextmanager
def decoration(name: str) -> Iterator[None]:
    """Log what goes wrong inside as one warning instead of stopping the run.

    Args:
        name: Name of what is drawn or written.
    """
    try:
        yield
    except Exception as error:
        if stop_asked():  # the signal ended it
            raise
        print_log(
            f'{name}: failed ({type(error).__name__}: {error}), which changes no result\n'
            f'{traceback.format_exc()}',
            'current',
            logging.WARNING,
        )


def draw_curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str,
    y_label: str,
    vertical_line: float | None = None,
) -> Figure:
    """Named curves in a figure. Whole numbers on x get whole ticks.

    Args:
        series: Name -> (x, y), sequences of equal length; NaN leaves a gap. May be empty.
        title: Above the picture.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        vertical_line: Position on the x axis to mark, e.g. a chosen threshold.
    """
    figure, axes = new_figure(title, x_label, y_label)
    for name, (x, y) in series.items():
        axes.plot(x, y, label=name, marker='.' if len(x) < MARKED_POINTS else None, linewidth=1.5)
    if vertical_line is not None:
        _add_line(axes, vertical_line, f'{vertical_line:.3f}')
    if series:
        _add_legend(axes)
    places = [np.asarray(x) for x, _ in series.values()]
    if all(x.dtype.kind in 'iuf' and np.equal(x, np.round(x)).all() for x in places):
        axes.xaxis.set_major_locator(MaxNLocator('auto', integer=True))
    return figure


def draw_histogram(
    counts: Sequence[float], edges: Sequence[float], threshold: float, title: str, x_label: str
) -> Figure:
    """A histogram in a figure, in two colours, below and from a threshold on.

    Args:
        counts: Entries of every bin, >= 0. Length n.
        edges: Rising borders of the bins. Length n + 1.
        threshold: Where the colour changes; the legend gives it and the share of the entries above,
            counted by the centres of the bins.
        title: Above the picture.
        x_label: What is counted.
    """
    counts, edges = np.asarray(counts, dtype=float), np.asarray(edges, dtype=float)
    total = counts.sum()
    shares = counts / total if total > 0 else counts
    above = (edges[:-1] + edges[1:]) / 2 >= threshold
    figure, axes = new_figure(title, x_label, 'share')
    for colour, chosen in ((BELOW, ~above), (ABOVE, above)):
        axes.stairs(np.where(chosen, shares, 0), edges, fill=True, color=colour)
    axes.set_ylim(top=1.2 * max(shares.max(), 1e-9))  # room for the legend
    share = f'{100 * shares[above].sum():.1f} % above'
    _add_line(axes, threshold, f'threshold {threshold:.3g}: {share}')
    _add_legend(axes, 'upper right')
    return figure


def new_figure(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Empty figure in the style of all charts."""
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout='constrained')
    axes = figure.add_subplot()
    # names of folders and files come in here: a dollar sign in them is no formula
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _add_line(axes: Axes, position: float, label: str) -> None:
    axes.axvline(position, color='#c2410c', linestyle='--', linewidth=1.5, label=label)


def _add_legend(axes: Axes, place: str = 'best') -> None:
    for text in axes.legend(frameon=False, loc=place).get_texts():
        text.set_parse_math(False)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure: a complete picture or none."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_picture(path, np.asarray(canvas.buffer_rgba())[..., :3].copy())


@dataclass(frozen=True)
class Chart:
    """A picture of the page.

    Attributes:
        title: Above it.
        description: What a reader who does not see it should know.
        source: Data URI of the SVG.
    """

    title: str
    description: str
    source: str


@rc_context(STYLE)
def curve_chart(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str,
    y_label: str,
    marker: float | None = None,
) -> Chart:
    """Curves over a common x axis; points that are not finite leave a gap.

    Args:
        series: Name -> (x, y); at least one finite point in all.
        title: Above the chart.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        marker: Position on the x axis to mark, or None.

    Raises:
        ValueError: If there is no finite point.
    """
    if not any(np.isfinite(y).any() for _, y in series.values()):
        raise ValueError(f'{title}: no finite value to draw')
    ends = {name: f'{y[-1]:.3g}' for name, (_, y) in series.items()}
    shown = {f'{name}  {ends[name]}': _averaged(*points) for name, points in series.items()}
    figure = draw_curves(shown, '', x_label, y_label, marker)
    text = '; '.join(f'{name} ends at {end}' for name, end in list(ends.items())[:6])
    return Chart(title, f'{y_label} over {x_label}: {text}.', _data_uri(figure))


@rc_context(STYLE)
def bar_chart(heights: Sequence[float], title: str, x_label: str, y_label: str) -> Chart:
    """Bars side by side, numbered from 1."""
    figure, axes = new_figure('', x_label, y_label)
    if len(heights) < MAX_BINS:
        axes.bar(np.arange(len(heights)) + 1, heights, color=ABOVE)
    else:  # one path for all
        axes.stairs(heights, np.arange(len(heights) + 1) + 0.5, fill=True, color=ABOVE)
    axes.xaxis.get_major_locator().set_params(integer=True)
    text = f'{len(heights)} bars, {y_label} from {min(heights):.4g} to {max(heights):.4g}.'
    return Chart(title, text, _data_uri(figure))


@rc_context(STYLE)
def histogram_chart(counts: np.ndarray, threshold: float, title: str, x_label: str) -> Chart:
    """A histogram over [0, 1], coloured from a threshold on.

    Args:
        counts: Entries of bins of equal width. Shape (B,).
        threshold: Where the colour changes.
        title: Above the chart.
        x_label: What is counted.
    """
    factor = next(f for f in range(1, len(counts) + 1) if len(counts) / f <= MAX_BINS)
    starts = np.arange(0, len(counts), factor)
    edges = np.append(starts, len(counts)) / len(counts)
    figure = draw_histogram(np.add.reduceat(counts, starts), edges, threshold, '', x_label)
    text = f'{len(starts)} bins, threshold {threshold:.3f}.'
    return Chart(title, text, _data_uri(figure))


def _data_uri(figure: Figure) -> str:
    file = StringIO()
    figure.savefig(file, format='svg', transparent=True, metadata=dict(Date=None))
    text = re.sub(r' d="[^"]*"', _tenths, file.getvalue())
    return f'data:image/svg+xml;base64,{b64encode(text.encode()).decode()}'


def _tenths(path: re.Match) -> str:
    """The positions of a path to a tenth of a point: half of the page's size."""
    return re.sub(r'(\.\d)\d+', r'\1', path[0])


def _averaged(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most `MAX_POINTS` points, each the mean of neighbours."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    y = np.where(np.isfinite(y), y, np.nan)
    parts = np.array_split(np.arange(len(x)), min(len(x), MAX_POINTS))
    return tuple(np.array([values[part].mean() for part in parts]) for values in (x, y))
