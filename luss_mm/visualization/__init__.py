"""Scores and labels as pictures."""

from luss_mm.visualization.contact_sheet import contact_sheet
from luss_mm.visualization.curves import plot_curves, plot_histogram
from luss_mm.visualization.overlays import (
    blend_labels,
    picture_strip,
    save_picture,
    score_heatmap,
)

__all__ = [
    'blend_labels',
    'contact_sheet',
    'picture_strip',
    'plot_curves',
    'plot_histogram',
    'save_picture',
    'score_heatmap',
]
