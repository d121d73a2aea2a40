"""What a run will cost, before it starts: time, memory, disk, and what does not fit; time left."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from prettytable import PrettyTable

from luss_mm.costs.machine import Machine, look_at_machine
from luss_mm.costs.part_costs import Cost, PartCosts, RecipeImages
from luss_mm.functional.ranks import one_rank
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError, first_line
from luss_mm.terminal import format_duration
from luss_mm.work_dir.artifact import decide_on_main
from luss_mm.work_dir.manifest import is_finished, read_manifest

FEW_STEPS = 200  # of pretraining; the tiny recipe makes 450
SURELY = 2.0  # an estimate over the limit by this factor is no longer a matter of its error


@dataclass(frozen=True)
class RunEstimate:
    """Costs of what a run has yet to do, in its order.

    Attributes:
        machine: Where.
        processes: Number of processes of the run.
        costs: Costs of each part.
    """

    machine: Machine
    processes: int
    costs: list[Cost]

    @property
    def seconds(self) -> float:
        """Sum over all parts."""
        return sum(cost.seconds for cost in self.costs)

    @property
    def disk(self) -> int:
        """Most bytes that lie on the disk at once: while an output is made, twice of it."""
        sizes = [cost.disk for cost in self.costs]
        return sum(sizes) + max(sizes, default=0)

    def shortages(self, certainty: float = 1.0) -> list[str]:
        """What does not fit, a line each with the setting to lower.

        Args:
            certainty: How many times the memory of this machine must be exceeded to be listed.
        """
        machine, found = self.machine, []
        for kind, there, name, others in (
            ('gpu_memory', machine.gpu_memory, f'GPU memory, and {machine.name}', ''),
            ('memory', machine.memory, 'memory, and this machine', ' or num_workers'),
        ):
            most = self._most(kind)
            if (needed := getattr(most, kind)) > certainty * there > 0:
                found.append(
                    f'{most.name} needs about {_bytes(needed)} of {name} has {_bytes(there)}. '
                    f'Lower {most.lower}{others}.'
                )
        if self.disk > machine.free_disk:
            found.append(
                f'the run writes about {_bytes(self.disk)}, and {_bytes(machine.free_disk)} are '
                'free there. Set another work_dir, or free some space.'
            )
        return found

    def _most(self, kind: str) -> Cost:
        return max(self.costs, key=attrgetter(kind))

    def table(self) -> str:
        """All parts as lines of text."""
        head = ['part', 'images', 'iterations', 'memory', 'GPU memory', 'disk', 'time']
        table = PrettyTable(head, align='r', border=False)
        table.align['part'] = 'l'
        for cost in self.costs:
            sizes = map(_bytes, (cost.memory, cost.gpu_memory, cost.disk))
            row = cost.name, f'{cost.images:,}', f'{cost.iterations:,}', *sizes
            table.add_row([*row, format_duration(cost.seconds)])
        return '\n'.join([table.get_string(), *self.summary()])

    def summary(self) -> list[str]:
        """A handful of lines."""
        machine = self.machine
        longest, largest, on_gpu = map(self._most, ('seconds', 'memory', 'gpu_memory'))
        lines = [
            f'estimate of {len(self.costs)} steps on {machine.name}, {self.processes} process(es), '
            'from steps on made-up images, mostly within a factor of 2',
            f'  time    {format_duration(self.seconds)}, '
            f'of it {longest.name} {format_duration(longest.seconds)}',
            f'  memory  {_bytes(largest.memory)} of {_bytes(machine.memory)} ({largest.name})',
        ]
        if machine.gpu_memory:
            used, there = _bytes(on_gpu.gpu_memory), _bytes(machine.gpu_memory)
            lines.append(f'  GPU     {used} of {there} ({on_gpu.name})')
        lines.append(f'  disk    {_bytes(self.disk)} of {_bytes(machine.free_disk)} free')
        lines += [
            f'  {cost.name}: only {cost.iterations} steps; below some hundred little is learnt: '
            'raise the number of epochs'
            for cost in self.costs
            if cost.name == 'pretrain' and cost.iterations < FEW_STEPS
        ]
        return [*lines, *(f'  does not fit: {line}' for line in self.shortages())]

    def as_dict(self) -> dict[str, Any]:
        """JSON-like: machine, costs of the parts, totals and shortages."""
        totals = dict(seconds=self.seconds, disk=self.disk, does_not_fit=self.shortages())
        return asdict(self) | totals


def estimate_run(
    recipe: Recipe,
    names: Sequence[str] | None = None,
    images: int | None = None,
    measure: bool = False,
    processes: int = 1,
) -> RunEstimate:
    """Estimate what a recipe has yet to do.

    Args:
        recipe: Already checked.
        names: Stages with a training; default all that are not finished with these settings.
        images: Number of images of each training folder, for want of the images.
        measure: Time every step with its whole batch; takes minutes.
        processes: Number of processes of the run, one a GPU.

    Raises:
        SettingsError: If images cannot be counted.
    """
    names = unfinished_stages(recipe, recipe.stage_order) if names is None else names
    machine = look_at_machine(recipe.work_dir, processes)
    parts = PartCosts(recipe, RecipeImages(recipe, images), machine, processes, measure)
    costs = [
        replace(cost, stage=name)
        for name in names
        for cost in parts.of_stage(name, recipe.stage(name, '<stage_dir>'))
        if not _is_there(recipe.work_dir, name, cost)
    ]
    if machine.gpu_memory:
        torch.cuda.empty_cache()  # the run needs it
    return RunEstimate(machine, processes, costs)


def unfinished_stages(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """Stages with a training that do not lie finished in the work directory with these settings."""
    return [n for n in names if recipe.is_training(n) and not _is_finished(recipe, n)]


def _is_finished(recipe: Recipe, name: str) -> bool:
    directory = recipe.work_dir / name
    if not is_finished(directory):
        return False
    wanted = json.loads(json.dumps(recipe.settings_of(name), default=str))
    return read_manifest(directory).get('settings') == wanted


def _is_there(work_dir: Path, stage: str, step: Cost) -> bool:
    """Whether an output is ready for a stage; other settings of the stage leave features alone."""
    own = step.name.split('/')[0] == stage
    if own or not is_finished(work_dir / step.name):
        return False
    return 'features' in step.name or not is_finished(work_dir / stage)


def announce_estimate(recipe: Recipe, names: Sequence[str]) -> RunEstimate | None:
    """Print what a run will cost, and stop it if it surely has too little room; collective.

    That the estimate itself fails stops nothing.

    Args:
        recipe: Passed `check_data`.
        names: Stages with a training, whose images are there.

    Returns:
        The estimate; None of a finished run, and where it failed.

    Raises:
        SettingsError: On all ranks, naming the setting to lower.
    """

    def look() -> tuple[RunEstimate | None, str | None]:
        try:
            left = unfinished_stages(recipe, names)
            with one_rank():  # the others wait below
                estimate = estimate_run(recipe, left, processes=get_world_size()) if left else None
        except Exception as error:  # an odd model or data set is no reason not to train
            print_log(f'no estimate of the costs ({first_line(error)})', 'current')
            return None, None
        if estimate is None:
            return None, None
        print_log('\n'.join(estimate.summary()), 'current')
        sure = [] if _is_under_way(recipe.work_dir) else estimate.shortages(SURELY)
        return estimate, sure[0] if sure else None

    estimate, mistake = decide_on_main(look)
    if mistake:
        raise SettingsError(mistake)
    return estimate


def _is_under_way(work_dir: Path) -> bool:
    """Whether there are outputs, or pieces of them, which the free space no longer holds."""
    return any(work_dir.glob('*.partial-*'))


def _bytes(number: float) -> str:
    return f'{number / 1e9:,.1f} GB' if number >= 1e9 else f'{number / 1e6:,.0f} MB'


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
