"""What a finished output says about itself; reading it needs no torch."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = 'manifest.json'


class ManifestError(ValueError):
    """A damaged manifest.

    Args:
        path: Path of the manifest.
        problem: What is wrong with it.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f'{path}: damaged ({problem}). Delete the folder {path.parent.name}, or rename it, and '
            'run the recipe again: it is made again.'
        )


def artifact_key(recipe: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that name inputs and settings."""
    text = json.dumps(jsonable(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_finished(directory: str | Path) -> bool:
    """Whether a directory holds a finished output, whatever it was made from."""
    return Path(directory, MANIFEST).is_file()


def read_manifest(directory: str | Path) -> dict:
    """Manifest of a finished output.

    Raises:
        FileNotFoundError: If the output is not finished.
        ManifestError: If the manifest is damaged.
    """
    path = Path(directory, MANIFEST)
    if not path.is_file():
        raise FileNotFoundError(f'{directory}: not a finished output (it has no {MANIFEST}).')
    try:
        manifest = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ManifestError(path, str(error)) from error
    if not isinstance(manifest, dict) or 'key' not in manifest:
        raise ManifestError(path, 'it has no key')
    return manifest


def finished_outputs(parent: str | Path) -> dict[str, str]:
    """Names of the finished outputs in a directory and their keys, without those set aside."""
    outputs = [path.parent for path in Path(parent).glob(f'*/{MANIFEST}')]
    return {o.name: read_manifest(o)['key'] for o in sorted(outputs) if '.' not in o.name}


def jsonable(value: Any) -> Any:
    """A value as JSON holds it: lists and dicts of text keys; all else is its text.

    Raises:
        TypeError: If the text of an object tells where in memory it is.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(inner) for inner in value]
    if not (value is None or isinstance(value, (str, int, float, bool))):
        value = str(value)
    if isinstance(value, str) and (address := re.search(r'<.* at 0x[0-9a-f]+>', value)):
        raise TypeError(
            f'{address[0]} has another address in every process, so no output would ever be found '
            'finished again: describe it by its config'
        )
    return value
