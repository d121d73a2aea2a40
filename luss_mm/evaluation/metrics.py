"""The metrics: mIoU and its kin with and without matching, and of several predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import (
    broadcast_object_list,
    get_comm_device,
    get_dist_info,
    is_distributed,
    is_main_process,
)
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from torch import Tensor

from luss_mm.datasets.mask_files import IGNORE_INDEX
from luss_mm.datasets.seeded_dataset import READ_AS_COLOURS, is_of_colours
from luss_mm.evaluation.cluster_matching import (
    ClusterMatching,
    GivenMatching,
    MatchingByRule,
    category_ids,
    match_of_names,
)
from luss_mm.evaluation.score_report import (
    class_table,
    scores_in_percent,
    scores_per_class,
    write_prediction,
    write_scores,
)
from luss_mm.evaluation.segmentation_counts import SegmentationCounts
from luss_mm.functional.image_tally import ImageTally, check_ids, tally_image
from luss_mm.functional.matching import check_rule
from luss_mm.functional.scores import boundary_radius
from luss_mm.pipeline.image_counts import ImageCountsWriter
from luss_mm.work_dir.run_folder import read_match

MMSEG_IGNORE_INDEX = 255
BACKGROUND_NAMES = ('others', 'other', 'background', 'unlabeled', 'unlabelled', 'void', 'nothing')


@METRICS.register_module()
class UnsupervisedIoUMetric(BaseMetric):
    """Match clusters to categories on the evaluated masks, then score on the same masks.

    The scores mIoU, b-mIoU, ImgAcc (image accuracy), F-beta, S, MS, ML, L (mIoU by object size) and
    BS, BMS, BML, BL (b-mIoU by object size) are in percent, over pixels whose mask is not
    `ignore_index`, with the semantics of the ImageNet-S evaluation toolbox. It works under any
    mmseg model whose `pred_sem_seg` holds generated ids, 0 for "others" and 1..num_clusters for
    clusters.

    With `background=None` no class is set apart, as PiCIE and STEGO score Cityscapes, COCO-Stuff
    and Potsdam: generated ids are 0..num_clusters - 1, every class of the data set is matched, mIoU
    is over the classes that occur in masks or predictions, and aAcc (pixel accuracy) takes the
    place of F-beta. With more clusters than classes the one-to-one rules leave clusters without a
    class, whose pixels are wrong; 'majority' gives every cluster a class.

    Each rank keeps twelve (G + 1) x (C + 1) matrices (81 MB for 919 x 919), whatever the number of
    images; see `SegmentationCounts` for what little it keeps of images whose dominant category
    hangs on the match. The last image of a rank is held back until the size of the data set is
    known, because mmengine's `DefaultSampler` fills up the last round with images that were seen
    before.

    Args:
        num_clusters: G, generated ids without "others".
        num_categories: C, categories without "others". None takes all of `dataset_meta['classes']`,
            but the first if that is "others".
        ignore_index: Mask id of pixels that count nowhere. None takes that of the data set: our
            data sets name theirs in their metainfo (1000), those of mmseg have 255.
        output_dir: Where match.json, scores.json, image counts and predictions go; None: nowhere.
        save_predictions: Write every prediction (generated ids, before matching) in the ImageNet-S
            coding to `<output_dir>/predictions/<folder of the image>/<image name>.png`. A data set
            without masks can then be predicted without being scored.
        boundary_ratio: Radius of the boundary band as a share of the image diagonal.
        collect_device: As in mmengine; counts are summed on the process group's own device.
        prefix: Put before the names of the scores.
        keep_results: The same as save_predictions; mmseg's `tools/test.py --out` sets it.
        matching: Rule of `MATCHING_RULES` by which clusters are matched on the scored masks:
            'image_hungarian' (official), 'pixel_hungarian' or 'majority' (many to one). None takes
            the first, and without background the second: in scenes most classes are in most
            images, which tells nothing apart.
        match: Category id of each generated id, or the path of a match.json; it is taken instead of
            a rule's.
        background: 0 if the first class is "others", which generated id 0 stands for and nothing
            else is matched to. None if every class and every generated id takes part.

    Raises:
        ValueError: If predictions are to be saved without an `output_dir`, there is no such rule,
            or `background` is another id.
    """

    def __init__(
        self,
        num_clusters: int,
        num_categories: int | None = None,
        ignore_index: int | None = None,
        output_dir: str | None = None,
        save_predictions: bool = False,
        boundary_ratio: float = 0.03,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        keep_results: bool = False,
        matching: str | None = None,
        match: Mapping[str | int, int] | str | Path | None = None,
        background: int | None = 0,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        save_predictions = save_predictions or keep_results
        if save_predictions and output_dir is None:
            raise ValueError('save_predictions=True needs an output_dir to save to')
        matching = matching or ('image_hungarian' if background == 0 else 'pixel_hungarian')
        check_rule(matching)
        if background not in (0, None):
            raise ValueError(f'background is 0 or None (no background class), not {background!r}')
        self.background = background
        self.rule = matching
        self.match = match if match is None or isinstance(match, Mapping) else read_match(match)
        self.num_clusters = num_clusters
        self.num_categories = num_categories
        self._ignore_index = ignore_index
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.save_predictions = save_predictions
        self.boundary_ratio = boundary_ratio
        if self.output_dir is not None and is_main_process():
            self.output_dir.mkdir(parents=True, exist_ok=True)  # fails before the work, not after
        # Whoever reads them takes id 0 for "others".
        self._image_counts = ImageCountsWriter(self.output_dir if background == 0 else None)
        self._refined_by: str | None = None
        self._forget_images()

    @property
    def ignore_index(self) -> int:
        """Mask id of pixels that count nowhere."""
        if self._ignore_index is not None:
            return self._ignore_index
        meta = self.dataset_meta or {}
        # mmseg's BaseSegDataset names this in its metainfo, but not its ignore_index.
        default = MMSEG_IGNORE_INDEX if 'reduce_zero_label' in meta else IGNORE_INDEX
        return meta.get('ignore_index', default)

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the data set; its classes are checked before anything is trained."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        if self._class_names() is not None:
            self._category_count()

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Count one batch.

        Args:
            data_batch: Not used.
            data_samples: Dicts with `pred_sem_seg` and `gt_sem_seg` (`data` of shape (1, H, W)) and
                `img_path`; `refined_by` is put down beside the scores.

        Raises:
            ValueError: If ids are out of range, sizes differ or a mask is missing.
        """
        for sample in data_samples:
            self._refined_by = sample.get('refined_by')
            try:
                predicted = _label_map(sample['pred_sem_seg'])
                tally = self._tally(predicted, sample.get('gt_sem_seg'))
            except ValueError as error:
                raise ValueError(f'{sample.get("img_path", "an image")}: {error}') from error
            self._hold_back(sample.get('img_path', ''), tally, predicted.device)
            if self.save_predictions:
                root = self.output_dir / 'predictions'
                write_prediction(root, Path(sample['img_path']), predicted)

    def evaluate(self, size: int) -> dict[str, float]:
        """Sum over ranks, match, score; then start afresh.

        Args:
            size: Number of images of the data set.

        Returns:
            Scores in percent, rounded to 2 decimals, the same on all ranks, without size buckets
            that hold no instance; empty if the data set has no masks.

        Raises:
            ValueError: If the images counted are not `size`, or only some of them have masks.
        """
        try:
            counts = self._counts_of_all_ranks(size)
            self._image_counts.finish()
        finally:
            self._forget_images()
        if int(counts.images) == 0:
            print_log(f'No masks: {size} predictions saved, none scored.', logger='current')
            return {}
        scores = [self.compute_metrics([counts]) if is_main_process() else None]
        broadcast_object_list(scores)
        return scores[0]

    def compute_metrics(self, results: list[SegmentationCounts]) -> dict[str, float]:
        """Match, score, log and write.

        Args:
            results: One entry: the counts of all images.

        Returns:
            Scores in percent, rounded to 2 decimals, with the prefix, without size buckets that
            hold no instance.
        """
        matching = self._new_matching()
        scores = matching.scores(results[0])
        rows = scores_per_class(scores, self._class_names())
        print_log(f'per class results:\n{class_table(rows)}', logger='current')
        refined = f'; predictions refined by {self._refined_by}' if self._refined_by else ''
        print_log(
            f'Matching of clusters to categories on these {scores.num_images} images, '
            f'{matching.name}: {matching.description}{refined}.',
            logger='current',
        )
        if self.output_dir is not None:
            settings = {
                'num_clusters': self.num_clusters,
                'num_categories': self._category_count(),
                'background': self.background,
                'ignore_index': self.ignore_index,
                'boundary_ratio': self.boundary_ratio,
                'refined_by': self._refined_by,
            }
            write_scores(self.output_dir, scores, matching, rows, settings)
        start = f'{self.prefix}/' if self.prefix else ''
        figures = scores_in_percent(scores).items()
        return {start + name: value for name, value in figures if value is not None}

    def _tally(self, predicted: Tensor, mask: dict | None) -> ImageTally | None:
        """Count one image; None for one without a mask that is only to be predicted."""
        if mask is None:
            if not self.save_predictions:
                raise ValueError(
                    'no mask (gt_sem_seg) to score against. Add LoadAnnotations to the test '
                    'pipeline, or set save_predictions=True to predict without scoring.'
                )
            check_ids(
                'prediction',
                predicted,
                self.num_clusters,
                'num_clusters',
                background=self.background,
            )
            return None
        if is_of_colours(mask['data']):
            raise ValueError(f'its mask {READ_AS_COLOURS}.')
        truth = _label_map(mask).to(predicted.device)
        if predicted.shape != truth.shape:
            raise ValueError(
                f'the prediction has {_size(predicted)} pixels, its mask {_size(truth)}. Put '
                'LoadAnnotations after Resize in the test pipeline, so that masks keep their size.'
            )
        return tally_image(
            predicted,
            truth,
            self.num_clusters,
            self._category_count(),
            self.ignore_index,
            boundary_radius(*truth.shape, self.boundary_ratio),
            self.background,
        )

    def _class_names(self) -> Sequence[str] | None:
        return (self.dataset_meta or {}).get('classes')

    def _category_count(self) -> int:
        """C, from the settings or the data set; checks that they agree."""
        names = self._class_names()
        if self.num_categories is None and names is None:
            raise ValueError("set num_categories: the data set's metainfo names no classes")
        others = 0 if self.background is None else 1
        count = len(names) - others if self.num_categories is None else self.num_categories
        if names is not None and others:
            self._refuse_missing_background(names[0])
        if names is not None and len(names) != count + others:
            first = ' ("others" first)' if others else ''
            raise ValueError(
                f'num_categories={count} needs {count + others} classes{first}, the data set '
                f'names {len(names)}. Leave num_categories out to take them from the data set.'
            )
        highest = count - 1 + others
        if 0 <= self.ignore_index <= highest:
            raise ValueError(
                f'ignore_index={self.ignore_index} is one of the ids 0 to {highest} of the '
                'categories. Set it to the id that ignored pixels have in the masks.'
            )
        return count

    def _refuse_missing_background(self, first: str) -> None:
        """A class that is never matched would cost its share of mIoU without a word."""
        if str(first).lower() not in BACKGROUND_NAMES:
            raise ValueError(
                f'background=0 leaves the first class out of the matching, but the data set calls '
                f'it {first!r}. Set background=None to match every class, or call it '
                f'{BACKGROUND_NAMES[0]!r} in the metainfo of the data set.'
            )

    def _new_matching(self) -> ClusterMatching:
        """The rule or the given match, once the categories are known."""
        if self.match is None:
            return MatchingByRule(
                self.rule, self.num_clusters, self._category_count(), self.background
            )
        match = self.match
        if self.background == 0:  # a match may name its categories
            match = match_of_names(match, self.num_clusters, self._class_names() or ())
        return GivenMatching(
            match, self.num_clusters, self._category_count(), background=self.background
        )

    def _hold_back(self, image: str, tally: ImageTally | None, device: torch.device) -> None:
        """Count the image held back so far and hold back this one."""
        if self._counts is None:
            self._matching = self._new_matching()
            self._counts = SegmentationCounts(self._matching.layout, device)
        else:
            self._count_held_back()
        self._held_back = image, tally
        self._images_seen += 1

    def _count_held_back(self) -> None:
        image, tally = self._held_back
        if tally is None:
            self._counts.images_without_mask += 1
            return
        self._counts.add(self._matching.entries(tally))
        self._image_counts.add(image, tally)

    def _counts_of_all_ranks(self, size: int) -> SegmentationCounts:
        rank, world = get_dist_info()
        if self._counts is None:  # a rank may have no image at all
            self._counts = SegmentationCounts(self._new_matching().layout)
        elif (self._images_seen - 1) * world + rank < size:  # else the sampler repeated an image
            self._count_held_back()
        device = get_comm_device() if is_distributed() else self._counts.values.device
        counts = self._counts.summed_over_ranks(device)
        images, without_mask = int(counts.images), int(counts.images_without_mask)
        if images + without_mask != size:
            raise ValueError(
                f'{images + without_mask} images were counted on {world} rank(s), the data set has '
                f"{size}. Evaluate every image once, with mmengine's DefaultSampler."
            )
        if images and without_mask:
            raise ValueError(
                f'{without_mask} of {size} images have no mask. Add the masks or leave them out.'
            )
        return counts

    def _forget_images(self) -> None:
        self._matching: ClusterMatching | None = None
        self._counts: SegmentationCounts | None = None
        self._held_back: tuple[str, ImageTally | None] = '', None
        self._images_seen = 0
        self._image_counts.discard()


