"""What a run will cost, before it starts: time, memory, disk, and what does not fit."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.logging import print_log

from luss_mm.costs.machine import Machine, look_at_machine
from luss_mm.costs.pipeline_cost import PipelineCosts
from luss_mm.costs.recipe_images import RecipeImages
from luss_mm.costs.stage_cost import Cost, training_cost
from luss_mm.costs.step_times import CountedTimes, MeasuredTimes
from luss_mm.functional.ranks import one_rank
from luss_mm.recipes.recipe import Recipe
from luss_mm.recipes.settings import SettingsError
from luss_mm.work_dir.artifact import is_finished, read_manifest

FEW_STEPS = 200  # of pretraining; the tiny recipe makes 450
SURELY = 2.0  # an estimate over the limit by this factor is no longer a matter of its error
GIGABYTE = 1e9


@dataclass(frozen=True)
class RunEstimate:
    """Costs of what a run has yet to do, in its order.

    Attributes:
        machine: Where.
        processes: Of the run.
        measured: Whether times were measured rather than computed from operations.
        costs: Of each part.
    """

    machine: Machine
    processes: int
    measured: bool
    costs: list[Cost]

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(cost.seconds for cost in self.costs)

    @property
    def disk(self) -> int:
        """Most bytes that lie on the disk at once."""
        stays, most = 0, 0
        for cost in self.costs:
            most = max(most, stays + cost.disk + cost.passing_disk)
            stays += cost.disk
        return most

    @property
    def files(self) -> int:
        """Files at the end."""
        return sum(cost.files for cost in self.costs)

    def shortages(self, certainty: float = 1.0) -> list[str]:
        """What does not fit, a line each with the setting to lower.

        Args:
            certainty: How many times the memory of this machine must be exceeded to be listed.
        """
        return [
            *self._memory_shortages(certainty),
            *self._disk_shortages(),
        ]

    def _memory_shortages(self, certainty: float) -> list[str]:
        machine, found = self.machine, []
        most = max(self.costs, key=lambda cost: cost.gpu_memory, default=None)
        if most and most.gpu_memory > certainty * machine.gpu_memory > 0:
            found.append(
                f'{most.name} needs about {_bytes(most.gpu_memory)} of GPU memory, and '
                f'{machine.name} has {_bytes(machine.gpu_memory)}. Lower {most.lower}.'
            )
        most = max(self.costs, key=lambda cost: cost.memory, default=None)
        if most and most.memory > certainty * machine.memory:
            found.append(
                f'{most.name} needs about {_bytes(most.memory)} of memory, and this machine has '
                f'{_bytes(machine.memory)}. Lower {most.lower} or num_workers.'
            )
        return found

    def _disk_shortages(self) -> list[str]:
        machine, found = self.machine, []
        if self.disk > machine.free_disk:
            found.append(
                f'the run writes about {_bytes(self.disk)}, and {_bytes(machine.free_disk)} are '
                'free there. Set another work_dir, or free some space.'
            )
        if machine.free_files is not None and self.files > machine.free_files:
            found.append(
                f'the run writes {self.files:,} files, and the file system of work_dir has room '
                f'for {machine.free_files:,}. Set another work_dir.'
            )
        return found

    def table(self) -> str:
        """All parts as lines of text."""
        head = (
            'part',
            'images',
            'epochs',
            'iterations',
            'batch',
            'GFLOP/it.',
            'memory',
            'GPU memory',
            'disk',
            'files',
            'time',
        )
        rows = [head, *map(_row, self.costs)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            '  '.join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return '\n'.join([*lines, *self.summary()])

    def summary(self) -> list[str]:
        """A handful of lines."""
        machine, costs = self.machine, self.costs
        longest = max(costs, key=lambda cost: cost.seconds)
        largest = max(costs, key=lambda cost: cost.memory)
        how = (
            'measured on made-up images'
            if self.measured
            else 'from operations and the matrix rate, mostly within a factor of 2'
        )
        if machine.gpu_memory and not self.measured:
            how += '; on GPUs an assumed share of the rate'
        rates = ', '.join(f'{k} {rate / 1e9:,.0f}' for k, rate in machine.rates.items())
        lines = [
            f'estimate of {len(costs)} steps on {machine.name}, {self.processes} process(es) '
            f'({rates} GFLOP/s): {how}',
            f'  time    {readable_time(self.seconds)}, '
            f'of it {longest.name} {readable_time(longest.seconds)}',
            f'  memory  {_bytes(largest.memory)} of {_bytes(machine.memory)} ({largest.name})',
        ]
        if machine.gpu_memory:
            most = max(costs, key=lambda cost: cost.gpu_memory)
            lines.append(
                f'  GPU     {_bytes(most.gpu_memory)} of {_bytes(machine.gpu_memory)} ({most.name})'
            )
        lines.append(
            f'  disk    {_bytes(self.disk)} of {_bytes(machine.free_disk)} free, '
            f'{self.files:,} files'
        )
        lines += [
            f'  {cost.name}: only {cost.iterations} steps ({cost.epochs} epochs); below some '
            f'hundred little is learnt: raise the number of epochs'
            for cost in costs
            if cost.name == 'pretrain' and cost.iterations < FEW_STEPS
        ]
        return [*lines, *(f'  does not fit: {line}' for line in self.shortages())]

    def as_dict(self) -> dict[str, Any]:
        """JSON-like: machine, parts, totals and shortages."""
        return dict(
            machine=asdict(self.machine),
            processes=self.processes,
            measured=self.measured,
            parts=[asdict(cost) for cost in self.costs],
            seconds=self.seconds,
            disk=self.disk,
            files=self.files,
            does_not_fit=self.shortages(),
        )


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
        measure: Time each part on made-up images instead of dividing operations by a rate.
        processes: Of the run, one a GPU.

    Raises:
        SettingsError: If images can neither be counted nor are published.
    """
    names = unfinished_stages(recipe, recipe.stage_order) if names is None else names
    machine = look_at_machine(recipe.work_dir, processes)
    times = (MeasuredTimes if measure else CountedTimes)(machine)
    facts = RecipeImages(recipe, images)
    between = PipelineCosts(recipe, facts, times, processes)
    costs: list[Cost] = []
    for name in names:
        stage = recipe.stage(name, '<stage_dir>')
        steps = between.before(stage.get('custom_hooks') or [])
        parts = [step for step in steps if not _is_there(recipe.work_dir, name, step)]
        if stage['train_cfg'].get('max_epochs') != 0:
            parts.append(training_cost(name, stage, facts, times, processes))
        parts += between.after(name, stage)
        costs += [replace(part, stage=name) for part in parts]
    if machine.gpu_memory:
        torch.cuda.empty_cache()  # the run needs it
    return RunEstimate(machine, processes, measure, costs)


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
    if not is_finished(work_dir / step.output):
        return False
    return 'features' in step.output or not is_finished(work_dir / stage)


