"""The steps between trainings. Importing this package registers the tasks of recipes."""

from luss_mm.pipeline.rendered_images import RenderTinyShapes

__all__ = ['RenderTinyShapes']
