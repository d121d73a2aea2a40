"""From an image's features to its pseudo-label: pixel assignment, then prompts, masks, merging."""

import math
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import MODELS, TRANSFORMS

from luss_mm.functional.mask_prompts import (
    ForegroundScore,
    MaskPrompt,
    active_categories,
    class_prompts,
    extreme_points,
    large_categories,
    largest_component_box,
    merge_masks,
    merging_outcome,
    overlap,
    present_categories,
    prompts_with_score,
    vote_in_masks,
)
from luss_mm.functional.pixel_assignment import assign_pixels, resize_score

PROMPTS = ('region', 'score')


@TRANSFORMS.register_module()
class GeneratePseudoLabel(BaseTransform):
    """Makes the label map of one image, from arrays that networks have computed before.

    Every pixel takes its nearest centroid (PASS). With a segmenter, what this shows of the image's
    likely categories is turned into prompts, and the segmenter's masks into the label map (PDSO).

    Args:
        sigma: Bound on the squared distance of an image to further categories than its main one.
            .8 is the authors' for ImageNet-S50; the result is very sensitive to it.
        min_area: Smaller connected components give no box, in pixels. Not published.
        segmenter: Config of a segmenter in mmseg's MODELS; None keeps the coarse label map.
        prompts: 'region' (published): boxes of the coarse region, and the highest score of the
            image as the point of the class that lies there. 'score' (ours): also the foreground
            score of every pixel, from which GrabCut finds what the region misses; and every class
            has the highest score of its own region as its point.

    Needs:
        features: Pixel features (C, h, w). foreground_score: (h', w'). centroids: (K, C).
        threshold: Threshold of the foreground score. squared_distances: array (K,), of the image's
            embedding
        to the centroids. ori_shape: (H, W). encoded_image: of the segmenter, if there is one.
        certain_scores: with prompts from the score, (low, high) of `certain_scores`.

    Sets:
        coarse_label: Nearest centroids, int64 in [0, K], (H, W). gt_seg_map: the final label map,
        likewise. active_categories: generated ids, the main one first. label_outcome: `labelled`,
        the ids in gt_seg_map; with a segmenter all of `merging_outcome`. Fits into JSON.

    Raises:
        ValueError: If sigma is no number, min_area negative, or prompts are of no such kind.
    """

    NEEDED = (
        'features',
        'foreground_score',
        'centroids',
        'threshold',
        'squared_distances',
        'ori_shape',
    )
    NEEDED_BY_SEGMENTER: tuple[str, ...] = ('encoded_image',)

    def __init__(
        self,
        sigma: float = 0.8,
        min_area: int = 0,
        segmenter: dict[str, Any] | None = None,
        prompts: str = 'region',
    ) -> None:
        if math.isnan(sigma) or min_area < 0:
            raise ValueError(f'sigma {sigma} must be a number and min_area {min_area} at least 0')
        if prompts not in PROMPTS:
            raise ValueError(f'prompts is one of {", ".join(PROMPTS)}, not {prompts!r}')
        self.sigma = sigma
        self.min_area = min_area
        self.prompts = prompts
        self._config = segmenter
        self._segmenter: Any = None

    @property
    def segmenter(self) -> Any:
        """The segmenter, built when it is first asked for; None without one."""
        if self._segmenter is None and self._config is not None:
            self._segmenter = MODELS.build(self._config)
        return self._segmenter

    @property
    def needs_certain_scores(self) -> bool:
        """Whether label maps depend on the scores that are surely background and object."""
        return self._config is not None and self.prompts == 'score'

    def check(self) -> None:
        """Refuse, before anything runs, what the segmenter cannot work with.

        Raises:
            RuntimeError: If the segmenter cannot be built, as without its package or checkpoint.
        """
        if self.segmenter is not None:
            self.segmenter.check()

    def facts(self) -> dict[str, Any]:
        """What decides the label maps, for the key of an artifact."""
        if self.segmenter is None:
            return dict(segmenter=None)
        facts = dict(sigma=self.sigma, min_area=self.min_area, segmenter=self.segmenter.facts())
        return facts | dict(prompts=self.prompts) if self.prompts != 'region' else facts

    def transform(self, results: dict) -> dict:
        """Label one image.

        Raises:
            KeyError: If `results` lacks something.
            ValueError: If shapes do not fit, or a segmenter's masks are not as they should be.
        """
        self._refuse_missing(results)
        labels = assign_pixels(
            results['features'][None],
            results['centroids'],
            results['foreground_score'][None],
            results['threshold'],
            tuple(results['ori_shape']),
        )
        results['coarse_label'] = coarse = labels[0].cpu().numpy()
        results['active_categories'] = active_categories(results['squared_distances'], self.sigma)
        if self.segmenter is None:
            results['gt_seg_map'] = coarse.copy()
            results['label_outcome'] = dict(labelled=present_categories(coarse))
        else:
            self._refine(results)
        return results

    def _refine(self, results: dict) -> None:
        coarse = results['coarse_label']
        score = resize_score(results['foreground_score'][None], coarse.shape)[0].cpu().numpy()
        prompts = class_prompts(
            coarse, score, results['squared_distances'], self.sigma, self.min_area
        )
        if self.needs_certain_scores:
            low, high = results['certain_scores']
            prompts = prompts_with_score(
                prompts, ForegroundScore(score, low, float(results['threshold']), high)
            )
        masks = self.segmenter.segment(results['encoded_image'], prompts) if prompts else []
        categories = [prompt.category for prompt in prompts]
        merged = merge_masks(coarse, categories, masks)
        results['gt_seg_map'] = merged
        results['label_outcome'] = merging_outcome(
            coarse, results['active_categories'], categories, masks, merged
        )

    def _refuse_missing(self, results: dict) -> None:
        needed = self.NEEDED
        if self.segmenter is not None:
            needed = (*needed, *self.NEEDED_BY_SEGMENTER)
        if self.needs_certain_scores:
            needed = (*needed, 'certain_scores')
        for key in needed:
            if key not in results:
                raise KeyError(
                    f'{type(self).__name__} needs results[{key!r}], found {sorted(results)}: it is '
                    'computed before this transform, not loaded'
                )


