"""Large-scale unsupervised semantic segmentation as an MMSegmentation plugin.

Importing the package registers everything with mmseg's registries:
`custom_imports = dict(imports=['luss_mm'], allow_failed_imports=False)`.
"""

from luss_mm import datasets, engine, evaluation, models, pipeline
from luss_mm.version import __version__

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models', 'pipeline']
