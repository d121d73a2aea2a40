"""A finished run at work: features, predictions of images and folders, export.

Importing this package registers the inferencer.
"""

from luss_mm.inference.inferencer import LUSSInferencer

__all__ = ['LUSSInferencer']
