"""Tuning: which of a target's engines is the fastest on this machine, measured once and remembered.

Every engine runs in a process of its own (`ppghost.export.tuning_worker`), so one that crashes takes nothing
along. First it must give the golden outputs; then all that do take turns, so that whatever else the machine
does disturbs them alike. The answer is kept beside the artifact in tuning.json, or in the cache where that
folder is read-only, and holds for one machine, one version of everything, one batch size, one precision.

Never imports Paddle: other targets tune their engines here as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import queue
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Optional

import ppghost
from ppghost.artifact import FACTS_FILE, TUNING_FILE, Artifact
from ppghost.cache import cache_dir, locked
from ppghost.config.bind import bind_plain
from ppghost.config.types import Choice
from ppghost.errors import ConfigError, GhostError, OutputError
from ppghost.files import replaced_file, sha256_of
from ppghost.machine import cpu_facts, usable_processors

_LOG = logging.getLogger(__name__)

SCHEMA = 1
TURNS = 5
READY_SECONDS = 300.0  # importing Paddle on a busy machine takes a while, building with TensorRT longer
TURN_SECONDS = 60.0
# An artifact on a shared disk may be tuned by many machines; the oldest answers go first.
_MOST_ANSWERS = 64
_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "onnxruntime", "openvino", "MNN", "ncnn")
# How far a logit may be from golden's, as a share of the largest one: bf16 keeps 8 bits of every number.
PRECISION_RTOL = {"fp16": 1e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class Wish:
    """What is to be fast.

    Attributes:
        threads: of the CPU.
        batch_size: pictures in one run.
        precision: "fp32", "bf16" or "fp16".
        model_format: one of the artifact's forms; None lets each engine take the one that it runs best.
    """

    threads: int
    batch_size: int = 1
    precision: str = "fp32"
    model_format: Optional[str] = None


@dataclass(frozen=True)
class Tuning:
    """What was measured.

    Attributes:
        engine: the fastest of those that are right.
        milliseconds: engine -> time of one run in its best turn: what else ran here only ever adds to it.
        failures: engine -> why it was not measured.
        holds_for: machine, versions, artifact and wish; for any other it is measured again.
    """

    engine: str
    milliseconds: Mapping[str, float]
    failures: Mapping[str, str]
    holds_for: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.engine not in self.milliseconds:
            raise ValueError(f"milliseconds lacks the engine '{self.engine}'")

    def __str__(self) -> str:
        times = sorted(self.milliseconds.items(), key=lambda item: item[1])
        return ", ".join(f"{engine} {time:.2f} ms" for engine, time in times)


def holds_for(artifact: Artifact, wish: Wish) -> dict[str, Any]:
    """Return everything that a measurement depends on, as plain values."""
    name, flags = cpu_facts()
    return {
        "cpu": name,
        "flags": hashlib.sha256(" ".join(sorted(flags)).encode()).hexdigest()[:12],
        "processors": usable_processors(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {"ppghost": ppghost.__version__, **_installed(_PACKAGES)},
        "artifact": artifact.facts.version,
        "facts": sha256_of(artifact.path_of(FACTS_FILE))[:12],
        **dataclasses.asdict(wish),
    }


def _installed(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed; asking does not import them."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def recall(artifact: Artifact, wish: Wish, engines: Collection[str]) -> Optional[Tuning]:
    """Return what was measured for this artifact on this machine; None if nothing was, or all has changed.

    Args:
        artifact: what is to run.
        wish: what is to be fast.
        engines: those that can be opened; an answer that names another one does not count.
    """
    wanted = holds_for(artifact, wish)
    answers = _read(artifact.path_of(TUNING_FILE))
    with suppress(OutputError):  # where there is no cache, nothing is kept in it
        answers += _read(_cached(artifact))
    return next((one for one in answers if one.holds_for == wanted and one.engine in engines), None)


def tune(
    artifact: Artifact,
    candidates: Mapping[str, Mapping[str, Any]],
    wish: Wish,
    rtol: float,
    engine_rtol: Mapping[str, float] = MappingProxyType({}),
) -> Tuning:
    """Measure engines, store what was found, and log it.

    Two tunings of one user take turns, as at once each would measure the other; the second one takes the
    answer of the first where it is its own, too.

    Args:
        artifact: what they run; its files were checked.
        candidates: engine -> options of the target's `open` for it.
        wish: threads, batch size and precision.
        rtol: the tolerance of fp32 (see `ppghost.export.target.Target`); less precise ones have their own.
        engine_rtol: the tolerance of fp32 of engines that have one of their own.

    Side effects: one process for each engine at the same time, each with the network in memory, for some
        seconds; writes tuning.json, and a lock in the cache.

    Raises:
        GhostError: none of the engines gives the right numbers.
    """
    requests = {
        engine: {
            "folder": str(artifact.folder),
            "options": dict(options),
            "batch_size": wish.batch_size,
            "rtol": PRECISION_RTOL.get(wish.precision, engine_rtol.get(engine, rtol)),
        }
        for engine, options in candidates.items()
    }
    command = [sys.executable, "-m", "ppghost.export.tuning_worker"]
    with _turn():
        known = recall(artifact, wish, candidates)
        if known is not None:
            return known
        _LOG.info("Measuring the engines %s once; this takes some seconds.", ", ".join(candidates))
        seconds, failures = measure(dict.fromkeys(requests, command), requests)
        tuning = _fastest(artifact, wish, seconds, failures)
        _store(artifact, tuning)
    return tuning


@contextmanager
def _turn() -> Iterator[None]:
    """Keep the other tunings of this user waiting."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(cache_dir() / "tuning" / "engines.lock"))
        except OutputError as error:
            _LOG.info("Another tuning at the same time would not be noticed: %s", error)
        yield


