"""A folder of images to label maps, overlays and a listing, resumable at any image count."""

import csv
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from luss_mm.datasets.image_walk import label_map_name, sharing_in
from luss_mm.datasets.mask_files import save_label_map
from luss_mm.functional.label_codec import category_palette
from luss_mm.inference.inferencer import (
    BAD_IMAGE_RULES,
    BadImageError,
    LUSSInferencer,
    count_ids,
    fingerprint_images,
    image_path,
    input_images,
    overlay,
    shards,
)
from luss_mm.recipes.image_preparation import PreparedImage
from luss_mm.terminal import Progress
from luss_mm.visualization.pictures import add_legend, save_picture
from luss_mm.work_dir.artifact import FinishedShards, fingerprint_file, produce
from luss_mm.work_dir.atomic_files import write_json

LABELS, OVERLAYS = 'labels', 'overlays'
SUFFIXES = {LABELS: '.png', OVERLAYS: '.jpg'}
OUTPUTS = tuple(SUFFIXES)
LISTING, SUMMARY, BAD_IMAGES = 'listing.csv', 'summary.json', 'bad_images.json'
COLUMNS = ('image', 'height', 'width', 'id', 'name', 'pixels', 'share')
SHARD_SIZE = 256  # images that an interruption loses at most


@dataclass
class ShardRecord:
    """What is written about the images of one shard.

    Attributes:
        rows: `COLUMNS` of the images in their order, a row for each predicted id.
        bad: Relative path and reason of images that cannot be read.
    """

    rows: list[list[Any]] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class FolderInference:
    """Segments all images below a folder into another one.

    Attributes:
        inferencer: The segmentor.
        images: A folder, read recursively, or one image.
        outputs: Some of `OUTPUTS`; the listing is always written.
        batch_size: Images of one size that are segmented together at most.
        on_bad_image: 'skip' lists images that cannot be read, 'error' stops at the first.
        num_workers: Threads that load, and as many that write.
        shard_size: Images that an interruption loses at most.
    """

    inferencer: LUSSInferencer
    images: Path
    outputs: Sequence[str] = OUTPUTS
    batch_size: int = 16
    on_bad_image: str = 'skip'
    num_workers: int = 2
    shard_size: int = SHARD_SIZE

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        if unknown := set(self.outputs) - set(OUTPUTS):
            raise ValueError(f'outputs are some of {", ".join(OUTPUTS)}, not {sorted(unknown)}')
        if self.on_bad_image not in BAD_IMAGE_RULES:
            raise ValueError(f'on_bad_image is one of {BAD_IMAGE_RULES}: {self.on_bad_image!r}')

    def write(self, out: str | Path) -> Path:
        """Segment what is not finished yet.

        Writes `labels/<relative path>.png` (id = R + 256 G), `overlays/<relative path>.jpg`, both
        named by `label_map_name`, `listing.csv` (a row for each image and predicted id),
        `summary.json` and `bad_images.json`.
        The folder gets its name when everything is in it; until then it is called
        `<name>.partial-<key>`, and the same call goes on where it was interrupted.

        Args:
            out: Must not lie in the folder of images.

        Returns:
            `out`.

        Raises:
            BadImageError: If an image cannot be read and `on_bad_image` is 'error', or if none can.
            FileNotFoundError: If there are no images.
            ValueError: If outputs would lie among the images.
        """
        out = Path(out)
        if out.absolute().resolve().is_relative_to(self.images.absolute().resolve()):
            raise ValueError(
                f'{out} lies in {self.images}: a later run would take it for images. '
                'Write somewhere else.'
            )
        count, fingerprint = fingerprint_images(self.images)
        source = self.inferencer.source
        produce(
            out,
            lambda unfinished: self._fill(unfinished, count),
            inputs=dict(weights=fingerprint_file(source.checkpoint), images=fingerprint),
            settings=dict(
                model=source.config.model.to_dict(),
                transforms=source.test_pipeline,
                outputs=sorted(self.outputs),
                names=self.inferencer.names,
                shard_size=self.shard_size,
            ),
        )
        self._report_bad(out)
        return out

    def _fill(self, folder: Path, count: int) -> None:
        finished = FinishedShards(folder)
        starts = range(0, count, self.shard_size)
        left = {shard: start for shard, start in enumerate(starts) if shard not in finished}
        images_left = sum(min(self.shard_size, count - start) for start in left.values())
        progress = Progress('inference', images_left)
        with ThreadPoolExecutor(self.num_workers) as writers:
            for shard, paths in enumerate(shards(input_images(self.images), self.shard_size)):
                if shard in left:
                    files, record = self._infer_shard(folder, paths, writers, progress)
                    finished.add(shard, files, asdict(record))
        _join_records(finished, len(starts), self.inferencer, count)

    def _infer_shard(
        self, folder: Path, paths: list[str], writers: ThreadPoolExecutor, progress: Progress
    ) -> tuple[list[Path], ShardRecord]:
        """The files that were written of a shard, and what is written about it."""
        files = [image_path(self.images, path) for path in paths]
        results = self.inferencer.stream(
            files, self.batch_size, self.num_workers, OVERLAYS in self.outputs
        )
        rows: dict[int, list[list[Any]]] = {}
        bad: dict[int, tuple[str, str]] = {}
        writing: deque[Future] = deque()
        written: list[Path] = []
        for result in results:
            path = paths[result.index]
            if result.problem is None:
                rows[result.index] = self._rows(path, result)
                outputs = self._output_paths(folder, path)
                writing.append(writers.submit(self._write_outputs, outputs, result))
                written += outputs.values()
            else:
                bad[result.index] = (_printable(path), result.problem)
                self._refuse_bad(path, result.problem)
            while len(writing) > 2 * self.batch_size:  # label maps in memory
                writing.popleft().result()
            progress.advance()
        for future in writing:
            future.result()
        ordered = [row for index in sorted(rows) for row in rows[index]]
        return written, ShardRecord(ordered, [bad[index] for index in sorted(bad)])

    def _rows(self, path: str, result: PreparedImage) -> list[list[Any]]:
        labels, name_of = result.labels, self.inferencer.name_of
        return [
            [_printable(path), *labels.shape, i, name_of(i), n, round(n / labels.size, 6)]
            for i, n in count_ids(labels).items()
        ]

    def _output_paths(self, folder: Path, path: str) -> dict[str, Path]:
        image = image_path(self.images, path)
        sharing = sharing_in(image.parent) if self.images.is_dir() else ()
        return {
            kind: folder / kind / Path(path).with_name(label_map_name(image.name, sharing, suffix))
            for kind, suffix in SUFFIXES.items()
            if kind in self.outputs
        }

    def _write_outputs(self, paths: Mapping[str, Path], result: PreparedImage) -> None:
        if LABELS in paths:
            save_label_map(paths[LABELS], result.labels)
        if OVERLAYS in paths:
            picture = add_legend(overlay(result), self._legend(result))
            save_picture(paths[OVERLAYS], picture)

    def _legend(self, result: PreparedImage) -> list[tuple[str, Any]]:
        palette = category_palette(int(result.labels.max()) + 1)
        return [
            (f'{self.inferencer.name_of(i)} {100 * n / result.labels.size:.1f} %', palette[i])
            for i, n in count_ids(result.labels).items()
            if i != 0
        ]

    def _refuse_bad(self, path: str, problem: str) -> None:
        if self.on_bad_image == 'error':
            raise BadImageError(
                f"{_printable(path)}: {problem} Fix it or set on_bad_image='skip'; what is "
                'finished is kept.'
            )

    def _report_bad(self, out: Path) -> None:
        bad = json.loads((out / BAD_IMAGES).read_text())
        for image in bad:
            self._refuse_bad(image['image'], image['problem'])


