"""What a recipe says: its settings, its stages, and what each stage depends on."""

import json
import re
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS, TASK_UTILS

from luss_mm.datasets import LUSSDataset, SeededDataset
from luss_mm.packaged_weights import find_labels_used
from luss_mm.recipes.config_check import RUNNER_KEYS, check_schedule, check_stage, typed_blocks
from luss_mm.recipes.config_file import read_config, refuse_incomplete
from luss_mm.recipes.dataset_facts import look_at, without_loading
from luss_mm.recipes.folder_defaults import look_at_folder
from luss_mm.recipes.named_backbone import look_at_backbone
from luss_mm.recipes.setting_types import check_settings
from luss_mm.recipes.settings import (
    Settings,
    SettingsError,
    did_you_mean,
    merged,
    plain,
    without_absent,
    without_effectless,
)
from luss_mm.recipes.stage_config import stage_visualizer
from luss_mm.work_dir.artifact import decide_on_main
from luss_mm.work_dir.run_folder import RunFolder

# Keys of a recipe that are neither settings nor shared by the stages.
RECIPE_KEYS = {
    'amp',
    'evaluate',
    'on_bad_image',
    'on_change',
    'runner_type',
    'stage_order',
    'stages',
    'vis_backends',
}
# Keys of a stage that mmengine does not know.
STAGE_KEYS = {'labels_used', 'task', 'enabled'}
SHOWN_UNUSED = 3  # settings that a message names
# Set by the launcher or by this runner, never by a stage.
RUN_KEYS = {'work_dir', 'launcher', 'resume', 'load_from'}
VALIDATION_KEYS = {
    f'{split}_{part}' for split in ('val', 'test') for part in ('dataloader', 'cfg', 'evaluator')
}
# Default hooks that print or save on the way: the last state is the same without them.
BOOKKEEPING_HOOKS = {
    'backend_pictures',
    'checkpoint',
    'finite_loss',
    'logger',
    'timer',
    'visualization',
}


