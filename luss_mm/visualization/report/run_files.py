"""What a finished run left, read without executing any of it: manifests instead of configs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from luss_mm.datasets.luss_dataset import list_images
from luss_mm.pipeline.check_images import BAD_IMAGES
from luss_mm.work_dir.artifact import finished_outputs, read_manifest

CONFIG = 'config.py'
OUTPUTS = 'outputs.json'
TRAINING_CHECK = 'image_check'
VALIDATION_CHECK = 'validation_image_check'
CHECKS = (TRAINING_CHECK, VALIDATION_CHECK)  # made between the stages


class MissingPartError(Exception):
    """A part that the run did not leave; the text says why, in one line."""


@dataclass(frozen=True)
class FinishedRun:
    """The work directory of a recipe.

    Attributes:
        work_dir: Where it lies now; it may have been moved.
        manifests: Of the finished outputs by name, in the order of their finishing.
        settings: Of the recipe, unresolved.
    """

    work_dir: Path
    manifests: dict[str, dict]
    settings: dict[str, Any]

    @classmethod
    def read(cls, work_dir: str | Path) -> 'FinishedRun':
        """Read the manifests.

        Raises:
            FileNotFoundError: If no stage is finished.
        """
        work_dir = Path(work_dir)
        manifests = {name: read_manifest(work_dir / name) for name in finished_outputs(work_dir)}
        if not any((work_dir / name / CONFIG).is_file() for name in manifests):
            raise FileNotFoundError(
                f'{work_dir}: holds no finished stage. Name the work directory of a recipe.'
            )
        steps = _steps_before(manifests)
        order = sorted(manifests, key=lambda name: (manifests[name]['finished'], steps[name], name))
        recipe = work_dir / 'recipe.json'
        settings = read_json(recipe) if recipe.is_file() else {}
        return cls(work_dir, {name: manifests[name] for name in order}, settings)

    @cached_property
    def trainings(self) -> list[str]:
        """Names of the stages that trained a model, in order."""
        return [name for name in self.manifests if (self.work_dir / name / CONFIG).is_file()]

    def is_stage(self, name: str) -> bool:
        """Whether an output is a stage of the recipe, and not made between or within stages."""
        return name in self.trainings or (self.work_dir / name / OUTPUTS).is_file()

    @property
    def last(self) -> str:
        """The stage whose model is the run's result."""
        return self.trainings[-1]

    @property
    def evaluation(self) -> Path:
        """Where the last stage's metric wrote."""
        return self.work_dir / self.last / 'evaluation'

    @property
    def data_root(self) -> Path:
        """Of the images, as far as the recipe says; it may be gone."""
        named = str(self.settings.get('data_root', ''))
        return Path(named.replace('${work_dir}', str(self.work_dir)))

    def hook(self, *types: str) -> dict[str, Any]:
        """Arguments of a hook of the last stage.

        Args:
            *types: Registered names; the first that is there is taken.

        Raises:
            MissingPartError: If there is none.
        """
        hooks = self.manifests[self.last]['settings'].get('custom_hooks', [])
        by_type = {hook['type']: hook for hook in hooks}
        for name in types:
            if name in by_type:
                return by_type[name]
        raise MissingPartError(f'The stage {self.last} has no {" or ".join(types)}.')

    def read_json(self, *parts: str) -> Any:
        """A JSON file below the work directory.

        Raises:
            MissingPartError: If it is not there.
        """
        path = self.work_dir.joinpath(*parts)
        if not path.is_file():
            raise MissingPartError(f'The run has no {Path(*parts).as_posix()}.')
        return read_json(path)

    def images_of(self, dataset: Mapping[str, Any]) -> list[Path]:
        """Paths of a data set's images in its order, without those that the run left out.

        Args:
            dataset: Its config, as a manifest holds it.

        Raises:
            MissingPartError: If the images are gone.
        """
        root = self._placed(dataset.get('data_root', ''))
        prefix = dataset.get('data_prefix', {}).get('img_path', 'train')
        folders = [prefix] if isinstance(prefix, str) else prefix
        paths = []
        for folder in (Path(root, self._placed(name)) for name in folders):
            if not folder.is_dir():
                raise MissingPartError(f'The images are no longer in {folder}.')
            paths += [folder / relative for relative in list_images(folder)]
        bad = self.left_out
        return [path for path in paths if str(path) not in bad] if bad else paths

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Training images that could not be used, where they lie now, and their problems."""
        listed = self.work_dir / TRAINING_CHECK / BAD_IMAGES
        if not listed.is_file():
            return {}
        checked = self.manifests.get(TRAINING_CHECK, {}).get('inputs', {}).values()
        roots = {inputs['images'].get('data_root') or '/' for inputs in checked}
        return {
            str(self._moved(Path(bad['image']), roots)): bad['problem'] for bad in read_json(listed)
        }

    def _moved(self, path: Path, roots: Iterable[str]) -> Path:
        """Where a file lies now that lay below one of these data roots."""
        for root in roots:
            if root != '/' and path.is_relative_to(root):
                return self.data_root / path.relative_to(root)
        return path

    def _placed(self, path: str) -> str:
        """A manifest's path, whose folders have placeholders instead of places."""
        places = {'<work_dir>': self.work_dir, '<data_root>': self.data_root}
        for name, place in places.items():
            path = path.replace(name, str(place))
        return path


def read_json(path: Path) -> Any:
    """Content of a JSON file of a run.

    Raises:
        ValueError: If it is damaged, with the mend.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(
            f'{path}: damaged ({error}). Run the recipe again: it makes anew what is damaged, and '
            'leaves the rest alone.'
        ) from error


def _steps_before(manifests: Mapping[str, dict]) -> dict[str, int]:
    """How many outputs were made one from another before each; times have only whole seconds."""
    by_key = {manifest['key']: name for name, manifest in manifests.items()}

    def count(name: str) -> int:
        keys = [key for key in manifests[name]['inputs'].values() if isinstance(key, str)]
        sources = [by_key[key] for key in keys if key in by_key]
        return 1 + max(map(count, sources)) if sources else 0

    return {name: count(name) for name in manifests}


def shown_path(path: str | Path) -> str:
    """Folder and name of an image."""
    path = Path(path)
    return f'{path.parent.name}/{path.name}'
