"""How many images of each category a selection retained, as a chart."""

from pathlib import Path

import numpy as np

from luss_mm.visualization.curves import ABOVE, BELOW, new_figure, save_figure


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
