"""How generated ids become categories, by a rule or a given match, and what they are called."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

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
from luss_mm.work_dir.run_folder import EvaluationFolder, StageFolder, read_match

NAMES = 'names.json'  # in a work directory, written by people
MAX_DIGITS = 9  # of an id


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


def run_names(stage: str | Path) -> dict[int, str]:
    """Names of a run's clusters: those that people gave them, else those of the match.

    Args:
        stage: Folder in a work directory, which has `names.json` where people named the clusters;
            with `evaluation/match.json` and its scores where it was scored.
    """
    given = Path(stage).absolute().parent / NAMES
    if given.is_file():
        return read_names(given)
    path = StageFolder(stage).evaluation.match_file
    return read_names(path) if path.is_file() else {}


def merged_ids(names: Mapping[int, str]) -> dict[int, int]:
    """Ids that share a name with a lower one, and the lowest of them; 0 is "others".

    Args:
        names: That people gave. Those of a match are no reason to merge.
    """
    lowest: dict[str, int] = {}
    for number in sorted(names):
        lowest.setdefault(names[number], number)
    return {i: lowest[name] for i, name in names.items() if lowest[name] != i}


def given_names(path: str | Path) -> dict[int, str]:
    """Names that people gave in a file, or in the `names.json` of a work directory; else none."""
    path = Path(path, NAMES) if Path(path).is_dir() else Path(path)
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding='utf-8-sig'))
    return read_names(path) if isinstance(next(iter(content.values()), 0), str) else {}


def read_names(path: str | Path) -> dict[int, str]:
    """Names of predicted ids from a JSON file.

    Args:
        path: {"id": "name"}, or a match {"id": category id}, whose categories are named by the
            `scores.json` beside it, or else by their ids.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not JSON ({error})') from error
    if not isinstance(content, dict) or not all(_is_id(key) for key in content):
        raise ValueError(f'{path}: names are one JSON object {{"id": "name"}}')
    if all(isinstance(name, str) for name in content.values()):
        return {int(key): name for key, name in content.items()}
    return _names_of_match(read_match(path), EvaluationFolder.beside(path).scores_file)


def name_of(predicted_id: int, names: Mapping[int, str]) -> str:
    """The id's name; without one `others` for 0 and `cluster <id>` for the rest."""
    return names.get(predicted_id) or ('others' if predicted_id == 0 else f'cluster {predicted_id}')


def _names_of_match(match: Mapping[str, int], scores: Path) -> dict[int, str]:
    named = _named_categories(scores) if scores.is_file() else {}
    # A data set without names calls its categories by their ids.
    categories = {i: name for i, name in named.items() if name != str(i)}
    known = set(named) or set(match.values())
    names = {}
    for key, category in match.items():
        if category in known:  # the id after the last category stands for "unmatched"
            fallback = 'others' if category == 0 else f'category {category}'
            names[int(key)] = categories.get(category, fallback)
    return names


def _named_categories(scores: Path) -> dict[int, str]:
    """Category id -> name of a `scores.json`."""
    try:
        rows = json.loads(scores.read_text(encoding='utf-8'))['per_class']
        return {int(row['id']): str(row['name']) for row in rows}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f'{scores}: names no categories ({type(error).__name__}: {error})'
        ) from error


def _is_id(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= MAX_DIGITS
