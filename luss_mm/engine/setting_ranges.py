"""Numbers that no setting of a name can have, refused before anything else looks at them."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from luss_mm.engine.settings import Settings, SettingsError


class Range(NamedTuple):
    """What a setting may be.

    Attributes:
        names: Pattern of the names of settings.
        lowest: Bound.
        whole: Whether only whole numbers will do.
        included: Whether the bound itself will do.
    """

    names: str
    lowest: int
    whole: bool = True
    included: bool = True


# The first whose pattern is found in a name counts.
RANGES = (
    Range(
        r'^(warmup|frozen)_|^(num_workers|seed|queue_length|foreground_epochs)$|_(queue_length|from_epoch)$',
        0,
    ),
    Range(r'(labelled|tagged)_batch$|_area$', 0),
    Range(r'(^|_)min_lr$|(^|_)weight_decay$', 0, whole=False),
    Range(r'(^|_)lr$', 0, whole=False, included=False),
    Range(r'(^|_)(epochs|iterations|restarts|batch_size|size|side|channels|interval|stride)$', 1),
    Range(r'^num_(categories|classes|prototypes)$', 1),
)


# Settings that name one of a few things.
CHOICES = {'foreground': ('length', 'attention', 'found')}


def check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse settings whose numbers make no sense.

    Args:
        values: Settings of a recipe, which may refer to each other.

    Raises:
        SettingsError: Naming the setting and what it may be.
    """
    for name, choices in CHOICES.items():
        if name in values and values[name] not in choices:
            raise SettingsError(f'{name} must be one of {choices}, not {values[name]!r}')
    for name in values:
        allowed = next((r for r in RANGES if re.search(r.names, name)), None)
        if allowed is None:
            continue
        try:
            value = Settings(values).resolve(values[name], name)
        except SettingsError:
            continue  # named where the reference is used
        if isinstance(value, (int, float, str)) and not _fits(value, allowed):
            kind = 'a whole number' if allowed.whole else 'a finite number'
            sign = '>=' if allowed.included else '>'
            raise SettingsError(f'{name} must be {kind} {sign} {allowed.lowest}, not {value!r}')


def _fits(value: float | str, allowed: Range) -> bool:
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        return False
    if allowed.whole and not isinstance(value, int):
        return False
    return value > allowed.lowest or (allowed.included and value == allowed.lowest)
