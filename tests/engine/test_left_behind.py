"""What a run of several stages leaves behind in its process."""

import logging

from mmengine.logging import MMLogger

from luss_mm.engine.staged_runner import _close_log


def test_the_log_of_a_stage_is_closed_and_screen_output_stays(tmp_path):
    logger = MMLogger.get_instance('left_behind', log_file=str(tmp_path / 'stage.log'))
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    logger.info('written')
    _close_log()
    assert len(files) == 1 and files[0] not in logger.handlers and files[0].stream is None
    assert 'written' in (tmp_path / 'stage.log').read_text()
    assert logger.handlers  # the stream