class Recipe:
    """A config with settings, `stage_order` and `stages`, checked as a whole.

    Args:
        cfg: The config after the command line was merged into it.

    Raises:
        SettingsError: Naming whatever is unknown, unused or misspelt.
    """

    def __init__(self, cfg: Config) -> None:
        values = plain(cfg.to_dict())
        for key in ('stages', 'stage_order', 'work_dir'):
            if key not in values:
                raise SettingsError(f'a recipe needs the key {key!r}')
        if values.get('load_from'):
            raise SettingsError(
                f'load_from={values["load_from"]!r} does not say which stage starts from it: set '
                'stages.<stage>.load_from'
            )
        described, backbone_notes = look_at_backbone(values)
        values |= described
        # Looking at the folder reads some; what depends on its findings follows.
        check_settings({name: value for name, value in values.items() if value is not None})
        # Absolute: a relative one would be read below data_root where label maps are looked up.
        self.work_dir = Path(values['work_dir']).absolute()
        found, self.notes = look_at_folder(values | dict(work_dir=str(self.work_dir)))
        values |= found
        self.notes = [*backbone_notes, *self.notes]
        check_settings(values)
        order = values['stage_order']  # '--cfg-options stage_order=pretrain' gives a string
        order = [order] if isinstance(order, str) else list(order)
        self.templates: dict[str, dict] = values['stages']
        self.launcher: str = values.get('launcher', 'none')
        self.amp = values.get('amp', False)
        self.vis_backends = values.get('vis_backends')
        self.evaluate: bool = values.get('evaluate', True)
        self.on_bad_image: str = values.get('on_bad_image', 'error')
        self.on_change: str = values.get('on_change', 'redo')
        self.bad_images: Path | None = None  # once they are known, training leaves them out
        self.image_index: Path | None = None  # a run's own folder for the lists of its images
        self.shared = {k: v for k, v in values.items() if k in RUNNER_KEYS - RUN_KEYS}
        chosen = {k: v for k, v in values.items() if k not in RUNNER_KEYS | RECIPE_KEYS | RUN_KEYS}
        self.settings = Settings(chosen | dict(work_dir=str(self.work_dir)))
        self._refuse_unknown_stages(order)
        self.stage_order: list[str] = [name for name in order if self._is_enabled(name)]
        self._check()

    def stage(self, name: str, directory: str | Path) -> dict:
        """Resolved config of a stage that works in `directory`."""
        return self._resolved(name, self.settings.values | dict(stage_dir=str(directory)))

    def is_training(self, name: str) -> bool:
        """Whether a stage trains rather than does a task."""
        return 'task' not in self.templates[name]

    def task(self, name: str, directory: str | Path) -> dict | None:
        """Config of what a stage without training does, or None."""
        if self.is_training(name):
            return None
        settings = Settings(self.settings.values | dict(stage_dir=str(directory)))
        return settings.resolve(self.templates[name]['task'], f'stages.{name}.task')

    def settings_of(self, name: str) -> dict:
        """What decides the content of a stage's output, free of paths and of speed settings."""
        neutral = {key: f'<{key}>' for key in ('work_dir', 'stage_dir')}
        if not re.search(r'\$\{\s*work_dir', str(self.settings.values.get('data_root', ''))):
            neutral['data_root'] = '<data_root>'
        values = self.settings.values | neutral
        if not self.is_training(name):
            return Settings(values).resolve(self.templates[name], f'stages.{name}')
        config = without_effectless(self._resolved(name, values) | dict(amp=self.amp))
        if hooks := config.get('default_hooks'):
            kept = {k: v for k, v in hooks.items() if k not in BOOKKEEPING_HOOKS}
            config['default_hooks'] = kept
        return config

    def stage_inputs(self, name: str) -> dict[str, str]:
        """Fingerprints of the data sets of a training and its scoring, or of the files of a task.

        Raises:
            SettingsError: If one of them is missing.
        """
        if task := self.task(name, '<stage_dir>'):
            return TASK_UTILS.build(task).inputs()
        config = self.stage(name, '<stage_dir>')
        loaders = [key for key in ('train_dataloader', 'val_dataloader') if config.get(key)]
        return {key: self.dataset_facts(config[key]['dataset'])['fingerprint'] for key in loaders}

    def dataset_facts(self, dataset: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of a data set without reading its images; collective, rank 0 looks once.

        Args:
            dataset: Its resolved config. Label maps and tags below the work directory are left
                out, since the run makes them itself.

        Returns:
            As `look_at`.

        Raises:
            SettingsError: If it cannot be built, on all ranks.
        """
        config = without_loading(dataset, self.work_dir)
        key = json.dumps(config, sort_keys=True)
        if key not in self._facts:
            found = decide_on_main(partial(look_at, config))
            if isinstance(found, str):
                raise SettingsError(found)
            self._facts[key] = found
        return self._facts[key]

    def stages_read_by(self, name: str) -> list[str]:
        """Earlier stages whose files a stage's config refers to."""
        earlier = self.stage_order[: self.stage_order.index(name)]
        marked = self.settings.values | dict(work_dir='<work_dir>', stage_dir='<stage_dir>')
        if self.is_training(name):
            config = self._resolved(name, marked)
        else:
            config = Settings(marked).resolve(self.templates[name], f'stages.{name}')
        text = json.dumps(config, default=str)
        return [
            other
            for other in earlier
            if re.search(re.escape(f'<work_dir>/{other}') + r'(?![\w-])', text)
        ]

    def labels_used(self, name: str) -> list[str]:
        """What labels a stage looks at and for what."""
        used = self.settings.resolve(
            self.templates[name].get('labels_used', {}), f'stages.{name}.labels_used'
        )
        lines = [text for key, text in used.items() if self.evaluate or key not in VALIDATION_KEYS]
        if not self.is_training(name):
            return lines
        stage = self.stage(name, '<stage_dir>')
        starts = [
            block['init_cfg']['checkpoint']
            for _, block in typed_blocks(stage['model'])
            if 'checkpoint' in (block.get('init_cfg') or {})
        ]
        seen = [find_labels_used(start) for start in (stage.get('load_from'), *starts) if start]
        return [*lines, *dict.fromkeys(labels for labels in seen if labels)]

    def test_parts(self, name: str) -> dict[str, Any]:
        """A stage's test data loader, loop and evaluator, also without evaluation.

        Without it the images are those of `unscored_dataset`, which need no masks. Empty if the
        stage tests nothing.
        """
        settings = Settings(self.settings.values | dict(stage_dir=str(self.work_dir / name)))
        template = {k: v for k, v in self.templates[name].items() if k.startswith('test_')}
        if 'test_dataloader' not in template:
            return {}
        parts = without_absent(settings.resolve(template, f'stages.{name}'))
        if not self.evaluate and 'unscored_dataset' in settings.values:
            dataset = settings.resolve('${unscored_dataset}', f'stages.{name}.test_dataloader')
            parts['test_dataloader']['dataset'] = dataset | dict(test_mode=True)
        return parts

    def used_sam(self, name: str) -> bool:
        """Whether a part of a stage is SAM, which human masks trained."""
        blocks = typed_blocks(self.stage(name, '<stage_dir>')) if self.is_training(name) else ()
        return any(getattr(MODELS.get(block['type']), 'used_sam', False) for _, block in blocks)

    def _resolved(self, name: str, values: Mapping[str, Any]) -> dict:
        settings = Settings(values)
        template = merged(self.shared, self.templates[name])
        if self.shared.get('custom_hooks'):  # further hooks; the stage needs its own
            template['custom_hooks'] = [
                *self.templates[name].get('custom_hooks', ()),
                *self.shared['custom_hooks'],
            ]
        config = {k: v for k, v in template.items() if k not in STAGE_KEYS}
        # Resolved before anything is left out: without evaluation its settings are not unused.
        config = settings.resolve(config, f'stages.{name}')
        if not self.evaluate:
            config = {k: v for k, v in config.items() if k not in VALIDATION_KEYS}
        if self.bad_images is not None:
            training = {k: v for k, v in config.items() if k not in VALIDATION_KEYS}
            for _, block in typed_blocks(training):
                if _is_a(block['type'], SeededDataset):
                    block['bad_images'] = str(self.bad_images)
        if self.image_index is not None:
            for _, block in typed_blocks(config):
                if _is_a(block['type'], LUSSDataset):
                    block.setdefault('image_index', str(self.image_index))
        self.settings.used |= settings.used
        config = without_absent(config)
        config['work_dir'] = settings.values.get('stage_dir')
        config['launcher'] = self.launcher
        config['experiment_name'] = f'{self.work_dir.name}_{name}'
        config['visualizer'] = stage_visualizer(
            config.get('visualizer', {}),
            self.vis_backends,
            config['experiment_name'],
            self.work_dir.name,
        )
        if self.amp and config.get('optim_wrapper', {}).get('type') == 'OptimWrapper':
            dtype = self.amp if isinstance(self.amp, str) else 'float16'
            config['optim_wrapper'] |= dict(type='AmpOptimWrapper', dtype=dtype)
        return config

    def _refuse_unknown_stages(self, names: list[str]) -> None:
        for name in names:
            if name not in self.templates:
                raise SettingsError(
                    f'stage_order names {name!r}, which stages lacks'
                    f'{did_you_mean(name, self.templates)}'
                )

    def _is_enabled(self, name: str) -> bool:
        enabled = self.templates[name].get('enabled', True)
        return bool(self.settings.resolve(enabled, f'stages.{name}.enabled'))

    def _check(self) -> None:
        for name in self.templates:
            if not self.is_training(name):
                self.settings.resolve(self.templates[name]['task'], f'stages.{name}.task')
                continue
            for key in ('model', 'train_dataloader'):
                if key not in self.templates[name]:
                    hint = did_you_mean(name, self.stage_order)
                    raise SettingsError(f'stages.{name} has neither a {key} nor a task{hint}')
            config = self.stage(name, '<stage_dir>')
            check_stage(name, config)
            check_schedule(name, config, self.templates[name])
        # Settings that only other settings use, or that belong to a stage that is left out.
        self.settings.used |= {'work_dir', 'stage_dir'}
        if unused := self.settings.unused():
            known = sorted(self.settings.used | RECIPE_KEYS)
            named = ', '.join(f'{u!r}{did_you_mean(u, known)}' for u in unused[:SHOWN_UNUSED])
            if len(unused) > SHOWN_UNUSED:
                named += (
                    f' and {len(unused) - SHOWN_UNUSED} more. If a stage sets custom_hooks, these '
                    "replace the recipe's: set custom_hooks outside of stages, which adds them to "
                    'those of every training'
                )
            raise SettingsError(f'no stage uses the setting {named}')

    @cached_property
    def _facts(self) -> dict[str, dict[str, Any]]:
        return {}


def _is_a(kind: str, dataset: type) -> bool:
    found = DATASETS.get(kind)
    return isinstance(found, type) and issubclass(found, dataset)


def read_settings(
    path: str | Path, options: Mapping[str, Any] | None = None, work_dir: str | None = None
) -> Settings:
    """Settings of a recipe, checked as for a run, or of the run in a work directory.

    Args:
        path: Recipe, or work directory of a run.
        options: Settings that are given on the command line.
        work_dir: Work directory of a recipe that refers to its files; default as for training.

    Raises:
        SettingsError: If the recipe has a fault.
        ConfigError: If there is no recipe or run, or it cannot be read.
    """
    if Path(path).is_dir():
        return Settings(read_config(RunFolder(path).settings_file, options).to_dict())
    config = read_config(path, options)
    refuse_incomplete(config, path, ['stages'])
    config.work_dir = work_dir or str(Path('work_dirs', Path(path).stem))
    return Recipe(config).settings