@TRANSFORMS.register_module()
class OrganizePseudoLabel(GeneratePseudoLabel):
    """Refines the coarse label map by UO-SAM instead of PDSO's prompts; needs no training.

    Region by region: every category that covers enough of the image becomes a prompt, the largest
    first. Its box is that of its largest component; its points are the pixels whose feature in the
    segmenter is most and least like the mean feature of the category's region. Smaller categories
    paint over larger ones. If a mask agrees too little with the region that it came from, the
    coarse label map is kept for the whole image.

    Then the whole image: every mask that the segmenter finds without prompts takes the category
    that is most frequent in it.

    Args:
        segmenter: As `GeneratePseudoLabel`; one that `knows_objects`, such as `SAMSegmenter`.
        sigma: See `active_categories`; here it decides what is counted, not what is labelled.
        min_share: Categories that cover less of the image than this give no prompt, in [0, 1].
        min_overlap: IoU of a category's mask and region below which the image keeps its coarse
            label map, in [0, 1].
        points_per_side: Points per side of the grid from which the segmenter finds all masks. Time
            grows with its square: 64, the authors', asks for 8,192 points, crops included.

    Needs and sets what `GeneratePseudoLabel` does, and needs loaded_image: RGB uint8 (H, W, 3).

    Raises:
        ValueError: If a number is out of range.

    Source: Li et al. 2024 (UO-SAM). docs/methods/pdso.md says how its unfinished code is read.
    """

    NEEDED_BY_SEGMENTER = ('encoded_image', 'loaded_image')

    def __init__(
        self,
        segmenter: dict[str, Any] | None = None,
        sigma: float = 0.8,
        min_share: float = 0.1,
        min_overlap: float = 0.4,
        points_per_side: int = 64,
    ) -> None:
        super().__init__(sigma=sigma, segmenter=segmenter)
        if not (0 <= min_share <= 1 and 0 <= min_overlap <= 1 and points_per_side >= 1):
            raise ValueError(
                f'min_share {min_share} and min_overlap {min_overlap} lie in [0, 1], '
                f'points_per_side {points_per_side} is at least 1'
            )
        self.min_share = min_share
        self.min_overlap = min_overlap
        self.points_per_side = points_per_side

    def check(self) -> None:
        """As `GeneratePseudoLabel.check`; also refuses a segmenter without features of its own."""
        super().check()
        if self.segmenter is not None and not self.segmenter.knows_objects:
            raise ValueError(
                f'UO-SAM takes its points from the features of the segmenter, and '
                f"{type(self.segmenter).__name__} has none: set segmenter.type='SAMSegmenter', or "
                "label_refinement='spo'"
            )

    def facts(self) -> dict[str, Any]:
        """What decides the label maps, for the key of an artifact."""
        if self.segmenter is None:
            return super().facts()
        numbers = ('sigma', 'min_share', 'min_overlap', 'points_per_side')
        chosen = {name: getattr(self, name) for name in numbers}
        return dict(method='UO-SAM', segmenter=self.segmenter.facts(), **chosen)

    def _refine(self, results: dict) -> None:
        coarse, encoded = results['coarse_label'], results['encoded_image']
        prompts = [
            self._prompt(category, coarse == category, encoded)
            for category in large_categories(coarse, self.min_share)
        ]
        masks = self.segmenter.segment(encoded, prompts) if prompts else []
        agreeing = all(
            overlap(prompt.region, mask) >= self.min_overlap
            for prompt, mask in zip(prompts, masks, strict=True)
            if mask.any()
        )
        categories = [prompt.category for prompt in prompts]
        merged = coarse
        if agreeing:  # the first of overlapping masks has the pixel: here the smallest category's
            merged = merge_masks(coarse, categories[::-1], masks[::-1])
        if merged.min() != merged.max():
            everything = self.segmenter.segment_everything(
                results['loaded_image'], self.points_per_side
            )
            merged = vote_in_masks(merged, everything)
        results['gt_seg_map'] = merged.astype(np.int64)
        outcome = merging_outcome(coarse, present_categories(coarse), categories, masks, merged)
        results['label_outcome'] = outcome | dict(
            kept_coarse=outcome['kept_coarse'] or not agreeing
        )

    def _prompt(self, category: int, region: np.ndarray, encoded: Any) -> MaskPrompt:
        shown, other = extreme_points(self.segmenter.similarity(encoded, region))
        box = largest_component_box(region)
        return MaskPrompt(category, box, shown, region, other_point=other)