def _join_records(
    finished: FinishedShards, num_shards: int, inferencer: LUSSInferencer, num_images: int
) -> None:
    """Write listing, summary and bad images, one shard in memory at a time."""
    folder = finished.directory
    bad: list[dict[str, str]] = []
    pixels: Counter[int] = Counter()
    images: Counter[int] = Counter()
    with open(folder / LISTING, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for shard in range(num_shards):
            record = ShardRecord(**finished.content(shard))
            writer.writerows(record.rows)
            for row in record.rows:
                pixels[row[3]] += row[5]
                images[row[3]] += 1
            bad += [dict(image=path, problem=problem) for path, problem in record.bad]
    if len(bad) == num_images:
        raise BadImageError(f'none of {num_images} images can be read: {bad[0]["problem"]}')
    total = pixels.total()
    summary = dict(
        images=num_images,
        segmented=num_images - len(bad),
        bad_images=len(bad),
        checkpoint=str(inferencer.source.checkpoint),
        refined_by=inferencer.refined_by,
        ids=[
            dict(id=i, name=inferencer.name_of(i), images=images[i], share=n / total)
            for i, n in sorted(pixels.items())
        ],
    )
    write_json(folder / SUMMARY, summary, indent=1)
    write_json(folder / BAD_IMAGES, bad, indent=1)
    print_log(
        f'inference: {summary["segmented"]} of {num_images} images segmented', logger='current'
    )


def _printable(path: str) -> str:
    """The path with what is not UTF-8 in its name escaped: a listing is text."""
    return path.encode('utf-8', 'backslashreplace').decode()
