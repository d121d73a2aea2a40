"""Large-scale unsupervised semantic segmentation as an MMSegmentation plugin.

Importing the package registers everything with mmseg's registries:
`custom_imports = dict(imports=['luss_mm'], allow_failed_imports=False)`.
"""

import os

# Before torch is imported, which reads it then. By default OpenMP's threads wait actively, and one
# other busy program makes training several times slower. Loading processes inherit it.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

from luss_mm import (
    checkpoints,
    datasets,
    engine,
    evaluation,
    imagenet_s,
    inference,
    models,
    pipeline,
)
from luss_mm.version import __version__

__all__ = [
    '__version__',
    'checkpoints',
    'datasets',
    'engine',
    'evaluation',
    'imagenet_s',
    'inference',
    'models',
    'pipeline',
]
