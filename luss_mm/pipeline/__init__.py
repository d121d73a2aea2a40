"""The steps between trainings."""

from luss_mm.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    rendered_images=('RenderTinyShapes',),
)
