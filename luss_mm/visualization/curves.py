"""Curves and histograms as pictures. No pyplot: nothing here touches matplotlib's global state."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from luss_mm.visualization.overlays import save_picture

DOTS_PER_INCH = 100
INCHES = (7.0, 4.0)
BELOW, ABOVE = '#9aa3ad', '#3b75af'
MARKED_POINTS = 30  # a curve of fewer points shows each of them


def plot_curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str,
    y_label: str,
    path: str | Path,
    vertical_line: float | None = None,
) -> None:
    """Draw named curves into one picture; see `draw_curves`.

    Args:
        series: Name -> (x, y), sequences of equal length; NaN leaves a gap. May be empty.
        title: Above the picture.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        path: Picture to write, .png or .jpg; a complete file or none.
        vertical_line: Position on the x axis to mark, e.g. a chosen threshold.

    Raises:
        ValueError: If x and y of a curve differ in length.
    """
    save_figure(draw_curves(series, title, x_label, y_label, vertical_line), path)


def draw_curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str,
    y_label: str,
    vertical_line: float | None = None,
) -> Figure:
    """Named curves in a figure; see `plot_curves`. Whole numbers on x get whole ticks."""
    figure, axes = new_figure(title, x_label, y_label)
    for name, (x, y) in series.items():
        if len(x) != len(y):
            raise ValueError(f'curve {name!r}: {len(x)} x for {len(y)} y')
        axes.plot(x, y, label=name, marker='.' if len(x) < MARKED_POINTS else None, linewidth=1.5)
    if vertical_line is not None:
        _add_line(axes, vertical_line, f'{vertical_line:.3f}')
    if series:
        _add_legend(axes)
    places = [np.asarray(x) for x, _ in series.values()]
    if all(x.dtype.kind in 'iuf' and np.equal(x, np.round(x)).all() for x in places):
        axes.xaxis.set_major_locator(MaxNLocator('auto', integer=True))
    return figure


def plot_histogram(
    counts: Sequence[float],
    edges: Sequence[float],
    threshold: float,
    path: str | Path,
    title: str = 'Foreground score of the training pixels',
    x_label: str = 'foreground score',
) -> None:
    """Draw a histogram in two colours, below and from a threshold on.

    Args:
        counts: Entries of every bin, >= 0. Length n.
        edges: Rising borders of the bins. Length n + 1.
        threshold: Where the colour changes; the legend gives it and the share of the entries above,
            counted by the centres of the bins.
        path: Picture to write, .png or .jpg; a complete file or none.
        title: Above the picture.
        x_label: What is counted.

    Raises:
        ValueError: If there is not one edge more than bins.
    """
    save_figure(draw_histogram(counts, edges, threshold, title, x_label), path)


def draw_histogram(
    counts: Sequence[float], edges: Sequence[float], threshold: float, title: str, x_label: str
) -> Figure:
    """A histogram in a figure; see `plot_histogram`."""
    counts, edges = np.asarray(counts, dtype=float), np.asarray(edges, dtype=float)
    if counts.ndim != 1 or edges.shape != (len(counts) + 1,):
        raise ValueError(f'{edges.shape} edges for {counts.shape} bins: one more edge than bins')
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
