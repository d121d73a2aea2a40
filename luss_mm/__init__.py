"""Large-scale unsupervised semantic segmentation as an MMSegmentation plugin.

Importing the package lets everything join mmseg's registries, when they are first used:
`custom_imports = dict(imports=['luss_mm'], allow_failed_imports=False)`.
"""

import os

# Before torch is imported, which reads it then. By default OpenMP's threads wait actively, and one
# other busy program makes training several times slower. Loading processes inherit it.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

from luss_mm.lazy_names import lazy_names
from luss_mm.registration import register_on_use
from luss_mm.version import __version__

register_on_use()

__getattr__, _names = lazy_names(
    __name__,
    api=('find_recipe', 'list_recipes', 'load', 'train'),
    checkpoints=(),
    datasets=(),
    engine=(),
    evaluation=(),
    imagenet_s=(),
    inference=(),
    models=(),
    pipeline=(),
)
__all__ = ('__version__', *_names)
