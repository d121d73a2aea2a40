"""A trained segmentor from its run directory, or from a checkpoint with its config."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn

from luss_mm.checkpoints.loading import CheckpointError, load_checkpoint, load_weights
from luss_mm.models import LUSSSegmentor
from luss_mm.recipes.config_file import (
    ConfigError,
    parse_literal_config,
    read_config,
    read_literal_config,
)
from luss_mm.recipes.stage_config import bounded_loading, innermost_dataset
from luss_mm.work_dir.run_folder import CONFIG, FINAL_CHECKPOINT, LAST_STAGE, RunFolder, StageFolder


@dataclass(frozen=True)
class TrainedSegmentor:
    """What inference and export need of a run.

    Attributes:
        config: Config of the stage, resolved.
        checkpoint: Weights of exactly the config's model.
        folder: Where the checkpoint lies; its evaluation says what clusters were matched to.
    """

    config: Config
    checkpoint: Path
    folder: Path

    def build(self, device: str = 'cpu') -> nn.Module:
        """The segmentor with its weights, in eval mode.

        Raises:
            CheckpointError: If the weights do not fit, or loading them could execute code.
            ConfigError: If the config describes no model.
        """
        model_config = self.config.model.copy()
        model_config.pop('pretrained', None)  # the checkpoint has all weights
        with DefaultScope.overwrite_default_scope('mmseg'):
            try:
                model = MODELS.build(model_config)
            except (KeyError, TypeError) as error:  # an unknown type or argument
                raise ConfigError(
                    f'{self.checkpoint}: the model of its config cannot be built ({error})'
                ) from error
        load_weights(model, self.checkpoint)
        if not device.startswith('cuda'):
            model = revert_sync_batchnorm(model)
        return model.to(device).eval()

    @property
    def test_pipeline(self) -> list[dict[str, Any]]:
        """Configs of the transforms of test images.

        Raises:
            ConfigError: If the config has none.
        """
        dataset = innermost_dataset(self.config.get('test_dataloader', {}).get('dataset', {}))
        pipeline = self.config.get('test_pipeline', dataset.get('pipeline'))
        if pipeline is None:
            raise ConfigError('the config has no test_pipeline and no test_dataloader: add one')
        return bounded_loading(pipeline)


def find_segmentor(
    source: str | Path, config: str | Path | Config | None = None
) -> TrainedSegmentor:
    """Find weights and config of a trained segmentor.

    Args:
        source: A recipe's work directory, the folder of a finished stage, or a checkpoint.
        config: Executed as mmengine does. None takes the config beside the checkpoint, or the one
            in it, which are read as data (see `parse_literal_config`).

    Raises:
        FileNotFoundError: If there is no such run or checkpoint, or no config.
        ConfigError: If the config is a recipe, or could execute code.
        CheckpointError: If loading the checkpoint could execute code.
    """
    source = Path(source)
    checkpoint = _finished_stage(source) / FINAL_CHECKPOINT if source.is_dir() else source
    if not checkpoint.is_file():
        raise FileNotFoundError(f'{checkpoint}: no such run directory or checkpoint.')
    if config is None:
        found = _config_of(checkpoint)
    elif isinstance(config, Config):
        found = config
    else:
        found = read_config(config)
    if 'stages' in found or 'model' not in found:
        raise ConfigError(
            f'{config}: not the config of one model. Name <work_dir>/{LAST_STAGE}/{CONFIG}, or '
            'the work directory instead of the checkpoint.'
        )
    return TrainedSegmentor(found, checkpoint, checkpoint.parent)


def refine_predictions(config: Config, segmenter: dict[str, Any]) -> Config:
    """The config of one model whose predictions a segmenter refines.

    Args:
        config: Not changed.
        segmenter: Config of the segmenter.

    Raises:
        ConfigError: If the model cannot refine its predictions.
    """
    kind = MODELS.get(config.model.type)
    if not (isinstance(kind, type) and issubclass(kind, LUSSSegmentor)):
        raise ConfigError(
            f'--refine: {config.model.type} cannot refine its predictions, only LUSSSegmentor can'
        )
    refined = copy.deepcopy(config)
    refined.model.refine = segmenter
    return refined


def _finished_stage(directory: Path) -> Path:
    for stage in (directory / LAST_STAGE, directory):
        if StageFolder(stage).has_model:
            return stage
    others = RunFolder(directory).trained_stages()
    hint = f' Finished here: {", ".join(others)}.' if others else ''
    raise FileNotFoundError(
        f'{directory}: holds no finished stage {LAST_STAGE!r} ({CONFIG}, {FINAL_CHECKPOINT}).'
        f'{hint} Name the folder of a finished stage, or a checkpoint.'
    )


def _config_of(checkpoint: Path) -> Config:
    beside = checkpoint.with_name(CONFIG)
    if beside.is_file():
        return read_literal_config(beside)
    content = load_checkpoint(checkpoint, map_location='cpu')
    text = content.get('meta', {}).get('cfg') if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise CheckpointError(
            f'{checkpoint}: has no config in or beside it. Name it with --config.'
        )
    return parse_literal_config(text, f'config in {checkpoint}')
