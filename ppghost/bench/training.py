"""How long a training step takes: ours, ours with Paddle's ops, PaddleClas' network, and timm's on PyTorch.

Each program is a process of its own, in its own environment, and answers in turns, so that whatever else the
machine does meets all alike; ratios are taken within a round. A step is forward, loss, backward and an update
with momentum, in float32 on a CPU, on random pictures.

Door: imports environments and the rock; the networks are imported by `worker`, in its own process.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.environments import PADDLECLAS, TIMM, Environment, ensure_environment
from ppghost.errors import GhostError, ToolMissingError

_LOG = logging.getLogger(__name__)

CLASS_NUM = 1000
TIMM_NAMES = {
    "GhostNet_x0_5": "ghostnet_050",
    "GhostNet_x1_0": "ghostnet_100",
    "GhostNet_x1_3": "ghostnet_130",
}
MODELS = tuple(TIMM_NAMES)
BATCH_SIZES = {64: 64, 96: 32, 224: 16}
SIZES = tuple(BATCH_SIZES)

# A turn lasts about a second: slow programs do one step in it, fast ones several.
TURN_SECONDS = 1.0
MOST_STEPS = 10
LEAST_ROUNDS = 2
# OpenMP's threads spin for a fifth of a second after their last work.
PAUSE_SECONDS = 0.25
_LINES_OF_OUTPUT = 6
_GOODBYE_SECONDS = 20

Progress = Callable[[float, str], None]
"""Takes how many settings are done, with parts of one, and what runs now."""


@dataclass(frozen=True)
class Setting:
    """What is trained: a model, pictures of `size` x `size`, `batch` of them in a step."""

    model: str
    size: int
    batch: int


@dataclass(frozen=True)
class Competitor:
    """One of the compared programs.

    Attributes:
        title: what the table calls it.
        framework: paddle or torch.
        module: where the function that builds the network is.
        network: model name -> name of that function and its arguments, the number of classes among them.
        environment: where it runs; None for this one.
        variables: environment variables of its process.
    """

    title: str
    framework: str
    module: str
    network: Callable[[str], tuple[str, dict[str, Any]]]
    environment: Optional[Environment] = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def job(self, setting: Setting, threads: int) -> dict[str, Any]:
        """Return what the worker is told."""
        function, arguments = self.network(setting.model)
        return {
            "framework": self.framework,
            "module": self.module,
            "function": function,
            "arguments": arguments,
            "class_num": CLASS_NUM,
            "batch": setting.batch,
            "size": setting.size,
            "threads": threads,
        }


def _our_network(model: str) -> tuple[str, dict[str, Any]]:
    return "build_model", {"name": model, "class_num": CLASS_NUM}


# "fast" makes kernels that cannot be built an error; they would otherwise be Paddle's ops once more.
COMPETITORS: dict[str, Competitor] = {
    "ours": Competitor(
        "ppghost", "paddle", "ppghost.zoo", _our_network, variables={"PPGHOST_DEPTHWISE": "fast"}
    ),
    "native": Competitor(
        "ppghost, Paddle's ops",
        "paddle",
        "ppghost.zoo",
        _our_network,
        variables={"PPGHOST_DEPTHWISE": "native"},
    ),
    "paddleclas": Competitor(
        "PaddleClas",
        "paddle",
        "paddleclas.ppcls.arch.backbone.model_zoo.ghostnet",
        lambda model: (model, {"class_num": CLASS_NUM}),
        environment=PADDLECLAS,
    ),
    "timm": Competitor(
        "timm, PyTorch",
        "torch",
        "timm",
        lambda model: ("create_model", {"model_name": TIMM_NAMES[model], "num_classes": CLASS_NUM}),
        environment=TIMM,
    ),
}


@dataclass
class Measurement:
    """What one program did in one setting.

    Attributes:
        setting: what it trained.
        competitor: its key in `COMPETITORS`.
        step_ms: milliseconds of a step, the median of each round.
        peak_bytes: the most memory that its process held.
    """

    setting: Setting
    competitor: str
    step_ms: list[float] = field(default_factory=list)
    peak_bytes: int = 0


@dataclass
class Comparison:
    """Everything that was measured, and what could not be.

    Attributes:
        threads: threads of each program.
        machine: facts about this computer.
        frameworks: competitor -> framework with version.
        measurements: in the order of settings, then of competitors.
        missing: sentences about programs that could not be made or that ended, with the reason.
    """

    threads: int
    machine: dict[str, Any]
    frameworks: dict[str, str] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def settings_of(models: Sequence[str], sizes: Sequence[int]) -> list[Setting]:
    """Return every combination, with the batch size that belongs to the size of the pictures."""
    return [Setting(model, size, BATCH_SIZES[size]) for size in sizes for model in models]


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compare(
    settings: Sequence[Setting],
    names: Sequence[str],
    *,
    rounds: int,
    budget_seconds: float,
    threads: Optional[int] = None,
    progress: Progress = lambda _done, _note: None,
) -> Comparison:
    """Measure every program of `names` in every setting, in turns.

    Side effects: makes environments that are missing (once, gigabytes), and starts processes, which end with
    this call.

    Args:
        settings: what to train.
        names: keys of `COMPETITORS`.
        rounds: the most rounds for each setting, behind one that warms up.
        budget_seconds: the time to share between the settings; at least two rounds run, whatever it is.
        threads: threads of each program; None for all CPUs.
        progress: told before each turn.

    Raises:
        ToolMissingError: not one of the programs can run.
    """
    machine = {"machine": platform.machine(), "system": platform.system(), "cpus": cpu_count()}
    result = Comparison(threads or cpu_count(), machine)
    pythons = _find_pythons(names, result, progress)
    deadline = time.monotonic() + budget_seconds
    for number, setting in enumerate(settings):
        share = (deadline - time.monotonic()) / (len(settings) - number)
        with ExitStack() as stack:
            workers = _start(setting, pythons, result, stack)
            race = _Race(setting, workers, result)
            race.run(rounds, time.monotonic() + share, functools.partial(_tell, progress, number))
    progress(len(settings), "done")
    if not result.measurements:
        raise ToolMissingError("Nothing could be measured. " + " ".join(result.missing))
    return result


def _tell(progress: Progress, done: int, part: float, note: str) -> None:
    progress(done + part, note)


def _find_pythons(names: Sequence[str], result: Comparison, progress: Progress) -> dict[str, Path]:
    """Return the interpreter of each program; note those whose environment cannot be made."""
    pythons = {}
    for name in names:
        environment = COMPETITORS[name].environment
        progress(0, f"the environment of {COMPETITORS[name].title}")
        try:
            pythons[name] = ensure_environment(environment) if environment else Path(sys.executable)
        except GhostError as error:
            result.missing.append(f"{COMPETITORS[name].title} is left out: {error}")
    return pythons


def _start(
    setting: Setting, pythons: Mapping[str, Path], result: Comparison, stack: ExitStack
) -> dict[str, Worker]:
    """Start the programs side by side, and return those that are ready."""
    started = {
        name: stack.enter_context(_worker(COMPETITORS[name], setting, python, result.threads))
        for name, python in pythons.items()
    }
    ready = {}
    for name, worker in started.items():
        try:
            result.frameworks[name] = worker.hear()["framework"]
            ready[name] = worker
        except WorkerEnded as error:
            result.missing.append(_sentence(setting, name, error))
    return ready


def _sentence(setting: Setting, name: str, error: Exception) -> str:
    return f"{COMPETITORS[name].title} is left out for {setting.model} at {setting.size} px: {error}"


class _Race:
    """The rounds of one setting."""

    def __init__(self, setting: Setting, workers: dict[str, Worker], result: Comparison) -> None:
        self._setting = setting
        self._workers = workers
        self._result = result
        self._measured = {name: Measurement(setting, name) for name in workers}
        self._steps = dict.fromkeys(workers, 1)

    def run(self, rounds: int, deadline: float, progress: Progress) -> None:
        """Warm up, then measure until the rounds or the time are over."""
        for number in range(rounds + 1):
            began = time.monotonic()
            # The order turns round, so that nobody always follows the same one.
            for name in list(self._workers)[:: 1 if number % 2 else -1]:
                what = f"{self._setting.model} {self._setting.size} px, {COMPETITORS[name].title}"
                progress(number / (rounds + 1), what)
                self._take_turn(name, counts=number > 0)
            now = time.monotonic()
            would_be_late = now + (now - began) > deadline
            if number >= LEAST_ROUNDS and would_be_late:
                break
        self._result.measurements += self._measured.values()

    def _take_turn(self, name: str, *, counts: bool) -> None:
        time.sleep(PAUSE_SECONDS)
        try:
            answer = self._workers[name].measure(self._steps[name])
        except WorkerEnded as error:
            del self._workers[name], self._measured[name]
            self._result.missing.append(_sentence(self._setting, name, error))
            return
        step_seconds = statistics.median(answer["seconds"])
        self._steps[name] = max(1, min(MOST_STEPS, int(TURN_SECONDS / step_seconds)))
        self._measured[name].peak_bytes = answer["peak_bytes"]
        if counts:
            self._measured[name].step_ms.append(1000 * step_seconds)


class WorkerEnded(Exception):  # noqa: N818 - it ended; the message says how
    """A measured program is gone; the message ends with its last words."""


class Worker:
    """A measured program that runs and waits for orders."""

    def __init__(self, process: subprocess.Popen[str], complaints: Path) -> None:
        self._process = process
        self._complaints = complaints

    def measure(self, steps: int) -> dict[str, Any]:
        """Return seconds of each step, and the peak of memory in bytes.

        Raises:
            WorkerEnded: the program has died.
        """
        assert self._process.stdin is not None, "a pipe was asked for"
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerEnded(self._last_words()) from None
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            WorkerEnded: the program has died.
        """
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        if not line:
            raise WorkerEnded(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        lines = self._complaints.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "\n".join([f"its process ended with code {code}.", *lines[-_LINES_OF_OUTPUT:]])


@contextmanager
def _worker(competitor: Competitor, setting: Setting, python: Path, threads: int) -> Iterator[Worker]:
    """Start one program; it ends with the block."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    variables.update(competitor.variables, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    if competitor.environment is None:
        variables["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    program = Path(__file__).with_name("worker.py")
    with tempfile.TemporaryDirectory() as folder:
        complaints = Path(folder) / "stderr"
        with (
            complaints.open("w") as sink,
            subprocess.Popen(
                [str(python), str(program), json.dumps(competitor.job(setting, threads))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env=variables,
                text=True,
            ) as process,
        ):
            try:
                yield Worker(process, complaints)
                process.communicate(timeout=_GOODBYE_SECONDS)
            finally:
                process.kill()
