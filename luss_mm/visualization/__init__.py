"""Scores and labels as pictures."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    contact_sheets=('contact_sheet',),
    curves=('plot_curves', 'plot_histogram'),
    overlays=('blend_labels', 'picture_strip', 'save_picture', 'score_heatmap'),
)
