"""The images of a run in its report: where they lie, which are bad, and those of each cluster."""

import base64
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from luss_mm.datasets.image_index import scan_images
from luss_mm.functional.clustering_scores import (
    CLUSTER_COLLAPSE,
    PROTOTYPE_COLLAPSE,
    effective_number,
    has_collapsed,
)
from luss_mm.visualization.pictures import thumbnail
from luss_mm.visualization.run_pictures import bar_chart, cluster_members
from luss_mm.work_dir.atomic_files import write_atomically
from luss_mm.work_dir.run_folder import (
    BAD_IMAGES,
    BAD_MASKS,
    PSEUDO_LABELS,
    Clusters,
    MissingPartError,
    RunFolder,
    has_clusters,
    load_clusters,
    load_denoising,
    read_bad_files,
    read_found_later,
)

FOLDER = 'pictures'
GAP = 2  # pixels between tiles
QUALITY = 80
TYPES = {'.webp': 'image/webp', '.jpg': 'image/jpeg', '.png': 'image/png'}
SHOWN_BAD = 200  # of each kind
NEAREST, FARTHEST, DROPPED = 12, 6, 6  # images shown of each cluster
COLUMNS, TILE = 6, 80


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        path: File in the folder of the report.
        width: In pixels.
        height: In pixels.
        text: What it shows, for people who do not see it.
    """

    path: Path
    width: int
    height: int
    text: str

    def relative_source(self) -> str:
        """Address from the page, whose folder holds the folder of pictures."""
        return f'{FOLDER}/{self.path.name}'

    def data_source(self) -> str:
        """The picture itself as an address."""
        content = base64.b64encode(self.path.read_bytes()).decode('ascii')
        return f'data:{TYPES[self.path.suffix]};base64,{content}'


class PictureFolder:
    """Makes and collects the pictures of a report.

    Args:
        directory: Directory of the page; pictures go into its folder `pictures`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / FOLDER
        self.directory.mkdir(parents=True)
        self.bytes = 0

    def add_tiles(
        self, name: str, images: Sequence[Path], text: str, columns: int, tile: int
    ) -> Picture:
        """Thumbnails in rows, transparent between and after them.

        Args:
            name: Name of the file, without suffix.
            images: At least one.
            text: What the picture shows.
            columns: Thumbnails in a row.
            tile: Side of a thumbnail in pixels.
        """
        rows, step = -(-len(images) // columns), tile + GAP
        sheet = np.zeros((rows * step - GAP, columns * step - GAP, 4), np.uint8)
        for position, path in enumerate(images):
            top, left = (step * index for index in divmod(position, columns))
            square = sheet[top : top + tile, left : left + tile]
            square[..., :3] = thumbnail(path, tile)[..., ::-1]
            square[..., 3] = 255
        path = self.directory / f'{name}.webp'
        encoded, data = cv2.imencode('.webp', sheet, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
        if not encoded:
            raise OSError(f'{path}: OpenCV could not encode a picture of shape {sheet.shape}')
        write_atomically(path, data.data)
        return self._added(path, text, sheet.shape)

    def add_file(self, name: str, source: Path, text: str) -> Picture:
        """A copy of a picture that the run drew.

        Args:
            name: Name of the file, without suffix.
            source: The picture, .jpg or .png.
            text: What it shows.

        Raises:
            OSError: If it cannot be decoded.
        """
        image = cv2.imread(str(source))
        if image is None:
            raise OSError(f'{source}: cannot be decoded. Delete it and run the recipe again.')
        path = self.directory / f'{name}{source.suffix}'
        shutil.copyfile(source, path)
        return self._added(path, text, image.shape)

    def _added(self, path: Path, text: str, shape: tuple[int, ...]) -> Picture:
        self.bytes += path.stat().st_size
        return Picture(path, shape[1], shape[0], text)


def images_of(run: RunFolder, dataset: Mapping[str, Any]) -> list[Path]:
    """Paths of a data set's images in its order, without those that the run left out.

    Args:
        run: Run of a recipe.
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


def bad_images(run: RunFolder) -> dict[str, Any]:
    """What the image checks have found; at most `SHOWN_BAD` of each kind are listed.

    Args:
        run: Run of a recipe.

    Returns:
        `num_left_out` training images, and of them `left_out`: folder and file, and the problem;
        `num_later` that another one stood in for, as they could not be decoded, and `later`: path
        and problem; `stopping`: validation images and masks that let the run stop; and the `folder`
        where all are listed.

    Raises:
        MissingPartError: If no image was looked at.
    """
    folder = run.training_check
    if not folder.is_dir():
        raise MissingPartError(f'The run did not look for bad images (no {folder.name}).')
    left_out = [(shown_path(image), problem) for image, problem in run.left_out.items()]
    later = read_found_later(folder)
    lists = (
        (run.validation_check, BAD_IMAGES),
        (run.validation_check, BAD_MASKS),
        (folder, BAD_MASKS),
    )
    stopping = [bad for checked, name in lists for bad in read_bad_files(checked, name)]
    return dict(
        num_left_out=len(left_out),
        left_out=left_out[:SHOWN_BAD],
        num_later=len(later),
        later=later[:SHOWN_BAD],
        stopping=[(shown_path(bad['image']), bad['problem']) for bad in stopping[:SHOWN_BAD]],
        folder=str(folder),
    )


def use_of(name: str, counts: np.ndarray, smallest_share: float, may_be_empty: bool) -> dict:
    """How evenly images are spread over clusters or prototypes.

    Args:
        name: What was counted.
        counts: Counts of each cluster. Shape (K,).
        smallest_share: Effective share that raises the alarm.
        may_be_empty: Whether empty ones are no reason for alarm.

    Returns:
        The `name`, how many there are (`total`), the `images` that were counted, the share of the
        `largest`, how many are `empty`, the `effective` number, and whether they have collapsed
        (`alarm`).
    """
    empty = int((counts == 0).sum())
    return dict(
        name=name,
        total=len(counts),
        images=int(counts.sum()),
        largest=float(counts.max() / max(counts.sum(), 1)),
        empty=empty,
        effective=effective_number(counts),
        alarm=has_collapsed(counts, smallest_share) or (empty > 0 and not may_be_empty),
    )


def cluster_use(run: RunFolder) -> dict[str, Any]:
    """Counts of all clusterings, the final one last, and of the prototypes, with their rules.

    `alarm` is whether the final clusters or any prototypes have collapsed.

    Args:
        run: Run of a recipe.
    """
    counts = {
        f'{name}, view {view}': np.array(counts)
        for name in run.trainings
        for view, counts in enumerate(run.stage(name).prototype_use(), start=1)
    }
    final = _final_clusters(run)
    earlier = [name for name in run.manifests if name != final and has_clusters(run.path / name)]
    sizes = {name: _sizes(load_clusters(run.path / name)) for name in [*earlier, final]}
    clusterings = [use_of(name, s, CLUSTER_COLLAPSE, False) for name, s in sizes.items()]
    prototypes = [use_of(name, c, PROTOTYPE_COLLAPSE, True) for name, c in counts.items()]
    charts = [
        bar_chart(
            np.sort(counts[name])[::-1],
            f'Use of the prototypes: {name}',
            'prototypes, most used first',
            'embeddings',
        )
        for name in list(counts)[:1]
    ]
    return dict(
        clusterings=clusterings,
        prototypes=prototypes,
        sizes=bar_chart(
            np.sort(sizes[final])[::-1],
            f'Sizes of the {len(sizes[final])} final clusters',
            'clusters, largest first',
            'training images',
        ),
        prototype_chart=next(iter(charts), None),
        final=final,
        cluster_rule=(
            f'alarm below {CLUSTER_COLLAPSE:.0%} of K effective clusters, or if one is empty'
        ),
        prototype_rule=f'alarm below {PROTOTYPE_COLLAPSE:.0%} effective prototypes',
        alarm=any(row['alarm'] for row in [clusterings[-1], *prototypes]),
    )


def cluster_cards(
    run: RunFolder, category_of: Sequence[str | None] | None, pictures: PictureFolder
) -> list[dict[str, Any]]:
    """Every final cluster with its images.

    Args:
        run: Run of a recipe.
        category_of: Name of the category of each generated id from 0; None without a matching.
        pictures: Gets the sheets.

    Returns:
        Of each cluster its generated `id`, its `size` in training images, how many of them CSD has
        `dropped` when it made the clusters (None without CSD), the `category` that the matching
        gave it, or None, and `sheets` of the nearest, farthest and dropped images, as far as there
        are any: `title`, `picture` and `names`.

    Raises:
        MissingPartError: If the run has no clusters, or the training images are gone or changed.
    """
    folder = run.path / _final_clusters(run)
    clusters = load_clusters(folder)
    images = training_images(run)
    if len(images) != len(clusters.assignment):
        raise MissingPartError(
            f'The clusters were made of {len(clusters.assignment)} training images; there are '
            f'{len(images)} now.'
        )
    num_clusters = len(clusters.centroids)
    by_distance = cluster_members(clusters.assignment, clusters.squared_distances, num_clusters)
    dropped = [None] * num_clusters
    if denoising := load_denoising(folder):
        kept, quality = denoising
        only_dropped = np.where(kept, -1, clusters.assignment)
        dropped = cluster_members(only_dropped, quality, num_clusters)
    return [
        dict(
            id=number,
            size=len(members),
            dropped=None if lost is None else len(lost),
            category=None if category_of is None else category_of[number],
            sheets=_sheets(number, images, members, lost, pictures),
        )
        for number, (members, lost) in enumerate(zip(by_distance, dropped, strict=True), start=1)
    ]


def _sheets(
    number: int,
    images: Sequence[Path],
    members: np.ndarray,
    dropped: np.ndarray | None,
    pictures: PictureFolder,
) -> list[dict[str, Any]]:
    chosen = {
        'nearest to the centre': members[:NEAREST],
        'farthest': members[NEAREST:][::-1][:FARTHEST],
        'dropped by CSD, worst first': [] if dropped is None else dropped[:DROPPED],
    }
    sheets = []
    for kind, (title, indices) in enumerate(chosen.items()):
        if len(indices):
            shown = [images[i] for i in indices]
            text = f'{len(shown)} images of cluster {number}, {title}'
            picture = pictures.add_tiles(f'cluster-{number:04d}-{kind}', shown, text, COLUMNS, TILE)
            names = [shown_path(path) for path in shown]
            sheets.append(dict(title=title, picture=picture, names=names))
    return sheets


def _final_clusters(run: RunFolder) -> str:
    """Name of the clusters that pixels were labelled with."""
    name = run.source_of(PSEUDO_LABELS, 'clusters')
    if not has_clusters(run.path / name):
        raise MissingPartError(f'The run has no finished {name}.')
    return name


def _sizes(clusters: Clusters) -> np.ndarray:
    return np.bincount(clusters.assignment, minlength=len(clusters.centroids))
