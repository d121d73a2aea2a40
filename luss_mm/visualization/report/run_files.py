"""The images of a finished run, where they lie now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luss_mm.datasets.image_index import scan_images
from luss_mm.work_dir.run_folder import MissingPartError, RunFolder


def images_of(run: RunFolder, dataset: Mapping[str, Any]) -> list[Path]:
    """Paths of a data set's images in its order, without those that the run left out.

    Args:
        run: Of a recipe.
        dataset: Its config, as a manifest holds it.

    Raises:
        MissingPartError: If the images are gone.
    """
    root = run.placed(dataset.get('data_root', ''))
    prefix = dataset.get('data_prefix', {}).get('img_path', 'train')
    folders = [prefix] if isinstance(prefix, str) else prefix
    paths = []
    for folder in (Path(root, run.placed(name)) for name in folders):
        if not folder.is_dir():
            raise MissingPartError(f'The images are no longer in {folder}.')
        paths += [folder / relative for relative in scan_images(folder)]
    bad = run.left_out
    return [path for path in paths if str(path) not in bad] if bad else paths


def training_images(run: RunFolder) -> list[Path]:
    """Images that the last stage was trained on, which are those that were clustered.

    Raises:
        MissingPartError: If the images are gone.
    """
    return images_of(run, run.manifests[run.last]['settings']['train_dataloader']['dataset'])


def shown_images(run: RunFolder) -> list[Path]:
    """Images that the last stage was scored on; without masks those that it drew.

    Raises:
        MissingPartError: If the images are gone, or none were drawn.
    """
    settings = run.manifests[run.last]['settings']
    if validation := settings.get('val_dataloader'):
        return images_of(run, validation['dataset'])
    for hook in settings.get('custom_hooks', ()):
        if 'unscored_dataset' in hook:
            return images_of(run, hook['unscored_dataset'])
    raise MissingPartError(f'The stage {run.last} drew no images.')


def shown_path(path: str | Path) -> str:
    """Folder and name of an image."""
    path = Path(path)
    return f'{path.parent.name}/{path.name}'
