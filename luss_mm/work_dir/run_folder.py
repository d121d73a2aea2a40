"""The names and formats of what lies in a work directory, which this file alone knows.

    <work_dir>/recipe.json                   settings of the latest start
    <work_dir>/<stage>/config.py, final.pth  of a finished training
    <work_dir>/<stage>/outputs.json          what lay beside it when it was finished
    <work_dir>/<stage>/metrics.json          scores of the latest validation
    <work_dir>/<stage>/prototype_use.json    of a training with prototypes
    <work_dir>/<stage>/evaluation/           match.json, scores.json: the metric's whole report
    <work_dir>/<stage>/selection/, image_scores/   of the classifiers of DFF
    <work_dir>/features/, clusters/, threshold/, pseudo_labels/   made between trainings
    <work_dir>/image_check/, validation_image_check/              files that cannot be used
    <work_dir>/pictures/, report/, label_quality/<split>/         for people

Every folder that a run makes has a manifest besides, see `artifact`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from luss_mm.work_dir.atomic_files import write_array, write_atomically, write_json
from luss_mm.work_dir.manifest import finished_outputs, is_finished, read_manifest

CONFIG, FINAL_CHECKPOINT = 'config.py', 'final.pth'
LAST_STAGE = 'finetune'
EVALUATION = 'evaluation'  # folder of a stage
IMAGE_COUNTS = 'image_counts.{}.jsonl'  # in it, one file a rank
IMAGE_INDEX = 'image_index'
TRAINING_CHECK, VALIDATION_CHECK = 'image_check', 'validation_image_check'
THRESHOLD, PSEUDO_LABELS = 'threshold', 'pseudo_labels'
EMBEDDINGS = 'embeddings.npy'
SCORE_COUNTS = 'foreground_score_counts.npy'
_KEPT, _QUALITY = 'kept.npy', 'quality.npy'
LOSSES, LABELS = 'losses.npy', 'labels.npy'
_SUMMARY, RETAINED_CHART = 'summary.json', 'retained.png'
_MATCH, _SCORES, _METRICS = 'match.json', 'scores.json', 'metrics.json'
_OUTPUTS, _SETTINGS = 'outputs.json', 'recipe.json'
_THRESHOLD_FILE, _OUTCOMES = 'threshold.json', 'outcomes.json'
EMPTY_IMAGES, FULL_IMAGES = 'images without foreground', 'images without background'
MEAN_FOREGROUND, MEDIAN_FOREGROUND = 'mean foreground in %', 'median foreground in %'
_PROTOTYPE_USE = 'prototype_use.json'
_SELECTED, _COUNTS = 'images.txt', 'counts.json'
_QUALITY_REPORT, _QUALITY_CHART = 'quality.json', 'steps.png'
_PICTURED_FOREGROUND = 'foreground.json'
# Files of an image check: images, masks, and masks without the id of their category folder.
BAD_IMAGES, BAD_MASKS, ODD_MASKS = 'bad_images.json', 'bad_masks.json', 'odd_masks.json'
FOUND_LATER = 'found_later.txt'  # images that loading has found to be bad after the check


class MissingPartError(Exception):
    """A part that a run did not leave; the text says why, in one line."""


@dataclass(frozen=True)
class Features:
    """Finished features.

    Attributes:
        embeddings: Unit rows in the order of the data set, memory-mapped float32. Shape (N, C).
        score_counts: Pixels in each of B equal bins of [0, 1]. int64 (B,).
    """

    embeddings: np.ndarray
    score_counts: np.ndarray


@dataclass(frozen=True)
class Clusters:
    """Finished clusters.

    Attributes:
        centroids: float32 (K, C).
        assignment: Cluster of each image, int32 (N,).
        squared_distances: Squared distances of each image to its centroid, float32 (N,).
    """

    centroids: np.ndarray
    assignment: np.ndarray
    squared_distances: np.ndarray


@dataclass(frozen=True)
class ThresholdChoice:
    """A foreground threshold and how it was found.

    Attributes:
        rule: 'otsu', 'validation_sweep' or a number.
        threshold: Foreground scores from it on count as object.
        certain_scores: Scores up to the first are surely background, from the second on surely
            object; low <= threshold <= high. None in runs of early versions.
        mean_iou: Mean IoU of every threshold of the sweep, in [0, 1]; None for the other rules.
    """

    rule: str | float
    threshold: float
    certain_scores: tuple[float, float] | None = None
    mean_iou: tuple[float, ...] | None = None

    @property
    def used_ground_truth(self) -> tuple[str, ...]:
        """What labels the choice looked at."""
        return ground_truth_of(self.rule)


def ground_truth_of(threshold_rule: str | float) -> tuple[str, ...]:
    """What labels a rule for the foreground threshold looks at."""
    looks = threshold_rule == 'validation_sweep'
    return ('validation masks: foreground threshold',) if looks else ()


def load_features(directory: str | Path) -> Features:
    """Memory-map finished features."""
    return Features(
        np.load(Path(directory, EMBEDDINGS), mmap_mode='r'),
        np.load(Path(directory, SCORE_COUNTS)),
    )


def load_score_counts(directory: str | Path) -> np.ndarray:
    """Histogram of the foreground scores of finished features, int64 (B,).

    Raises:
        MissingPartError: If there is none.
    """
    path = Path(directory, SCORE_COUNTS)
    if not path.is_file():
        raise MissingPartError(f'The run has no {path.parent.name}/{path.name}.')
    return np.load(path)


def has_features(directory: str | Path) -> bool:
    """Whether a folder holds finished features."""
    return Path(directory, EMBEDDINGS).is_file()


def write_clusters(directory: Path, clusters: Clusters) -> None:
    """Write what `load_clusters` reads."""
    for field in fields(Clusters):
        write_array(directory / f'{field.name}.npy', getattr(clusters, field.name))


def load_clusters(directory: str | Path) -> Clusters:
    """Read finished clusters."""
    return Clusters(*(np.load(Path(directory, f'{field.name}.npy')) for field in fields(Clusters)))


def has_clusters(directory: str | Path) -> bool:
    """Whether a folder holds finished clusters."""
    return assignment_file(directory).is_file()


def assignment_file(directory: str | Path) -> Path:
    """Where finished clusters hold the cluster of each image."""
    return Path(directory, 'assignment.npy')


def write_denoising(directory: Path, kept: np.ndarray, quality: np.ndarray) -> None:
    """Write what `load_denoising` reads."""
    write_array(directory / _KEPT, kept)
    write_array(directory / _QUALITY, quality)


def load_denoising(directory: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Which samples CSD kept, bool (N,), and how good each was, float32 (N,); None without CSD."""
    if not Path(directory, _KEPT).is_file():
        return None
    return np.load(Path(directory, _KEPT)), np.load(Path(directory, _QUALITY))


