"""The pictures of a stage in TensorBoard, Weights & Biases or another backend."""

from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from luss_mm.recipes.stage_visualizer import LOCAL_BACKEND
from luss_mm.visualization.run_pictures import read_rgb
from luss_mm.visualization.step_pictures import decoration

SUFFIXES = ('.png', '.jpg')


@HOOKS.register_module()
class BackendPicturesHook(Hook):
    """Gives what the other hooks of a stage have drawn to the visualizer's backends.

    Hooks that draw say where in their attribute `pictures`. The local backend gets nothing: the
    pictures lie beside its files.

    Args:
        pictures_per_folder: Shown of a folder, evenly spread: there may be a sheet for each of
            hundreds of clusters.
    """

    priority = 'NORMAL'  # LoggerHook, below it, closes the backends

    def __init__(self, pictures_per_folder: int = 64) -> None:
        self.pictures_per_folder = pictures_per_folder

    def after_run(self, runner) -> None:
        """Send the pictures, from one rank."""
        backends = [  # mmengine has no public list of them
            backend
            for name, backend in runner.visualizer._vis_backends.items()
            if name != LOCAL_BACKEND
        ]
        if not backends or not is_main_process():
            return
        folders = {Path(h.pictures) for h in runner.hooks if getattr(h, 'pictures', None)}
        files = {file: name for folder in folders for name, file in self._chosen(folder)}
        with decoration('pictures in the backends'):
            for file, name in sorted(files.items()):
                picture = read_rgb(file)
                for backend in backends:
                    backend.add_image(name, picture, step=runner.iter)

    def _chosen(self, folder: Path) -> list[tuple[str, Path]]:
        """Names and files below a folder, without what was set aside (a dot in its name)."""
        by_parent: dict[Path, list[Path]] = {}
        for file in sorted(folder.rglob('*')):
            parents = file.relative_to(folder).parts[:-1]
            if file.suffix in SUFFIXES and not any('.' in part for part in parents):
                by_parent.setdefault(file.parent, []).append(file)
        chosen = []
        for files in by_parent.values():
            spread = np.linspace(0, len(files) - 1, min(len(files), self.pictures_per_folder))
            chosen += [files[i] for i in np.unique(spread.astype(int))]
        return [
            (file.relative_to(folder.parent).with_suffix('').as_posix(), file) for file in chosen
        ]
