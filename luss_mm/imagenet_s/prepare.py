"""Preparing ImageNet-S: images and masks placed, counted, and a sample of them read."""

import fcntl
import os
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from luss_mm.datasets.image_file import read_image_size
from luss_mm.datasets.mask_files import IGNORE_INDEX, read_label_map
from luss_mm.imagenet_s.archives import (
    MaskArchive,
    Placed,
    Placement,
    link_or_copy,
    unpack_masks,
)
from luss_mm.imagenet_s.lists import (
    IMAGE_SUFFIX,
    LIST_FILES,
    MASKED_SPLITS,
    NUM_IMAGES,
    ListedImage,
    first_names,
    imagenet_s_categories,
    read_list,
    train_folders,
)
from luss_mm.terminal import with_progress
from luss_mm.work_dir.atomic_files import write_json

OWN_CATEGORY_SHARE = 0.5  # of the sampled masks; another subset's ids would give about none


@dataclass
class Survey:
    """Files of a split, by their relative paths.

    Attributes:
        count: Number of files that belong there.
        sample: Some of them, drawn without regard to their order.
        unexpected: Files that do not belong there.
    """

    count: int = 0
    sample: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def survey_files(
    directory: Path,
    suffix: str,
    sample_size: int,
    belongs: Callable[[str], bool],
    seed: int = 0,
) -> Survey:
    """Count the files `<folder>/<name><suffix>` below a directory and draw a sample in one pass.

    Args:
        directory: Directory of the split. Links are followed.
        suffix: Suffix of the files to look at; others are not looked at.
        sample_size: How many to draw at most; all are equally likely.
        belongs: Whether a relative path is one of the split's.
        seed: Seed of the sample.
    """
    survey, draw = Survey(), random.Random(seed)
    for name in _files(directory, suffix):
        if not belongs(name):
            survey.unexpected.append(name)
            continue
        survey.count += 1
        place = draw.randrange(survey.count)  # reservoir sampling
        if len(survey.sample) < sample_size:
            survey.sample.append(name)
        elif place < sample_size:
            survey.sample[place] = name
    return survey