def write_summary(directory: Path, summary: Mapping[str, Any]) -> None:
    """Write figures of an output for people and other programs; no step reads them."""
    write_json(directory / _SUMMARY, summary, indent=2)


def write_threshold(directory: Path, choice: ThresholdChoice) -> None:
    """Write what `load_threshold` reads."""
    content = {name: value for name, value in vars(choice).items() if value is not None}
    write_json(directory / _THRESHOLD_FILE, content)


def load_threshold(directory: str | Path) -> ThresholdChoice:
    """Read a finished choice.

    Raises:
        MissingPartError: If there is none.
    """
    found = _read_part(Path(directory, _THRESHOLD_FILE))
    for name in ('certain_scores', 'mean_iou'):
        found[name] = tuple(found[name]) if name in found else None
    return ThresholdChoice(**found)


def write_outcomes(label_maps: Path, outcomes: Mapping[str, float]) -> None:
    """Write what became of the categories and images when label maps were made."""
    write_json(label_maps / _OUTCOMES, outcomes, indent=2)


def read_outcomes(label_maps: str | Path) -> dict[str, float]:
    """What `write_outcomes` wrote.

    Raises:
        MissingPartError: If there is none.
    """
    return _read_part(Path(label_maps, _OUTCOMES))


def write_selected(
    directory: Path, images: Iterable[str], total: Sequence[int], kept: Sequence[int]
) -> None:
    """Write the relative paths of selected images, a line each, and the counts of each category."""
    lines = ''.join(f'{image}\n' for image in images)
    write_atomically(directory / _SELECTED, lines.encode())
    write_json(directory / _COUNTS, dict(total=list(total), kept=list(kept)))


