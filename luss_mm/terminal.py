"""What a run shows on the terminal: its own words and how far it is; the log file has the rest."""

import contextlib
import logging
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from mmengine.logging import MMLogger, print_log

Item = TypeVar('Item')
LOGGING = ('logging', 'mmengine.logging', __name__)  # modules that pass a message on
FRAMEWORK = ('mmengine', 'mmcv', 'mmseg', 'mmpretrain')
TABLES = 'luss_mm.evaluation'  # whose messages have a row for every category
REDRAWN = 0.5  # seconds between two states of a line that is redrawn in place
LONGEST_SILENCE = 600.0  # seconds


class TerminalHandler(logging.StreamHandler):
    """Shows messages; what mmengine and mmseg log, and long tables, are for the log file alone.

    Args:
        level: Level of the messages that are shown.
    """

    def __init__(self, level: int) -> None:
        super().__init__(sys.stdout)
        self.setLevel(level)
        self.setFormatter(_Formatter())
        self.addFilter(lambda record: _is_shown(_speaker()))

    @property
    def stream(self) -> TextIO:
        """Standard output as it is now: notebooks and tests exchange it."""
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        pass

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message in the place of the line that is redrawn."""
        _clear_line()
        super().emit(record)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = f'{record.levelname}: ' if record.levelno >= logging.WARNING else ''
        return f'{time.strftime("%H:%M:%S")}  {level}{record.getMessage()}'


def quieten(logger: MMLogger | None = None, level: int | str | None = None) -> MMLogger:
    """Let a logger show on the terminal only what is not mmengine's, unless its level is DEBUG.

    Args:
        logger: Logger of mmengine, the current one by default; its log file stays as it is.
        level: New level of logger and terminal; None leaves it.
    """
    logger = logger or MMLogger.get_current_instance()
    if level is not None:
        logger.setLevel(level)
    for i, handler in enumerate(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            continue
        speaks = handler.level < logging.ERROR  # on all ranks but the first, only errors are shown
        shown = logger.level if level is not None and speaks else handler.level
        if isinstance(handler, TerminalHandler):
            handler.setLevel(shown)
        elif shown > logging.DEBUG:
            quiet = logger.handlers[i] = TerminalHandler(shown)
            quiet.filters += handler.filters  # a warning is shown once
    return logger


def announce(text: str) -> None:
    """Say something on the terminal and in the log file, whatever the level of the log is."""
    logger = MMLogger.get_current_instance()
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None)
    for handler in logger.handlers:
        handler.handle(record)


@contextlib.contextmanager
def prints_logged(logger: logging.Logger) -> Iterator[None]:
    """Log what is printed inside: mmengine prints where it is given no logger."""
    with contextlib.redirect_stdout(_LogStream(logger)):
        yield


class Progress:
    """Tells how far a step is and how long it will still take.

    On a terminal the line is redrawn in place. Elsewhere there is a line after some seconds, the
    next after twice as many and so on, and one at the end.

    Args:
        title: Title of the step.
        total: Units of work of this rank.
        interval: Seconds until the first line.
        done: Units that were finished before.
    """

    def __init__(self, title: str, total: int, interval: float = 10.0, done: int = 0) -> None:
        self.title = title
        self.total = total
        self.interval = interval
        self.before = self.done = done
        self.started = self.printed = self.drawn = time.monotonic()

    def advance(self, units: int = 1, note: str = '') -> None:
        """Count finished units.

        Args:
            units: Their number.
            note: What else the line tells.
        """
        self.done += units
        now = time.monotonic()
        if self.done == self.total or now - self.printed >= self.interval:
            if self.done != self.total:
                self.interval = min(2 * self.interval, max(LONGEST_SILENCE, self.interval))
            self.printed = self.drawn = now
            print_log(self._line(now, note), logger='current')
        elif now - self.drawn >= REDRAWN and _redraws():
            self.drawn = now
            _draw_line(self._line(now, note))

    def _line(self, now: float, note: str) -> str:
        elapsed, done = now - self.started, self.done - self.before
        left = elapsed / max(done, 1) * max(self.total - self.done, 0)  # a total may be a guess
        return (
            f'{self.title}: {self.done}/{self.total} ({100 * self.done / self.total:.0f} %), '
            f'{done / max(elapsed, 1e-9):.0f}/s, {left:.0f} s left{note}'
        )


def with_progress(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Pass items on and tell how far they are.

    Args:
        items: What is worked through.
        total: How many they are, as far as known.
        title: Title of the step.
    """
    progress = Progress(title, max(total, 1))
    for item in items:
        yield item
        progress.advance()


class _LogStream:
    """Takes printed text and logs its lines.

    Args:
        logger: That gets them.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def write(self, text: str) -> int:
        if text.strip():
            self.logger.info(text.rstrip())
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False


_line_is_open = False  # whether the last line of the terminal is one that is redrawn


def _redraws() -> bool:
    """Whether lines can be redrawn: on a terminal whose messages know of them, on one rank."""
    return sys.stdout.isatty() and any(
        isinstance(handler, TerminalHandler) and handler.level < logging.WARNING
        for handler in MMLogger.get_current_instance().handlers
    )


def _draw_line(text: str) -> None:
    global _line_is_open
    width = shutil.get_terminal_size().columns - 1
    sys.stdout.write(f'\r{text[:width]}\x1b[K')
    sys.stdout.flush()
    _line_is_open = True


def _clear_line() -> None:
    global _line_is_open
    if _line_is_open:
        sys.stdout.write('\r\x1b[K')
    _line_is_open = False


def _speaker() -> str:
    """Name of the module that a message comes from."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get('__name__', '').startswith(LOGGING):
        frame = frame.f_back
    return frame.f_globals.get('__name__', '') if frame is not None else ''


def _is_shown(speaker: str) -> bool:
    return speaker.partition('.')[0] not in FRAMEWORK and not speaker.startswith(TABLES)


def format_duration(seconds: float) -> str:
    """Duration as people say it: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f'{rest} s'
    hours, minutes_left = divmod(minutes, 60)
    return f'{hours} h {minutes_left} min' if hours else f'{minutes} min {rest} s'
