"""What mmengine keeps by name of a training that is over, as long as the process lives."""

import logging
from collections.abc import Iterable

from mmengine.logging import MMLogger
from mmengine.utils import ManagerMixin


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
