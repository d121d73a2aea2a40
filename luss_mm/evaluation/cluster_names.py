"""What predicted ids are called: by a file, by a run's match, or by their numbers.

A report needs names, so this imports no torch.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from luss_mm.work_dir.run_folder import EvaluationFolder, StageFolder, read_match

NAMES = 'names.json'  # in a work directory, written by people
MAX_DIGITS = 9  # of an id


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
