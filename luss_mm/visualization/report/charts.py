"""Charts of the report: matplotlib's SVG within the page, readable on light and dark."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from luss_mm.visualization.curves import ABOVE, draw_curves, draw_histogram, new_figure

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