def check_image(path: Path) -> None:
    """Decode an image to its last row.

    Raises:
        ValueError: If that fails.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # some of ImageNet's EXIF blocks are malformed
            with Image.open(path) as image:
                image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path}: cannot be decoded ({error})') from error


def check_mask(path: Path, image_path: Path, num_categories: int) -> np.ndarray:
    """Ids that occur in a mask, int32, sorted.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If it is no ImageNet-S mask, its size is not its image's or an id is neither
            0..num_categories nor 1000.
    """
    check_image(path)  # reading a label map takes what it can get of a truncated file
    labels = read_label_map(path)
    size = read_image_size(image_path, stored_pixels=True)
    if labels.shape != size:
        raise ValueError(f'{path}: {labels.shape}, its image is {size} (height, width)')
    ids = np.unique(labels)
    wrong = ids[(ids > num_categories) & (ids != IGNORE_INDEX)]
    if wrong.size:
        raise ValueError(f'{path}: id {wrong[0]}; categories end at {num_categories}')
    return ids


def check_masks(
    masks: Path, images: Path, sample: Iterable[str], category_ids: dict[str, int]
) -> list[str]:
    """What is wrong with sampled masks, a line each.

    Args:
        masks: Their folder.
        images: Folder of the split's images.
        sample: Relative paths of masks.
        category_ids: Id of every wnid of the subset.
    """
    problems, checked, with_own_category = [], 0, 0
    for name in sample:
        try:
            ids = check_mask(masks / name, images / image_of_mask(name), len(category_ids))
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        checked += 1
        with_own_category += category_ids[name.partition('/')[0]] in ids
    if with_own_category < OWN_CATEGORY_SHARE * checked:
        problems.append(
            f'{masks}: only {with_own_category} of {checked} sampled masks hold the id of their '
            "own category. They may be another subset's: each subset has its own ids."
        )
    return problems


def image_of_mask(name: str) -> str:
    """Relative path of the image that a mask belongs to."""
    return name.removesuffix('.png') + IMAGE_SUFFIX


def _files(directory: Path, suffix: str) -> Iterator[str]:
    """Relative paths `<folder>/<name>`, sorted within each folder."""
    if not directory.is_dir():
        return
    for folder in sorted(entry.name for entry in os.scandir(directory) if entry.is_dir()):
        for name in sorted(os.listdir(directory / folder)):
            if name.endswith(suffix) and not name.startswith('.'):
                yield f'{folder}/{name}'


REPORT = 'preparation.json'


@dataclass
class SplitReport:
    """What was found in a folder of a subset after preparing it.

    Attributes:
        folder: `train`, `validation-segmentation` ...
        expected: Published number of files.
        found: Number of files that are there and belong there.
        made: How many files and linked folders were made now.
        kept: How many were there already.
        checked: How many files were read.
        problems: What is wrong, with its fix; the folder is finished if nothing is.
        notes: What is worth knowing.
    """

    folder: str
    expected: int
    found: int = 0
    made: int = 0
    kept: int = 0
    checked: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class ImageNetSPreparation:
    """Prepares one subset in `<out>/ImageNetS<subset>`.

    Lists and ILSVRC's folders are read when it is built, so a wrong path is found before anything
    is written.

    Args:
        imagenet: Folder with ILSVRC 2012 `train/<wnid>/` and `val/`, the latter in wnid folders or
            flat.
        out: Where the subsets go.
        subset: 50, 300 or 919.
        lists: Folder `data/` of the official ImageNet-S repository.
        archives: Where masks are taken from.
        mode: 'link' (train folders that are taken whole become one link), 'hardlink' or 'copy'.
        splits: Some of 'train', 'train-full' (919), 'train-semi', 'validation', 'test'; None: all.
        sample_size: Files to read of each folder.
        accept_train_counts: Take train splits that have other numbers of images than published.

    Raises:
        FileNotFoundError, ValueError: If lists, folders or splits are not as they should be.
    """

    def __init__(
        self,
        imagenet: str | Path,
        out: str | Path,
        subset: int,
        lists: str | Path,
        archives: Iterable[MaskArchive] = (),
        mode: str = 'link',
        splits: Sequence[str] | None = None,
        sample_size: int = 200,
        accept_train_counts: bool = False,
    ) -> None:
        wnids = [wnid for wnid, _ in imagenet_s_categories(subset)]
        self.category_ids = {wnid: number for number, wnid in enumerate(wnids, start=1)}
        self.subset, self.mode, self.archives = subset, mode, list(archives)
        self.root = Path(out).resolve() / f'ImageNetS{subset}'
        self.train, self.val = (Path(imagenet).resolve() / name for name in ('train', 'val'))
        self.splits = list(NUM_IMAGES[subset] if splits is None else splits)
        self.sample_size = sample_size
        self.accept_train_counts = accept_train_counts
        if unknown := [name for name in self.splits if name not in NUM_IMAGES[subset]]:
            names = ', '.join(NUM_IMAGES[subset])
            raise ValueError(f'ImageNet-S{subset} has no split {unknown[0]!r} but {names}')
        for folder in (self.train, self.val):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f'{folder}: no such folder. IMAGENET is the folder that holds train/ and val/ '
                    'of ILSVRC 2012.'
                )
        self.lists = {s: read_list(Path(lists), subset, s) for s in self.splits if s in LIST_FILES}
        self.folders = train_folders(self.train, subset) if 'train' in self.splits else {}

    def run(self) -> list[SplitReport]:
        """Make what is missing, count, check a sample, and write `preparation.json`.

        Raises:
            RuntimeError: If another process prepares the same subset.
            ArchiveError: If an archive turns out to be damaged; what is unpacked is kept.
        """
        reports = []
        with _alone_in(self.root):
            for split in self.splits:
                reports.append(self._prepare_images(split))
                if split in MASKED_SPLITS:
                    reports.append(self._prepare_masks(split))
            content = dict(
                subset=self.subset,
                mode=self.mode,
                written=time.strftime('%Y-%m-%d %H:%M:%S'),
                folders=[asdict(report) for report in reports],
            )
            write_json(self.root / REPORT, content, indent=1)
        return reports

    def _prepare_images(self, split: str) -> SplitReport:
        report = SplitReport(split, NUM_IMAGES[self.subset][split])
        if self._is_link_elsewhere(split, report):
            return report
        placed, directory = self._place_images(split)
        _tell(report, placed, f'are not in {self.val.parent}', 'Complete ILSVRC 2012')
        targets = {image.target for image in self.lists.get(split, ())}
        survey = survey_files(
            directory,
            IMAGE_SUFFIX,
            self.sample_size,
            lambda name: name in targets if targets else self._is_train_image(split, name),
        )
        self._count(report, survey, directory)
        for name in with_progress(survey.sample, len(survey.sample), f'{split}: reading a sample'):
            try:
                check_image(directory / name)
            except ValueError as error:
                report.problems.append(f'{error}. Replace it in {self.val.parent}.')
        self._finish(report, directory)
        return report

    def _place_images(self, split: str) -> tuple[Placed, Path]:
        """Place what is not there yet; also the directory in which it is now."""
        name = f'{self.root.name} {split}'
        if split == 'train-full' and self.mode == 'link':
            whole = [Placement(str(self.train), split)]
            return link_or_copy(whole, self.root, self.mode), self.root / split
        directory = self._working_directory(split)
        if split in self.lists:
            placements = [self._listed_placement(split, image) for image in self.lists[split]]
            total = len(placements)
        else:
            placements = self._train_placements(split)
            total = NUM_IMAGES[self.subset][split]
            if self.mode == 'link':  # folders mostly, so the number of images says nothing
                placements = list(placements)
                total = len(placements)
        steps = with_progress(placements, total, name)
        return link_or_copy(steps, directory, self.mode), directory

    def _prepare_masks(self, split: str) -> SplitReport:
        folder = f'{split}-segmentation'
        images = self.lists[split]
        report = SplitReport(folder, len(images))
        if self._is_link_elsewhere(folder, report):
            return report
        directory = self._working_directory(folder)
        placed = unpack_masks(self.archives, self.subset, folder, images, directory)
        where = 'are in none of the archives' if self.archives else 'need an archive'
        _tell(report, placed, where, 'Give the annotation archive with --annotations or --download')
        masks = {image.mask for image in images}
        survey = survey_files(directory, '.png', self.sample_size, masks.__contains__)
        self._count(report, survey, directory)
        image_directory = self._working_directory(split)
        # a mask whose image is not there yet is no fault of the mask's
        sample = [n for n in survey.sample if (image_directory / image_of_mask(n)).exists()]
        report.checked = len(sample)
        steps = with_progress(sample, len(sample), f'{folder}: reading a sample')
        report.problems += check_masks(directory, image_directory, steps, self.category_ids)
        self._finish(report, directory)
        return report

    def _listed_placement(self, split: str, image: ListedImage) -> Placement:
        folder = self.train if split == 'train-semi' else self.val
        source = folder / image.source
        flat = folder / source.name
        if split != 'train-semi' and not source.exists() and flat.exists():
            source = flat
        return Placement(str(source), image.target)

    def _train_placements(self, split: str) -> Iterator[Placement]:
        folders = self.folders
        if split == 'train-full':
            folders = {path.name: [path] for path in sorted(self.train.iterdir()) if path.is_dir()}
        for wnid, sources in folders.items():
            if self.mode == 'link' and len(sources) == 1:
                yield Placement(str(sources[0]), wnid)
                continue
            for source in sources:
                for name in sorted(os.listdir(source)):
                    if name.endswith(IMAGE_SUFFIX):
                        yield Placement(f'{source}/{name}', f'{wnid}/{name}')

    def _is_train_image(self, split: str, name: str) -> bool:
        return split == 'train-full' or name.partition('/')[0] in self.folders

    def _working_directory(self, folder: str) -> Path:
        """The finished folder if there is one, else the partial one."""
        final = self.root / folder
        return final if os.path.lexists(final) else self.root / f'{folder}.partial'

    def _is_link_elsewhere(self, folder: str, report: SplitReport) -> bool:
        final = self.root / folder
        whole = folder == 'train-full' and final.exists() and final.samefile(self.train)
        if final.is_symlink() and not whole:
            report.problems.append(
                f"{final} is a link: files would be placed in somebody's data. Remove it."
            )
        return bool(report.problems)

    def _count(self, report: SplitReport, survey: Survey, directory: Path) -> None:
        report.found, report.checked = survey.count, len(survey.sample)
        if survey.unexpected:
            report.problems.append(
                f'{len(survey.unexpected):,} files in {directory} do not belong there: '
                f'{first_names(survey.unexpected)}. Move them away.'
            )
        if report.found == report.expected or report.problems:
            return
        text = f'{report.found:,} files, published are {report.expected:,}'
        if report.folder in ('train', 'train-full') and self.accept_train_counts:
            report.notes.append(text)
        else:
            report.problems.append(
                f'{text}. Complete {self.train} (1,281,167 images), or take it as it is with '
                '--accept-train-counts.'
            )

    def _finish(self, report: SplitReport, directory: Path) -> None:
        if not report.problems and directory.name == f'{report.folder}.partial':
            os.rename(directory, self.root / report.folder)


def _tell(report: SplitReport, placed: Placed, where: str, fix: str) -> None:
    report.made, report.kept = placed.made, placed.kept
    if placed.missing:
        report.problems.append(
            f'{len(placed.missing):,} files {where}: {first_names(placed.missing)}. {fix} and run '
            'again; what is there is kept.'
        )
    if placed.foreign:
        report.problems.append(
            f'{len(placed.foreign):,} files or folders are not what belongs there and were left '
            f'alone: {first_names(placed.foreign)}. Move them away and run again.'
        )


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep a second preparation out for as long as this process lives."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f'{directory} is being prepared by another process.') from error
        yield
    finally:
        os.close(descriptor)
