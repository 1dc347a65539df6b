"""The measured programs: each a process of its own, which waits for orders, and the turns that they take.

They answer in turns, so that whatever else the machine does meets all alike; ratios are taken within a round.

Door: imports the ground alone; what is measured is imported by the files of `inside`, in their own processes.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.environments import variables_for_others

# OpenMP's threads spin for a fifth of a second after their last work.
PAUSE_SECONDS = 0.25
LEAST_ROUNDS = 2
# Longer than any compiler that was seen at work behind one order.
LONGEST_ANSWER_SECONDS = 600
_LINES_OF_OUTPUT = 6
_GOODBYE_SECONDS = 20

Progress = Callable[[float, str], None]
"""Takes how many settings are done, with parts of one, and what runs now."""


class WorkerEnded(Exception):  # noqa: N818 - it ended; the message says how
    """A measured program is gone; the message ends with its last words."""


class Worker:
    """A measured program that runs and waits for orders.

    Args:
        process: the program.
        complaints: where its standard error goes.
        longest_seconds: how long an answer may take.
    """

    def __init__(
        self,
        process: subprocess.Popen[str],
        complaints: Path,
        longest_seconds: float = LONGEST_ANSWER_SECONDS,
    ) -> None:
        self._process = process
        self._complaints = complaints
        self._longest_seconds = longest_seconds

    def ask(self, **order: Any) -> dict[str, Any]:
        """Return the answer to an order; the part that was started says what may be ordered.

        Raises:
            WorkerEnded: the program has died.
        """
        assert self._process.stdin is not None, "a pipe was asked for"
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerEnded(self._last_words()) from None
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Return the next answer; a program that gives none for ten minutes is ended.

        Raises:
            WorkerEnded: the program has died or was ended.
        """
        assert self._process.stdout is not None, "a pipe was asked for"
        was_ended = threading.Event()

        def end() -> None:
            was_ended.set()
            self._process.kill()

        patience = threading.Timer(self._longest_seconds, end)
        patience.start()
        try:
            line = self._process.stdout.readline()
        finally:
            patience.cancel()
        if was_ended.is_set():
            raise WorkerEnded(f"it gave no answer for {self._longest_seconds:.0f} s and was ended.")
        if not line.endswith("\n"):
            raise WorkerEnded(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        lines = self._complaints.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "\n".join([f"its process ended with code {code}.", *lines[-_LINES_OF_OUTPUT:]])


def cpus_for(threads: int) -> list[int]:
    """Return the CPUs that a program of so many threads stays on; empty where a system cannot say."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    # From the end: systems serve their interrupts on the first.
    return sorted(os.sched_getaffinity(0))[-threads:]


@contextmanager
def started_worker(
    job: Mapping[str, Any],
    python: Path,
    threads: int,
    *,
    is_ours: bool,
    variables: Optional[Mapping[str, str]] = None,
) -> Iterator[Worker]:
    """Start one program; it ends with the block.

    Args:
        job: what `inside/serve.py` is told; `cpus` is filled in here.
        python: interpreter of its environment.
        threads: how many threads, and CPUs, it has.
        is_ours: whether it imports ppghost, this one.
        variables: environment variables of its process, besides this one's.
    """
    environ = variables_for_others()
    environ.update(variables or {}, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    if is_ours:
        environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    program = Path(__file__).parent / "inside" / "serve.py"
    with tempfile.TemporaryDirectory() as folder:
        complaints = Path(folder) / "stderr"
        with (
            complaints.open("w") as sink,
            subprocess.Popen(
                [str(python), str(program), json.dumps({**job, "cpus": cpus_for(threads)})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env=environ,
                text=True,
            ) as process,
        ):
            try:
                yield Worker(process, complaints)
                # What was asked is answered: one that does not go by itself is ended.
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=_GOODBYE_SECONDS)
            finally:
                process.kill()


@dataclass(frozen=True)
class Pace:
    """How long a turn is: as many calls as fit in `turn_seconds`, at most `most_calls`."""

    turn_seconds: float
    most_calls: int


@dataclass
class Series:
    """What one program did over the rounds.

    Attributes:
        ms: milliseconds of a call, the median of each round.
        best_ms: milliseconds of the fastest call.
        peak_bytes: the most memory that its process held.
    """

    ms: list[float] = field(default_factory=list)
    best_ms: float = math.inf
    peak_bytes: int = 0


class Race:
    """Programs that take turns at the same work.

    Args:
        workers: name -> program; one that dies is taken out of it.
        pace: how long a turn is.
        order: words of every order besides `calls`.
    """

    def __init__(
        self, workers: dict[str, Worker], pace: Pace, order: Optional[Mapping[str, Any]] = None
    ) -> None:
        self._workers = workers
        self._pace = pace
        self._order = dict(order or {})
        self._calls = dict.fromkeys(workers, 1)
        self.series = {name: Series() for name in workers}
        self.ended: dict[str, WorkerEnded] = {}

    def run(self, rounds: int, deadline: float, progress: Progress) -> None:
        """Warm up, then measure until the rounds or the time are over.

        Args:
            rounds: the most rounds, behind one that warms up.
            deadline: of `time.monotonic`; two rounds are measured even if it has passed.
            progress: told before each turn how far this race is, from 0 to 1, and whose turn it is.
        """
        begin = time.monotonic()
        for number in range(rounds + 1):
            began = time.monotonic()
            # The order turns round, so that nobody always follows the same one.
            for name in list(self._workers)[:: 1 if number % 2 else -1]:
                by_time = (time.monotonic() - begin) / max(deadline - begin, 1e-9)
                progress(min(max(number / (rounds + 1), by_time), 1.0), name)
                self._take_turn(name, counts=number > 0)
            now = time.monotonic()
            would_be_late = now + (now - began) > deadline
            if number >= LEAST_ROUNDS and would_be_late:
                break

    def _take_turn(self, name: str, *, counts: bool) -> None:
        time.sleep(PAUSE_SECONDS)
        try:
            answer = self._workers[name].ask(calls=self._calls[name], **self._order)
        except WorkerEnded as error:
            del self._workers[name], self.series[name]
            self.ended[name] = error
            return
        seconds = statistics.median(answer["seconds"])
        self._calls[name] = max(1, min(self._pace.most_calls, int(self._pace.turn_seconds / seconds)))
        series = self.series[name]
        series.peak_bytes = answer["peak_bytes"]
        if counts:
            series.ms.append(1000 * seconds)
            series.best_ms = min(series.best_ms, 1000 * min(answer["seconds"]))


def ratios(series: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Return for each round the time of a program divided by that of the reference in the same round."""
    return [one / other for one, other in zip(series, reference)]
