"""How generated ids become categories, by a rule or a given match."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from luss_mm.evaluation.segmentation_counts import (
    CountEntries,
    CountLayout,
    MatchedScores,
    SegmentationCounts,
    matched_scores,
)
from luss_mm.functional.image_tally import ImageTally
from luss_mm.functional.matching import (
    GIVEN_RULE,
    MATCHING_RULES,
    check_rule,
    given_mapping,
    match_by_rule,
)


class ClusterMatching:
    """What turns generated ids into categories, with the counts that it needs for that.

    Attributes:
        name: For tables and files.
        description: The rule in words, with its ties and what becomes of unmatched clusters.
        looks_at_masks: Whether the scored masks decide the match.
        layout: Layout of the counts.
    """

    name: str
    description: str
    looks_at_masks: bool
    layout: CountLayout

    def entries(self, tally: ImageTally) -> CountEntries:
        """What an image adds to the counts, by generated id."""
        return self.layout.entries(tally)

    def match(self, images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Category id of each generated id (G + 1,) from shared images and pixels (G, C)."""
        raise NotImplementedError

    def scores(self, counts: SegmentationCounts) -> MatchedScores:
        """Scores of all images, whose counts are on the CPU."""
        raise NotImplementedError


class MatchingByRule(ClusterMatching):
    """Matches when all images are counted, on the masks that are scored.

    Args:
        rule: One of `MATCHING_RULES`.
        num_clusters: G, generated ids without "others".
        num_categories: C, categories without "others".
        background: 0 if id 0 is "others"; None matches every id.

    Raises:
        ValueError: If there is no such rule.
    """

    looks_at_masks = True

    def __init__(
        self, rule: str, num_clusters: int, num_categories: int, background: int | None = 0
    ) -> None:
        check_rule(rule)
        self.name, self.description = rule, MATCHING_RULES[rule]
        shared = rule == 'majority' or num_clusters > num_categories  # the rest share id C + 1
        self.layout = CountLayout(num_clusters, num_categories, shared, background)

    def match(self, images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Category id of each generated id (G + 1,) from shared images and pixels (G, C)."""
        return match_by_rule(self.name, images, pixels)

    def scores(self, counts: SegmentationCounts) -> MatchedScores:
        """Match and score, on the same counts."""
        images, pixels = counts.presence[1:, 1:], counts.joint[0, 1:, 1:]
        return matched_scores(counts, self.match(images.numpy(), pixels.numpy()))


class GivenMatching(ClusterMatching):
    """Takes a match that is known before; images are counted by category id.

    Args:
        match: Category id of each generated id, C + 1 for those that are never right.
        num_clusters: G.
        num_categories: C.
        name: For tables and files.
        description: Where the match is from.
        background: 0 if id 0 is "others"; None if every id is matched.

    Raises:
        ValueError: If the match does not fit, see `given_mapping`.
    """

    looks_at_masks = False

    def __init__(
        self,
        match: Mapping[str | int, int],
        num_clusters: int,
        num_categories: int,
        name: str = 'given',
        description: str = GIVEN_RULE,
        background: int | None = 0,
    ) -> None:
        self.name, self.description = name, description
        self.mapping = given_mapping(match, num_clusters, num_categories, background)
        self.layout = CountLayout(  # C + 1 is never right
            num_categories + 1, num_categories, background=background
        )

    def entries(self, tally: ImageTally) -> CountEntries:
        """What an image adds to the counts, by category id."""
        return self.layout.entries(tally, self.mapping)

    def match(self, images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """The given match, whatever the counts. Shape (G + 1,)."""
        return self.mapping

    def scores(self, counts: SegmentationCounts) -> MatchedScores:
        """Score what was counted by category id."""
        same = np.arange(self.layout.num_clusters + 1)
        shift = 0 if self.layout.background == 0 else 1
        return replace(matched_scores(counts, same), mapping=self.mapping[shift:] - shift)


def category_ids(num_categories: int) -> GivenMatching:
    """For predictions whose ids are category ids already: nothing is matched."""
    same = {category: category for category in range(num_categories + 1)}
    return GivenMatching(
        same, num_categories, num_categories, 'none', 'predicted ids are category ids: no matching'
    )


def match_of_names(
    match: Mapping[str | int, int | str], num_clusters: int, categories: Sequence[str]
) -> dict[str, int]:
    """A match that names categories, with their ids; several clusters may share a category.

    Args:
        match: Category id, or its name, of generated ids. Where names are given, ids that have
            none, or that of no category, are never right.
        num_clusters: G.
        categories: Names of the ids 0..C, 0 being "others".

    Returns:
        Category id of each generated id.

    Raises:
        ValueError: If no name is that of a category.
    """
    if not any(isinstance(name, str) for name in match.values()):
        return {str(key): category for key, category in match.items()}
    ids = {name: i for i, name in enumerate(categories)}
    given = {str(key): ids.get(name, len(categories)) for key, name in match.items()}
    if min(given.values()) == len(categories):
        raise ValueError(
            f'none of the names {", ".join(sorted(set(match.values()))[:5])} is one of the '
            f'categories {", ".join(categories[:5])} ...'
        )
    never = {str(i): len(categories) for i in range(1, num_clusters + 1)}
    return {'0': 0} | never | given
