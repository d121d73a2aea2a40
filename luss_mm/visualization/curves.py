"""Curves, bars and histograms, as pictures and as SVG of the report. No global state (pyplot)."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from luss_mm.visualization.pictures import save_picture

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