def _label_map(field: dict) -> Tensor:
    """The ids of a `pred_sem_seg` or `gt_sem_seg` field, integer. Shape (H, W)."""
    labels = field['data']
    if labels.ndim == 3:
        labels = labels.squeeze(0)  # (1, H, W) -> (H, W)
    if labels.is_floating_point():  # mmseg's heads with a single logit predict 0. and 1.
        if not torch.equal(labels, labels.round()):
            raise ValueError(f'ids are whole numbers, the map has {labels.dtype} fractions')
        labels = labels.long()
    return labels


def _size(labels: Tensor) -> str:
    return ' x '.join(map(str, labels.shape))


@METRICS.register_module()
class CategoryIoUMetric(UnsupervisedIoUMetric):
    """`UnsupervisedIoUMetric` without matching: the semi-supervised and the free protocol.

    Predicted ids are category ids already.

    Args:
        num_categories: C, categories without "others".
        **kwargs: As `UnsupervisedIoUMetric`, except num_clusters, matching, match and background.
    """

    def __init__(self, num_categories: int, **kwargs: Any) -> None:
        super().__init__(num_categories, num_categories, **kwargs)

    def _refuse_missing_background(self, first: str) -> None:
        """Nothing is matched: the first class is scored as it is, whatever its name."""

    def _new_matching(self) -> ClusterMatching:
        return category_ids(self._category_count())


