"""Curves and bars as positions on a small canvas; a template turns them into SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 430, 12, 198  # of the plot on the canvas
MAX_POINTS = 300  # of a curve; more are averaged
OVERLAP = 0.3  # of narrow bars, which would show hairlines between them
MAX_BINS = 100  # of a histogram; more are added up


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    position: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A named curve as the path of an SVG."""

    name: str
    path: str
    last: str


@dataclass(frozen=True)
class Chart:
    """Everything that the template draws.

    Attributes:
        title: Above it.
        x_label: What x is.
        y_label: What y is.
        description: What a reader who does not see it should know.
        x_ticks: With positions on the canvas.
        y_ticks: The same.
        curves: May be empty.
        bars: One path for all bars, and one for those that are marked.
        marker: A vertical line, or None.
    """

    title: str
    x_label: str
    y_label: str
    description: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Curve] = field(default_factory=list)
    bars: tuple[str, str] = ('', '')
    marker: Tick | None = None


def curve_chart(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str,
    y_label: str,
    marker: tuple[float, str] | None = None,
) -> Chart:
    """Curves over a common x axis; points that are not finite leave a gap.

    Args:
        series: Name -> (x, y); at least one finite point in all.
        title: Above the chart.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        marker: Position on the x axis and its text, or None.

    Raises:
        ValueError: If there is no finite point.
    """
    reduced = {name: _averaged(*points) for name, points in series.items()}
    xs, ys = (np.concatenate([points[axis] for points in reduced.values()]) for axis in (0, 1))
    if not np.isfinite(ys).any():
        raise ValueError(f'{title}: no finite value to draw')
    to_x = _Axis(xs.min(), xs.max(), LEFT, RIGHT, whole=False)
    to_y = _Axis(np.nanmin(ys), np.nanmax(ys), BOTTOM, TOP, whole=True)
    curves = [
        Curve(name, _path(to_x(x), to_y(y)), f'{series[name][1][-1]:.3g}')
        for name, (x, y) in reduced.items()
    ]
    ends = '; '.join(f'{curve.name} ends at {curve.last}' for curve in curves[:6])
    return Chart(
        title,
        x_label,
        y_label,
        f'{y_label} over {x_label}: {ends}.',
        to_x.ticks(5, integers=bool((xs == xs.round()).all())),  # there is no iteration 1.2
        to_y.ticks(5),
        curves,
        marker=None if marker is None else Tick(round(to_x(marker[0]), 1), marker[1]),
    )


def bar_chart(
    heights: Sequence[float],
    title: str,
    x_label: str,
    y_label: str,
    edges: tuple[float, float] | None = None,
    marked: Sequence[bool] | None = None,
    marker: tuple[float, str] | None = None,
) -> Chart:
    """Bars of equal widths side by side.

    Args:
        heights: >= 0. At least one.
        title: Above the chart.
        x_label: What x is.
        y_label: What y is.
        edges: First and last position on the x axis; None numbers the bars from 1.
        marked: Bars in the second colour.
        marker: Position on the x axis and its text, or None.
    """
    heights = np.asarray(heights, dtype=float)
    marked = np.zeros(len(heights), bool) if marked is None else np.asarray(marked)
    low, high = (0.5, len(heights) + 0.5) if edges is None else edges
    to_x = _Axis(low, high, LEFT, RIGHT, whole=False)
    to_y = _Axis(0, max(heights.max(), 1e-9), BOTTOM, TOP, whole=True)
    width = (RIGHT - LEFT) / len(heights)
    share = 0.86 if width > 4 else 1
    lefts = LEFT + width * (np.arange(len(heights)) + (1 - share) / 2)
    widths = np.minimum(share * width + (OVERLAP if share == 1 else 0), RIGHT - lefts)
    paths = [
        ''.join(
            f'M{left:.2f} {BOTTOM}V{top:.1f}h{drawn:.2f}V{BOTTOM}z'
            for left, drawn, top in zip(
                lefts[chosen], widths[chosen], to_y(heights[chosen]), strict=True
            )
        )
        for chosen in (~marked, marked)
    ]
    return Chart(
        title,
        x_label,
        y_label,
        f'{len(heights)} bars, {y_label} from {heights.min():.4g} to {heights.max():.4g}.',
        to_x.ticks(min(5, len(heights)), integers=edges is None),
        to_y.ticks(5),
        bars=(paths[0], paths[1]),
        marker=None if marker is None else Tick(round(to_x(marker[0]), 1), marker[1]),
    )


def coarser_histogram(counts: np.ndarray) -> np.ndarray:
    """Neighbouring bins added up until at most `MAX_BINS` of equal width are left. (B,) -> (b,)."""
    factor = next(f for f in range(1, len(counts) + 1) if len(counts) / f <= MAX_BINS)
    while len(counts) % factor:
        factor += 1
    return counts.reshape(-1, factor).sum(axis=1)


class _Axis:
    """Maps values to positions on the canvas and finds round values for ticks."""

    def __init__(self, low: float, high: float, start: int, end: int, whole: bool) -> None:
        if high == low:
            low, high = low - 0.5, high + 0.5
        if whole:  # begin and end at ticks
            found = MaxNLocator(5).tick_values(low, high)
            low, high = found[0], found[-1]
        self.low, self.high, self.start, self.end = float(low), float(high), start, end

    def __call__(self, values: np.ndarray | float) -> np.ndarray | float:
        share = (np.asarray(values, dtype=float) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int, integers: bool = False) -> list[Tick]:
        found = MaxNLocator(count, integer=integers).tick_values(self.low, self.high)
        inside = [v for v in found if self.low - 1e-9 <= v <= self.high + 1e-9]
        return [Tick(round(float(self(v)), 1), tick_text(v)) for v in inside]


def tick_text(value: float) -> str:
    """A short number: 0.25, 1,200 or 45k."""
    if abs(value) >= 10000:
        return f'{value / 1000:,.10g}k'
    return f'{value:,.4g}' if abs(value) >= 1 else f'{value:.3g}'


def _averaged(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most `MAX_POINTS` points, each the mean of neighbours."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    y = np.where(np.isfinite(y), y, np.nan)
    if len(x) <= MAX_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), MAX_POINTS)
    return tuple(np.array([values[part].mean() for part in parts]) for values in (x, y))


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """An SVG path that lifts the pen where y is not finite."""
    steps, pen = [], 'M'
    for left, top in zip(x, y, strict=True):
        if np.isfinite(top):
            steps.append(f'{pen}{left:.1f} {top:.1f}')
            pen = 'L'
        else:
            pen = 'M'
    return ''.join(steps)