def write_bad_files(directory: Path, name: str, bad: Sequence[Mapping[str, str]]) -> None:
    """Write what `read_bad_files` reads."""
    write_json(directory / name, list(bad))


def read_bad_files(directory: str | Path, name: str) -> list[dict[str, str]]:
    """Path and problem of files that cannot be used or are odd, as `image` and `problem`.

    Args:
        directory: Directory of an image check.
        name: BAD_IMAGES, BAD_MASKS or ODD_MASKS. None are bad if there is no such list.
    """
    return _read_if_there(Path(directory, name), [])


def read_found_later(directory: str | Path) -> list[str]:
    """What loading has found to be bad after the image check in a directory, each line once."""
    path = Path(directory, FOUND_LATER)
    return sorted(set(path.read_text(encoding='utf-8').splitlines())) if path.is_file() else []


def read_match(path: str | Path) -> dict[str, int | str]:
    """A match from a JSON file: {generated id: category id} as match.json, or the category's name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a JSON object of numbers, or of names.
    """
    try:
        match = json.loads(Path(path).read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    kinds = {type(entry) for entry in match.values()} if isinstance(match, dict) else {None}
    if not kinds <= {int} and kinds != {str}:
        raise ValueError(
            f'{path}: a match is one JSON object {{"generated id": category id}}, or its name'
        )
    return match


def match_entries(mapping: np.ndarray) -> dict[str, int]:
    """A mapping (G + 1,) as a match file holds it."""
    return {str(cluster): int(category) for cluster, category in enumerate(mapping)}


class EvaluationFolder:
    """What a metric wrote: how ids were matched, and the scores.

    Args:
        path: Path of the folder.

    Attributes:
        match_file: Match file from `read_match`.
        scores_file: Scores file of the report.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.match_file = self.path / _MATCH
        self.scores_file = self.path / _SCORES

    @classmethod
    def beside(cls, match_file: str | Path) -> 'EvaluationFolder':
        """The folder in which a match lies."""
        return cls(Path(match_file).parent)

    def write(self, mapping: np.ndarray, report: Mapping[str, Any]) -> None:
        """Write match and report, each whole or not at all.

        Args:
            mapping: Category id of each generated id, C + 1 for unmatched. Shape (G + 1,).
            report: All scores and how they came about. JSON-like.
        """
        write_json(self.match_file, match_entries(mapping), indent=1)
        write_json(self.scores_file, report, indent=1)

    def mapping(self) -> np.ndarray:
        """Category id of each generated id, C + 1 for unmatched. Shape (G + 1,).

        Raises:
            MissingPartError: If nothing was matched.
        """
        match = _read_part(self.match_file)
        return np.array([match[str(cluster)] for cluster in range(len(match))])

    def scores(self) -> dict[str, Any]:
        """The report.

        Raises:
            MissingPartError: If nothing was scored.
        """
        return _read_part(self.scores_file)


class StageFolder:
    """The folder of a stage, finished or being made.

    Args:
        path: Path of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / CONFIG
        self.checkpoint = self.path / FINAL_CHECKPOINT
        self.image_scores = self.path / 'image_scores'
        self.selection = self.path / 'selection'
        self.evaluation = EvaluationFolder(self.path / EVALUATION)

    @property
    def has_model(self) -> bool:
        """Whether it has trained a model that can be built from the folder alone."""
        return self.config.is_file() and self.checkpoint.is_file()

    def write_metrics(
        self, epoch: int, iteration: int, metrics: Mapping[str, float] | None
    ) -> None:
        """Write the scores of the latest validation."""
        content = dict(epoch=epoch, iter=iteration, metrics=metrics)
        write_json(self.path / _METRICS, content, indent=2, default=float)

    def metrics(self) -> dict[str, float] | None:
        """Scores of the latest validation; None if there was none."""
        for name in (_METRICS, _SCORES):  # the latter in runs of earlier versions
            if (self.path / name).is_file():
                return read_json(self.path / name)['metrics']
        return None

    def write_outputs(self, outputs: Mapping[str, str]) -> None:
        """Write the names and keys of what lay beside the stage when it was finished."""
        write_json(self.path / _OUTPUTS, outputs, indent=2)

    def outputs(self) -> dict[str, str] | None:
        """What `write_outputs` wrote, or None."""
        return _read_if_there(self.path / _OUTPUTS, None)

    def write_prototype_use(self, counts: Sequence[Sequence[int]]) -> None:
        """Write how many embeddings of each global view are nearest to each prototype."""
        write_json(self.path / _PROTOTYPE_USE, counts)

    def prototype_use(self) -> list[list[int]]:
        """What `write_prototype_use` wrote; nothing for a stage without prototypes."""
        return _read_if_there(self.path / _PROTOTYPE_USE, [])


class QualityFolder:
    """What tools/evaluate_pseudo_labels.py measured on one split.

    Args:
        path: Path of the folder.

    Attributes:
        report: JSON with the figures of every step.
        chart: The figures from step to step.
        pictures: A strip an image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.report = path / _QUALITY_REPORT
        self.chart = path / _QUALITY_CHART
        self.pictures = path / 'pictures'


class RunFolder:
    """The work directory of a recipe, read without executing any of it.

    Args:
        path: Where it lies now; it may have been moved.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings_file = self.path / _SETTINGS
        self.pictures = self.path / 'pictures'
        self.report = self.path / 'report'
        self.threshold = self.path / THRESHOLD
        self.pseudo_labels = self.path / PSEUDO_LABELS
        self.image_index = self.path / IMAGE_INDEX
        self.training_check = self.path / TRAINING_CHECK
        self.validation_check = self.path / VALIDATION_CHECK

    @classmethod
    def read(cls, path: str | Path) -> 'RunFolder':
        """The folder of a run with a finished training.

        Raises:
            FileNotFoundError: If no stage is finished.
        """
        run = cls(path)
        if not run.trainings:
            raise FileNotFoundError(
                f'{path}: holds no finished stage. Name the work directory of a recipe.'
            )
        return run

    def stage(self, name: str) -> StageFolder:
        """Folder of a stage; the stage need not be there."""
        return StageFolder(self.path / name)

    def finished_stage(self, name: str, recipe: str | Path = 'RECIPE') -> StageFolder:
        """Folder of a finished stage.

        Raises:
            FileNotFoundError: If it is not finished.
        """
        if not is_finished(self.path / name):
            raise FileNotFoundError(
                f'{self.path / name}: not finished. Run tools/train.py {recipe} first, or name its '
                'folder with --work-dir.'
            )
        return self.stage(name)

    def trained_stages(self) -> list[str]:
        """Names of all folders with the config of a finished training, by name."""
        # A dot marks what was set aside.
        found = (config.parent.name for config in self.path.glob(f'*/{CONFIG}'))
        return sorted(name for name in found if '.' not in name)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the recipe's settings. JSON-like."""
        write_json(self.settings_file, settings, indent=2, default=str)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Settings of the recipe, unresolved; none in runs of early versions."""
        return _read_if_there(self.settings_file, {})

    @cached_property
    def manifests(self) -> dict[str, dict]:
        """Manifests of the finished outputs by name, in the order in which they were finished."""
        found = {name: read_manifest(self.path / name) for name in finished_outputs(self.path)}
        steps = _steps_before(found)
        order = sorted(found, key=lambda name: (found[name]['finished'], steps[name], name))
        return {name: found[name] for name in order}

    @cached_property
    def trainings(self) -> list[str]:
        """Names of the finished stages that trained a model, in order."""
        return [name for name in self.manifests if self.stage(name).config.is_file()]

    def is_stage(self, name: str) -> bool:
        """Whether an output is a stage of the recipe, and not made between or within stages."""
        return name in self.trainings or self.stage(name).outputs() is not None

    @property
    def last(self) -> str:
        """The stage whose model is the run's result."""
        return self.trainings[-1]

    @property
    def evaluation(self) -> EvaluationFolder:
        """What the last stage's metric wrote."""
        return self.stage(self.last).evaluation

    @property
    def labels_used(self) -> list[str]:
        """What labels any finished output looked at and for what."""
        return sorted({text for m in self.manifests.values() for text in m['used_ground_truth']})

    @property
    def used_sam(self) -> bool:
        """Whether SAM, which human masks trained, took part in any finished output."""
        return any(manifest['used_sam'] for manifest in self.manifests.values())

    @property
    def data_root(self) -> Path:
        """Folder of the images, as far as the recipe says; it may be gone."""
        named = str(self.settings.get('data_root', ''))
        return Path(named.replace('${work_dir}', str(self.path)))

    def source_of(self, output: str, part: str) -> str:
        """Name of the output that another one was made from.

        Args:
            output: A finished one, as `pseudo_labels`.
            part: Its name among the inputs, as `clusters`.

        Raises:
            MissingPartError: If there is no such output.
        """
        key = self.manifests.get(output, {}).get('inputs', {}).get(part)
        for name, manifest in self.manifests.items():
            if key is not None and manifest['key'] == key:
                return name
        raise MissingPartError(f'The run has no finished {part} of {output}.')

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Training images that could not be used, where they lie now, and their problems."""
        checked = self.manifests.get(TRAINING_CHECK, {}).get('inputs', {}).values()
        roots = {inputs['images'].get('data_root') or '/' for inputs in checked}
        listed = read_bad_files(self.training_check, BAD_IMAGES)
        return {str(self._moved(Path(bad['image']), roots)): bad['problem'] for bad in listed}

    def quality(self, split: str) -> QualityFolder:
        """Where the quality of a split's label maps goes."""
        return QualityFolder(self.path / 'label_quality' / split)

    def qualities(self) -> list[QualityFolder]:
        """What was measured, a folder a split."""
        reports = sorted((self.path / 'label_quality').glob(f'*/{_QUALITY_REPORT}'))
        return [QualityFolder(report.parent) for report in reports]

    def write_pictured_foreground(self, means: Mapping[str, float]) -> None:
        """Write the mean foreground of the pictured images, where nothing is scored."""
        write_json(self.pictures / _PICTURED_FOREGROUND, means, indent=2)

    def pictured_foreground(self) -> dict[str, float] | None:
        """What `write_pictured_foreground` wrote, or None."""
        return _read_if_there(self.pictures / _PICTURED_FOREGROUND, None)

    def placed(self, path: str) -> str:
        """A manifest's path, whose folders have placeholders instead of places."""
        places = {'<work_dir>': self.path, '<data_root>': self.data_root}
        for name, place in places.items():
            path = path.replace(name, str(place))
        return path

    def _moved(self, path: Path, roots: Iterable[str]) -> Path:
        """Where a file lies now that lay below one of these data roots."""
        for root in roots:
            if root != '/' and path.is_relative_to(root):
                return self.data_root / path.relative_to(root)
        return path


def read_json(path: Path) -> Any:
    """Content of a JSON file of a run.

    Raises:
        ValueError: If it is damaged, with the fix.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(
            f'{path}: damaged ({error}). Run the recipe again: it makes again what is damaged, and '
            'leaves the rest alone.'
        ) from error


def _read_if_there(path: Path, otherwise: Any) -> Any:
    return read_json(path) if path.is_file() else otherwise


def _read_part(path: Path) -> Any:
    if not path.is_file():
        raise MissingPartError(f'The run has no {path.parent.name}/{path.name}.')
    return read_json(path)


def _steps_before(manifests: Mapping[str, dict]) -> dict[str, int]:
    """How many outputs were made one from another before each; times have only whole seconds."""
    by_key = {manifest['key']: name for name, manifest in manifests.items()}

    def count(name: str) -> int:
        keys = [key for key in manifests[name]['inputs'].values() if isinstance(key, str)]
        sources = [by_key[key] for key in keys if key in by_key]
        return 1 + max(map(count, sources)) if sources else 0

    return {name: count(name) for name in manifests}
