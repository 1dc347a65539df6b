"""Where a run tells how it goes: log lines on the terminal and in a file, a progress bar, curves.

Program: may print and configure logging.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Optional, TextIO

from tqdm import tqdm

from ppghost.errors import OutputError, ToolMissingError

# PaddleClas' logger name stands in every line; parsers of its logs look for it.
LINE_FORMAT = "[%(asctime)s] ppcls %(levelname)s: %(message)s"
DATE_FORMAT = "%Y/%m/%d %H:%M:%S"

EXIT_INTERRUPTED = 130

_LOG = logging.getLogger("ppghost")


class _Enduring(logging.Handler):
    """Give a log up where it cannot be written, instead of showing a traceback for every line of it."""

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say once that no more lines are written here."""
        self.addFilter(lambda record: False)
        with contextlib.suppress(OSError):
            print(
                f"The log {self.name} cannot be written any more ({sys.exc_info()[1]}); the work goes on.",
                file=sys.stderr,
            )

    def close(self) -> None:
        """Close the log; what could not be written was told."""
        with contextlib.suppress(OSError):
            super().close()


class _Terminal(_Enduring, logging.StreamHandler):
    """Write lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class _File(_Enduring, logging.FileHandler):
    """Write lines to a file."""


def this_rank() -> int:
    """Return the number that `paddle.distributed.launch` gave this process, 0 when alone."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0"))


@contextlib.contextmanager
def logging_to(
    log_file: Optional[Path], log_ranks: Collection[int] = (0,), *, terminal: Optional[TextIO] = None
) -> Iterator[None]:
    """Send the log to the terminal and to a file, from the given ranks; the others tell errors only.

    `terminal` is standard output unless given: standard error where the results go to standard output.

    Where one of the two fails later, the other goes on.

    Raises:
        OutputError: the file cannot be written.
    """
    handlers: list[logging.Handler] = [_Terminal(terminal or sys.stdout)]
    handlers[0].name = "on the terminal"
    if log_file is not None and this_rank() == 0:
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(_File(log_file, "a", encoding="utf-8"))
            handlers[1].name = str(log_file)
        except OSError as error:
            raise OutputError(
                f"The log {log_file} cannot be written: {error.strerror}. Choose another folder with "
                "-o Global.output_dir=..."
            ) from error
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LINE_FORMAT, DATE_FORMAT))
        _LOG.addHandler(handler)
    before = _LOG.level, _LOG.propagate
    _LOG.setLevel(logging.INFO if this_rank() in log_ranks else logging.ERROR)
    _LOG.propagate = False
    try:
        yield
    finally:
        for handler in handlers:
            _LOG.removeHandler(handler)
            handler.close()
        _LOG.setLevel(before[0])
        _LOG.propagate = before[1]


class Console:
    """The reporter of a run (`ppghost.train.loop.Reporter`): log lines, a bar on a terminal, VisualDL curves.

    Args:
        curves: a VisualDL writer, None without.
    """

    def __init__(self, curves: Any = None) -> None:
        self._curves = curves
        self._bar: Optional[tqdm[Any]] = None
        self._shows_bar = sys.stderr.isatty() and this_rank() == 0

    def line(self, text: str) -> None:
        """Log one line."""
        _LOG.info("%s", text)

    def progress(self, phase: str, title: str, done: int, total: int, note: str) -> None:
        """Draw how far the phase is, with the time left."""
        if not self._shows_bar:
            return
        name = f"{phase} {title}"
        if self._bar is None or self._bar.desc != name:
            self.close_bar()
            self._bar = tqdm(total=total, initial=done - 1, desc=name, leave=False, unit="batch")
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close_bar()

    def close_bar(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def scalar(self, name: str, value: float, step: int) -> None:
        """Store one point of a curve."""
        if self._curves is not None:
            self._curves.add_scalar(tag=name, step=step, value=value)

    def close(self) -> None:
        """Finish bar and curves."""
        self.close_bar()
        if self._curves is not None:
            self._curves.close()


def visualdl_writer(folder: Path) -> Any:
    """Return a VisualDL writer for `folder`.

    Raises:
        ToolMissingError: VisualDL is not installed.
    """
    try:
        from visualdl import LogWriter
    except ImportError as error:
        raise ToolMissingError(
            f"Global.use_visualdl is True, but VisualDL cannot be imported ({error}). "
            "Install it with `pip install visualdl`, or leave it out: -o Global.use_visualdl=False"
        ) from error
    return LogWriter(logdir=str(folder))


class StopSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish that the loop grants after the current update.

    A second Ctrl-C interrupts at once. Use as a context manager; call it to ask whether to stop.
    """

    def __init__(self) -> None:
        self.received: Optional[int] = None

    def __call__(self) -> bool:
        """Say whether to stop."""
        return self.received is not None

    def _receive(self, number: int, _: Optional[FrameType]) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        _LOG.info(
            "Stopping after the current step, or after the evaluation that is running, and saving; press "
            "Ctrl-C again to stop at once without saving."
        )

    def __enter__(self) -> StopSignal:
        self._before = {
            number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