MAIN_PREDICTION = 'pred_sem_seg'


@METRICS.register_module()
class PredictionMetric(BaseMetric):
    """Any metric, applied to another label map than `pred_sem_seg`.

    Several of them may stand in one evaluator: their scores differ by the prefix, and so do the
    folders that they write to.

    Args:
        metric: Config of the metric. It reads the label map as `pred_sem_seg`.
        prediction: Field of the data samples that holds the label map, as 'pred_pseudo'.
        prefix: Put before the names of the scores ('<prefix>/mIoU').
        output_dir: Where the metric writes, into the folder `<prefix>`; None takes the metric's own
            `output_dir`, and if it has none nothing is written.
        collect_device: As in mmengine; not used, since the inner metric collects.
    """

    def __init__(
        self,
        metric: Mapping[str, Any],
        prediction: str,
        prefix: str,
        output_dir: str | None = None,
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        inner = dict(metric)
        if folder := output_dir or inner.get('output_dir'):
            inner['output_dir'] = str(Path(folder, prefix))
        self.metric: BaseMetric = METRICS.build(inner)
        self.prediction = prediction

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the data set, which is the inner metric's."""
        return self.metric.dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self.metric.dataset_meta = dataset_meta

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch.

        Args:
            data_batch: Passed on.
            data_samples: Dicts with the field `prediction`. They are not changed.

        Raises:
            ValueError: If a sample lacks the field, naming the predictions that it has.
        """
        renamed = [sample | {MAIN_PREDICTION: self._label_map(sample)} for sample in data_samples]
        self.metric.process(data_batch, renamed)

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of the inner metric under the prefix, the same on all ranks.

        Args:
            size: Number of images of the data set.
        """
        scores = self.metric.evaluate(size)
        return {f'{self.prefix}/{name}': value for name, value in scores.items()}

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute what the inner metric does, without the prefix."""
        return self.metric.compute_metrics(results)

    def _label_map(self, sample: dict) -> dict:
        if self.prediction not in sample:
            found = sorted(name for name in sample if name.startswith('pred_'))
            raise ValueError(
                f'{sample.get("img_path", "an image")}: the model made no {self.prediction!r}, '
                f'only {", ".join(found) or "no prediction"}. Set `prediction` to one of them.'
            )
        return sample[self.prediction]
