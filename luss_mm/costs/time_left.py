"""How long a run has yet to take: its estimate, corrected by what its stages took so far."""

import time
from collections.abc import Callable

from luss_mm.costs.run_estimate import RunEstimate
from luss_mm.terminal import format_duration


class TimeLeft:
    """Follows a run from stage to stage.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expected: dict[str, float] = {}  # seconds of the stages that are not over
        self._begun: float | None = None
        self._estimated = self._taken = 0.0  # seconds of the stages that are over

    def expect(self, estimate: RunEstimate) -> None:
        """Take over what the stages of an estimate will take."""
        for cost in estimate.costs:
            self._expected[cost.stage] = self._expected.get(cost.stage, 0.0) + cost.seconds

    def begin(self, stage: str, from_start: bool) -> str:
        """A line on the time left when a stage begins; empty without an estimate of it.

        Args:
            stage: Its name.
            from_start: Whether it begins at its beginning, so that its time says something.
        """
        self._begun = self._clock() if from_start else None
        if stage not in self._expected:
            return ''
        all_left, own = sum(self._expected.values()), self._expected[stage]
        line = f'time left: about {self._corrected(all_left)}'
        if all_left > own:
            line += f', {self._corrected(own)} of it for {stage}'
        if not from_start:
            line += ', less what was done of it before'
        return line

    def end(self, stage: str) -> None:
        """Compare a stage that is over with its estimate."""
        estimated = self._expected.pop(stage, None)
        if estimated is not None and self._begun is not None:
            self._estimated += estimated
            self._taken += self._clock() - self._begun

    def _corrected(self, seconds: float) -> str:
        factor = self._taken / self._estimated if self._estimated else 1.0
        return format_duration(factor * seconds)
