import gc
import logging
import weakref

from mmengine.logging import MessageHub, MMLogger, print_log
from mmengine.visualization import Visualizer

from luss_mm.engine.processes import forget
from tests.engine.tiny_training import make_runner

KINDS = (MMLogger, MessageHub, Visualizer)


def instances_of(runner):
    return runner.logger, runner.message_hub, runner.visualizer


def known_names():
    return [set(kind._instance_dict) for kind in KINDS]


def test_nothing_of_a_training_stays(tmp_path):
    MMLogger.get_current_instance()  # the first one, which stays
    before = known_names()
    runner = make_runner(tmp_path)
    assert known_names() != before
    runner.train()
    instances = instances_of(runner)
    (file,) = (h for h in runner.logger.handlers if isinstance(h, logging.FileHandler))
    kept = [weakref.ref(instance) for instance in instances]
    forget(instances)
    assert known_names() == before and file.stream is None
    print_log('still heard', logger='current')
    del runner, instances
    gc.collect()
    assert [reference() for reference in kept] == [None, None, None]


def test_other_trainings_stay(tmp_path):
    other, runner = make_runner(tmp_path / 'other'), make_runner(tmp_path / 'runner')
    forget(instances_of(runner))
    assert MMLogger.get_current_instance() is other.logger
    assert MessageHub.check_instance_created(other.experiment_name)
    assert Visualizer.check_instance_created(other.visualizer.instance_name)
    forget(instances_of(other))
