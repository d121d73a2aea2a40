"""From several dilated branches to one larger kernel: a stage without training."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from mmseg.registry import TASK_UTILS
from torch import Tensor

from luss_mm.checkpoints.loading import load_checkpoint
from luss_mm.engine.hooks.receptive_fields import STRUCTURE
from luss_mm.functional.merged_kernel import merge_dilated_kernels
from luss_mm.models.receptive_fields import Dilation, branch_dilations, branch_shares
from luss_mm.recipes.settings import SettingsError
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.atomic_files import write_atomically

MERGED_CHECKPOINT = 'merged.pth'
DILATION = re.compile(r'receptive_field\.multiple\.(.+)\.dilation')


@TASK_UTILS.register_module()
class MergeReceptiveFields:
    """Merges the branches of a `ReceptiveFieldSegmentor` of mode 'multiple'.

    Writes `merged.pth`, weights for mode 'merge' whose logits are the same, and
    `receptive_fields.json`, the structure that they have.

    Args:
        checkpoint: Of the model to merge.
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
        write_atomically(Path(directory, STRUCTURE), json.dumps(dilations, indent=2).encode())

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
