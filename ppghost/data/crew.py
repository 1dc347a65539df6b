"""Crews: who runs the reader. In the training process itself, or in worker processes.

Worker processes are forked, so they start in milliseconds, need no `__main__` guard, and know the datasets
without copying them. Threads were measured too: they cost the same processor time per picture, but they and
the training loop would wait for each other at Python's lock. Each worker has a pipe of its own; there is no
lock that a killed worker could keep.

Must not import paddle.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import cv2

from ppghost.data.reader import Outcome, Reader, Task
from ppghost.errors import ConfigError, DataError

# How long a worker may take to leave when it is asked to, in seconds; then it is ended.
_PATIENCE_SECONDS = 2.0


class WorkerTracebackError(Exception):
    """Carries the traceback of a worker as text; the cause of the error that the worker met."""


class Crew(Protocol):
    """Runs tasks, in any order."""

    def submit(self, task: Task) -> None:
        """Take a task; returns at once."""
        ...

    def collect(self) -> list[Outcome]:
        """Return what has been done since the last call, at least one outcome; waits for it."""
        ...

    def close(self) -> None:
        """Stop and leave nothing behind; tasks that are not done are lost."""
        ...


class InlineCrew:
    """Runs tasks in this process, when outcomes are asked for (`num_workers: 0`)."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._tasks: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Take a task; returns at once."""
        self._tasks.append(task)

    def collect(self) -> list[Outcome]:
        """Run one task and return its outcome."""
        return [self._reader.attempt(self._tasks.popleft())]

    def close(self) -> None:
        """Forget the tasks."""
        self._tasks.clear()


class ProcessCrew:
    """Runs tasks in worker processes."""

    def __init__(self, reader: Reader, workers: int, *, shared: bool) -> None:
        """Start the workers.

        Args:
            reader: what they run.
            workers: how many.
            shared: the reader's slots are shared; False brings the rows through the pipes.

        Raises:
            ConfigError: this system cannot fork.
        """
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError(
                f"num_workers is {workers}, but this system cannot fork worker processes. Set num_workers: 0."
            )
        self._reader = reader
        self._shared = shared
        self._owner = os.getpid()
        self._workers: list[Any] = []
        self._pipes: list[Any] = []
        self._busy: list[int] = []
        with _signals_held(), warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads; workers touch none of the libraries that have them.
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
            for _ in range(workers):
                self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(self._reader, theirs, ours, self._shared), daemon=True)
        worker.start()
        theirs.close()
        self._workers.append(worker)
        self._pipes.append(ours)
        self._busy.append(0)

    def submit(self, task: Task) -> None:
        """Send a task to the worker that has least to do.

        Raises:
            DataError: that worker is gone.
        """
        number = self._busy.index(min(self._busy))
        try:
            self._pipes[number].send(task)
        except OSError as error:
            raise self._obituary(number) from error
        self._busy[number] += 1

    def collect(self) -> list[Outcome]:
        """Return what the workers have done, at least one outcome; waits for it.

        Raises:
            DataError: a worker is gone.
        """
        return [self._receive(self._pipes.index(pipe)) for pipe in wait(self._pipes)]

    def _receive(self, number: int) -> Outcome:
        try:
            outcome: Outcome = self._pipes[number].recv()
            if not self._shared and outcome.error is None:
                for block in self._reader.blocks(outcome.task):
                    self._pipes[number].recv_bytes_into(block)
        except (EOFError, OSError) as error:
            raise self._obituary(number) from error
        self._busy[number] -= 1
        if outcome.error is not None:
            outcome.error.__cause__ = WorkerTracebackError(outcome.traceback)
        return outcome

    def _obituary(self, number: int) -> DataError:
        worker = self._workers[number]
        worker.join(_PATIENCE_SECONDS)
        code = worker.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return DataError(
            f"The data worker {number} (process {worker.pid}) {how}. If memory ran out, lower "
            "loader.num_workers or sampler.batch_size."
        )

    def close(self) -> None:
        """End the workers and wait until they are gone."""
        if os.getpid() != self._owner:  # a forked child that inherited this object
            return
        for pipe in self._pipes:
            pipe.close()
        for worker in self._workers:
            worker.join(_PATIENCE_SECONDS)
            if worker.is_alive():
                worker.kill()
                worker.join()
        self._workers, self._pipes, self._busy = [], [], []


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals that a new worker would answer with the handlers of its parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_HANDLED = {signal.SIGINT, signal.SIGTERM}


def _serve(reader: Reader, pipe: Connection, other_end: Connection, shared: bool) -> None:
    """Be a worker: run tasks until the pipe ends. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    # Paddle's launcher sends SIGTERM to the whole group; the parent needs its workers until it has saved.
    os.setpgrp()
    # While this end were open, the death of the parent would not end the pipe.
    other_end.close()
    # OpenCV's threads did not survive the fork, and the workers share the cores already. Zero runs without
    # its thread pool; one would wait for those threads.
    cv2.setNumThreads(0)
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = pipe.recv()
            outcome = _portable(reader.attempt(task))
            pipe.send(outcome)
            if not shared and outcome.error is None:
                for block in reader.blocks(task):
                    pipe.send_bytes(block)


def _portable(outcome: Outcome) -> Outcome:
    """Return the outcome with an error that survives the pipe."""
    error = outcome.error
    if error is None:
        return outcome
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an exception's own pickling code may raise anything
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Outcome(outcome.task, error=error, traceback=f"in a data worker:\n{text}")
