"""What a step between trainings is, and which steps a stage has."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmengine.hooks import Hook
from mmseg.registry import HOOKS


class Step:
    """One output between trainings; making it is skipped where it is finished.

    Attributes:
        name: Name of the kind of step.
        makes: The output.
    """

    name: ClassVar[str]
    makes: Path

    @property
    def reads(self) -> tuple[Path, ...]:
        """Outputs of other steps that this one is made from."""
        return ()

    def check(self) -> None:
        """Refuse, before any stage trains, what could only fail when the step is run.

        Raises:
            ValueError: Naming the argument and the fix.
        """

    def run(self) -> None:
        """Make the output unless it is there; collective."""
        raise NotImplementedError


def steps_of(stage: Mapping[str, Any]) -> list[Any]:
    """All steps of a stage in the order in which they are run.

    Args:
        stage: Its resolved config. Any hook with a list `steps` has some.
    """
    hooks = [HOOKS.build(dict(hook)) for hook in stage.get('custom_hooks') or ()]
    return [step for hook in hooks for step in steps_of_hook(hook)]


def steps_of_hook(hook: Hook) -> list[Any]:
    """The steps of a hook; the attribute `steps` of other hooks may be anything else."""
    steps = getattr(hook, 'steps', None)
    return steps if isinstance(steps, list) else []


def check_order(steps: Iterable[Any]) -> None:
    """Refuse steps of which one is run before another that makes what it reads.

    Raises:
        ValueError: Naming both.
    """
    steps = [step for step in steps if isinstance(step, Step)]
    for place, step in enumerate(steps):
        for later in steps[place:]:
            if later.makes in step.reads:
                raise ValueError(
                    f'the step {step.name!r} would be run before {later.name!r}, which makes '
                    f'{later.makes.name} for it: list the hook of {later.name!r} first'
                )
