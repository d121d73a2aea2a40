"""The search for dilations, and from several dilated branches to one larger kernel."""

import io
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmseg.registry import HOOKS, TASK_UTILS
from torch import Tensor

from luss_mm.checkpoints.loading import load_checkpoint
from luss_mm.engine.processes import bare_model
from luss_mm.models.receptive_fields import (
    Dilation,
    branch_dilations,
    branch_shares,
    merge_dilated_kernels,
)
from luss_mm.recipes.settings import SettingsError
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.atomic_files import write_atomically, write_json

STRUCTURE = 'receptive_fields.json'


@HOOKS.register_module()
class ReceptiveFieldHook(Hook):
    """Moves the dilations of a `ReceptiveFieldSegmentor` and writes down what was found.

    `<work_dir>/receptive_fields.json` holds the dilations after the latest step and, when training
    ends, the mean dilations of the branches as trained: what modes 'single' and 'multiple' take.
    Steps are counted by the epoch, so a resumed search makes the same ones.

    Args:
        interval: Epochs between two steps.
        steps: Their number; training goes on after the last.
    """

    priority = 'NORMAL'  # before the checkpoint of the epoch is written

    def __init__(self, interval: int = 10, steps: int = 3) -> None:
        self.interval = interval
        self.steps = steps

    def after_train_epoch(self, runner) -> None:
        """Make a step where one is due."""
        step, rest = divmod(runner.epoch + 1, self.interval)
        if rest == 0 and step <= self.steps:
            model = bare_model(runner)
            model.search_step()
            _write(runner, model.dilations())

    def after_train(self, runner) -> None:
        """Write the final structure."""
        _write(runner, bare_model(runner).estimated_dilations())


def _write(runner, dilations: Mapping[str, tuple[int, int]]) -> None:
    if is_main_process():
        write_json(Path(runner.work_dir, STRUCTURE), dilations, indent=2)
        changed = sum(max(dilation) > 1 for dilation in dilations.values())
        print_log(f'{changed} of {len(dilations)} convolutions are dilated', logger='current')


MERGED_CHECKPOINT = 'merged.pth'
DILATION = re.compile(r'receptive_field\.multiple\.(.+)\.dilation')


@TASK_UTILS.register_module()
class MergeReceptiveFields:
    """Merges the branches of a `ReceptiveFieldSegmentor` of mode 'multiple'.

    Writes `merged.pth`, weights for mode 'merge' whose logits are the same, and
    `receptive_fields.json`, the structure that they have.

    Args:
        checkpoint: Checkpoint of the model to merge.
        num_branches: As the model's.
        expansion: As the model's.

    Raises:
        SettingsError: If the checkpoint is missing or of another model.
    """

    def __init__(self, checkpoint: str, num_branches: int = 3, expansion: float = 0.5) -> None:
        self.checkpoint = checkpoint
        self.num_branches = num_branches
        self.expansion = expansion

    def inputs(self) -> dict[str, str]:
        """Fingerprint of the checkpoint."""
        if not Path(self.checkpoint).is_file():
            raise SettingsError(
                f'{self.checkpoint}: no such file. Run the recipe of mode multiple first, or set '
                '`multiple` to its folder of the stage'
            )
        return dict(checkpoint=fingerprint_file(self.checkpoint))

    def __call__(self, directory: Path) -> None:
        """Merge into a directory."""
        state = load_checkpoint(self.checkpoint, map_location='cpu')['state_dict']
        dilations = {m[1]: tuple(v.tolist()) for k, v in state.items() if (m := DILATION.match(k))}
        if not dilations:
            raise SettingsError(f'{self.checkpoint}: has no branches to merge (mode multiple)')
        merged = self.merged_weights(state, dilations)
        buffer = io.BytesIO()
        torch.save(dict(state_dict=merged), buffer)
        write_atomically(Path(directory, MERGED_CHECKPOINT), buffer.getvalue())
        write_json(Path(directory, STRUCTURE), dilations, indent=2)

    def merged_weights(
        self, state: Mapping[str, Tensor], dilations: Mapping[str, Dilation]
    ) -> dict[str, Tensor]:
        """State dict with one kernel for each convolution, without dilations and branches."""
        merged = {k: v for k, v in state.items() if not k.startswith('receptive_field.')}
        for name, dilation in dilations.items():
            rates = branch_dilations(dilation, self.num_branches, self.expansion)
            weights = state[f'receptive_field.multiple.{name}.branch_weights']
            merged[f'backbone.{name}.weight'] = merge_dilated_kernels(
                state[f'backbone.{name}.weight'], rates, branch_shares(weights, len(rates))
            )
        return merged