def announce_estimate(recipe: Recipe, names: Sequence[str]) -> RunEstimate | None:
    """Print what a run will cost, and stop it if it surely has too little room; collective.

    That the estimate itself fails stops nothing.

    Args:
        recipe: Passed `check_data`.
        names: Stages with a training, whose images are there.

    Returns:
        The estimate; None on the other ranks, of a finished run, and where it failed.

    Raises:
        SettingsError: On all ranks, naming the setting to lower.
    """
    mistake: list[str | None] = [None]
    estimate = None
    if is_main_process():
        try:
            left = unfinished_stages(recipe, names)
            with one_rank():  # the others wait below
                estimate = estimate_run(recipe, left, processes=get_world_size()) if left else None
        except Exception as error:  # an odd model or data set is no reason not to train
            reason = f'{type(error).__name__}: {error}'.partition('\n')[0]
            print_log(f'no estimate of the costs ({reason})', 'current')
        else:
            if estimate:
                print_log('\n'.join(estimate.summary()), 'current')
                sure = [] if _is_under_way(recipe.work_dir) else estimate.shortages(SURELY)
                mistake[0] = sure[0] if sure else None
    broadcast_object_list(mistake)
    if mistake[0]:
        raise SettingsError(mistake[0])
    return estimate


def _is_under_way(work_dir: Path) -> bool:
    """Whether there are outputs, or pieces of them, which the free space no longer holds."""
    return any(work_dir.glob('*.partial-*'))


def _row(cost: Cost) -> tuple[str, ...]:
    return (
        cost.name,
        f'{cost.images:,}',
        f'{cost.epochs:,}',
        f'{cost.iterations:,}',
        f'{cost.batch:,}',
        f'{cost.operations / max(cost.iterations, 1) / 1e9:,.1f}',
        _bytes(cost.memory),
        _bytes(cost.gpu_memory) if cost.gpu_memory else '-',
        _bytes(cost.disk + cost.passing_disk),
        f'{cost.files:,}',
        readable_time(cost.seconds),
    )


def _bytes(number: float) -> str:
    if number >= GIGABYTE:
        return f'{number / GIGABYTE:,.1f} GB'
    return f'{number / 1e6:,.0f} MB'


def readable_time(seconds: float) -> str:
    """Two or three digits with their unit."""
    if seconds < 120:
        return f'{seconds:.0f} s'
    if seconds < 2 * 3600:
        return f'{seconds / 60:.0f} min'
    if seconds < 3 * 86400:
        return f'{seconds / 3600:.1f} h'
    return f'{seconds / 86400:,.0f} days'
