"""What differs between machines, and what mmengine keeps of a training besides its runner."""

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import MMLogger, print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin
from torch import nn

from luss_mm.models.cpu_speed import cpu_has_fast_bfloat16

# k-means runs on rank 0 and may take hours, during which the others wait. torch's own limits (10
# minutes for NCCL, 30 for gloo) would end a healthy run. A rank that dies is noticed by its closed
# connection or by the launcher, within seconds, whatever the limit.
LONGEST_STEP = timedelta(days=2)


def start_process_group(launcher: str) -> None:
    """Let the ranks know each other before the first stage, gloo on a machine without CUDA.

    mmengine would do so only when it trains, and it cannot do it without CUDA.

    Args:
        launcher: mmengine's launcher. Does nothing for 'none'.
    """
    if launcher == 'none' or is_distributed():
        return
    if torch.cuda.is_available():
        init_dist(launcher, 'nccl', timeout=LONGEST_STEP.total_seconds())
    elif launcher == 'pytorch':
        torch.distributed.init_process_group('gloo', timeout=LONGEST_STEP)


def device_overrides(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a stage config that depend on the machine it runs on, not on the experiment.

    Args:
        config: The resolved stage.

    Returns:
        Synchronised batch norm on several GPUs; a wrapper for CPU processes and batch norm
        statistics that are averaged after every epoch, plain batch norm where the config asks for a
        synchronised one, which needs CUDA; mixed precision as far as the CPU has it.
    """
    distributed = config.get('launcher', 'none') != 'none'
    if torch.cuda.is_available():
        return dict(sync_bn='torch') if distributed else {}
    overrides: dict[str, Any] = {}
    if config.get('model') and (model := _without_sync_bn(config['model'])) != config['model']:
        overrides['model'] = model
    if distributed:
        # broadcast_buffers would overwrite the batch norm statistics of all ranks but one.
        overrides['model_wrapper_cfg'] = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=config.get('find_unused_parameters', False),
        )
        # They differ nevertheless, and a checkpoint holds those of rank 0: scoring or resuming with
        # others than the run's own would give another score. Synchronised batch norm needs CUDA.
        overrides['custom_hooks'] = [
            *(config.get('custom_hooks') or ()),
            dict(type='SyncBuffersHook'),
        ]
    wrapper = config.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper':
        fast = cpu_has_fast_bfloat16()
        precision = 'bfloat16' if fast else 'float32, this CPU has no fast bfloat16'
        print_log(f'mixed precision without a GPU: {precision}', logger='current')
        # A full replacement: the runner must not see the GPU wrapper's own arguments.
        kept = {k: v for k, v in wrapper.items() if k not in ('dtype', 'loss_scale')}
        kind = 'CPUAmpOptimWrapper' if fast else 'OptimWrapper'
        overrides['optim_wrapper'] = dict(kept, type=kind)
    return overrides


def bare_model(runner: Runner) -> nn.Module:
    """The model that a runner trains, without the wrapper of several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def forget(instances: Iterable[ManagerMixin]) -> None:
    """Let go of loggers, message hubs and visualizers, of which mmengine forgets none.

    Between them about a megabyte a training: texts of configs, histories of losses, figures. And
    log files stay open.

    Args:
        instances: Not to be used any more.
    """
    for instance in instances:
        if isinstance(instance, MMLogger):
            _close_files(instance)
        for kind in type(instance).__mro__:
            known = vars(kind).get('_instance_dict', {})  # there is no public way
            for name in [name for name, other in known.items() if other is instance]:
                del known[name]


def _close_files(logger: MMLogger) -> None:
    for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
        handler.close()
        logger.removeHandler(handler)


def _without_sync_bn(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {key: _without_sync_bn(inner) for key, inner in value.items()}
        return found | dict(type='BN') if found.get('type') == 'SyncBN' else found
    if isinstance(value, (list, tuple)):
        return type(value)(_without_sync_bn(inner) for inner in value)
    return value