def _fastest(
    artifact: Artifact, wish: Wish, seconds: Mapping[str, Sequence[float]], failures: Mapping[str, str]
) -> Tuning:
    """Return the answer that follows from what `measure` returned, and log what was left out.

    Raises:
        GhostError: no engine got through.
    """
    for engine, reason in failures.items():
        _LOG.info("%s is left out: %s", engine, reason)
    if not seconds:
        listed = "".join(f"\n  {engine}: {reason}" for engine, reason in failures.items())
        raise GhostError(f"No engine runs {artifact.facts.name} in {artifact.folder} here:{listed}")
    milliseconds = {engine: round(1e3 * min(times), 4) for engine, times in seconds.items()}
    fastest = min(milliseconds, key=lambda engine: milliseconds[engine])
    return Tuning(fastest, milliseconds, failures, holds_for(artifact, wish))


def measure(
    commands: Mapping[str, Sequence[str]],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    ready_seconds: float = READY_SECONDS,
    turn_seconds: float = TURN_SECONDS,
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Run one process for each engine and let them take turns.

    Args:
        commands: engine -> program that speaks as `ppghost.export.tuning_worker` does.
        requests: engine -> what it is told first.
        ready_seconds: how long it may take to be ready.
        turn_seconds: how long a turn may take.

    Returns:
        Engine -> seconds of one run, one number a turn; and engine -> why it did not get through.
    """
    failures: dict[str, str] = {}
    seconds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        workers = {engine: stack.enter_context(_worker(command)) for engine, command in commands.items()}
        for engine, worker in workers.items():
            worker.say(requests[engine])
        for engine, worker in workers.items():
            answer = worker.hear(ready_seconds)
            if "ready" in answer:
                seconds[engine] = []
            else:
                failures[engine] = str(answer.get("error", f"it answered {answer}"))
        for turn in range(TURNS):
            engines = list(seconds)
            shift = turn % max(1, len(engines))
            for engine in (*engines[shift:], *engines[:shift]):
                workers[engine].say({"run": True})
                answer = workers[engine].hear(turn_seconds)
                if "seconds" in answer:
                    seconds[engine].append(float(answer["seconds"]))
                else:
                    failures[engine] = str(answer.get("error", f"it answered {answer}"))
                    del seconds[engine]
    return seconds, failures


class _Worker:
    """A process that is asked and answers with one line of JSON each; a dead one answers with an error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        # Pipes cannot be read with a time limit on every system; a queue can.
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message; a process that has gone is noticed when it should answer."""
        assert self._process.stdin is not None, "the process was started with pipes"
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            return

    def hear(self, seconds: float) -> dict[str, Any]:
        """Return the answer, or {"error": why there is none}."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return {"error": f"it did not answer within {seconds:.0f} s"}
        if not line:
            return {"error": f"its process ended (code {self._process.wait()})"}
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        return answer if isinstance(answer, dict) else {"error": f"it answered {line.strip()[:80]!r}"}

    def _listen(self) -> None:
        assert self._process.stdout is not None, "the process was started with pipes"
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


@contextmanager
def _worker(command: Sequence[str]) -> Iterator[_Worker]:
    """Start a worker that can import this ppghost; it is gone when the block ends."""
    home = str(Path(ppghost.__file__).parents[1])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # vendors' chatter; what matters comes as an answer
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        yield _Worker(process)
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class _File:
    """The content of tuning.json."""

    schema: Annotated[int, Choice((SCHEMA,))]
    answers: tuple[Tuning, ...]


def _cached(artifact: Artifact) -> Path:
    """Return where answers are kept for a folder that cannot be written.

    Raises:
        OutputError: there is no cache.
    """
    # By its hash: what a folder says of itself is no file name.
    return cache_dir() / "tuning" / f"{sha256_of(artifact.path_of(FACTS_FILE))[:12]}.json"


def _read(path: Path) -> list[Tuning]:
    """Return the answers in a file, newest first; none where it is missing or not of our form."""
    try:
        file: _File = bind_plain(json.loads(path.read_text(encoding="utf-8")), _File, source=str(path))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        _LOG.info("%s cannot be used (%s); it will be written anew.", path, error)
        return []
    return list(file.answers)


def _store(artifact: Artifact, tuning: Tuning) -> None:
    try:
        _write(artifact.path_of(TUNING_FILE), tuning)
    except OutputError as refusal:
        try:
            cached = _cached(artifact)
            _write(cached, tuning)
        except OutputError as error:
            _LOG.warning("The choice is not kept: %s", error)
        else:
            _LOG.info("%s The choice is kept in %s.", refusal, cached)


def _write(path: Path, tuning: Tuning) -> None:
    others = [answer for answer in _read(path) if answer.holds_for != tuning.holds_for]
    answers = [dataclasses.asdict(answer) for answer in (tuning, *others)][:_MOST_ANSWERS]
    with replaced_file(path) as part:
        part.write_text(json.dumps({"schema": SCHEMA, "answers": answers}, indent=2) + "\n", encoding="utf-8")
