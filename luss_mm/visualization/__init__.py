"""Scores and labels as pictures."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    pictures=('blend_labels', 'contact_sheet', 'picture_strip', 'save_picture', 'score_heatmap'),
    run_pictures=('draw_curves', 'draw_histogram', 'save_figure'),
)
