"""How long a training step takes: ours, ours with Paddle's ops, PaddleClas' network, and timm's on PyTorch.

Each program is a process of its own, in its own environment, and answers in turns. A step is forward, loss,
backward and an update with momentum, in float32 on a CPU, on random pictures.

Door: imports environments and the rock; `inside/training.py` imports the networks.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.bench.workers import Pace, Progress, Race, Worker, WorkerEnded, started_worker
from ppghost.environments import PADDLECLAS, TIMM, Environment, ensure_environment
from ppghost.errors import GhostError, ToolMissingError
from ppghost.machine import usable_processors

CLASS_NUM = 1000
TIMM_NAMES = {
    "GhostNet_x0_5": "ghostnet_050",
    "GhostNet_x1_0": "ghostnet_100",
    "GhostNet_x1_3": "ghostnet_130",
}
MODELS = tuple(TIMM_NAMES)
BATCH_SIZES = {64: 64, 96: 32, 224: 16}
SIZES = tuple(BATCH_SIZES)

# Slow programs do one step in a turn, fast ones several.
PACE = Pace(turn_seconds=1.0, most_calls=10)


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
            "part": "training",
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
    machine = {"machine": platform.machine(), "system": platform.system(), "cpus": usable_processors()}
    result = Comparison(threads or usable_processors(), machine)
    pythons = _find_pythons(names, result, progress)
    deadline = time.monotonic() + budget_seconds
    for number, setting in enumerate(settings):
        share = (deadline - time.monotonic()) / (len(settings) - number)
        with ExitStack() as stack:
            workers = _start(setting, pythons, result, stack)
            race = Race(workers, PACE)
            share_ends = time.monotonic() + share
            race.run(rounds, share_ends, _progress_of(setting, number, progress))
        result.missing += [_sentence(setting, name, error) for name, error in race.ended.items()]
        result.measurements += [
            Measurement(setting, name, series.ms, series.peak_bytes) for name, series in race.series.items()
        ]
    progress(len(settings), "done")
    if not result.measurements:
        raise ToolMissingError("Nothing could be measured. " + " ".join(result.missing))
    return result


def _progress_of(setting: Setting, number: int, progress: Progress) -> Progress:
    def tell(part: float, name: str) -> None:
        progress(number + part, f"{setting.model} {setting.size} px, {COMPETITORS[name].title}")

    return tell


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
        name: stack.enter_context(
            started_worker(
                COMPETITORS[name].job(setting, result.threads),
                python,
                result.threads,
                is_ours=COMPETITORS[name].environment is None,
                variables=COMPETITORS[name].variables,
            )
        )
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
