"""Transforms: files to arrays to views."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    formatting=('KeepLoadedImage', 'MarkValidPixels', 'PackImage', 'PackViews', 'collate_views'),
    loading=('LoadBoundedImage', 'LoadIndexedLabelMap', 'LoadLabelMap', 'SetImageTags'),
    multi_crop=('DistortColours', 'MultiCrop'),
    pseudo_label=('GeneratePseudoLabel', 'OrganizePseudoLabel'),
    resizing=(
        *('BoundImage', 'RandomResizedSegCrop', 'ResizeShortSide', 'ResizeSquare'),
        'ScoreAsResized',
    ),
    strong_operations=(
        *('DrawCutMixBox', 'PCTOperations', 'RandomColourOperations', 'RandomStrongOperations'),
    ),
)
