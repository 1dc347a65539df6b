"""The supervisor: opens the port, starts the workers, starts them again when they die, ends them.

It never touches a request, and imports neither Paddle nor Paddle Serving.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import numpy as np

from ppghost.artifact import Artifact, check_artifact, read_artifact, read_golden
from ppghost.errors import GhostError, OutputError, ToolMissingError, VerificationError
from ppghost.machine import usable_processors
from ppghost.runtime import GhostPredictor
from ppghost.vision import softmax
from server.board import BOARD_FILE, READY, Board
from server.folders import own_folder, write_folders
from server.job import Job
from server.records import tell
from server.settings import Settings

_TICK_SECONDS = 0.1
_START_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 30.0
_ATOL = 1e-4


@dataclass
class _Place:
    """A worker's place: who holds it, and when the next one may be started."""

    process: subprocess.Popen[bytes]
    failures: int = 0
    due: Optional[float] = None


def serve(artifact_folder: Path, folder: Path, settings: Settings) -> int:
    """Serve an artifact until SIGTERM or Ctrl-C, and return the exit code.

    Args:
        artifact_folder: what to serve.
        folder: where logs, the board and Paddle Serving's folders are written.
        settings: see there.

    Raises:
        GhostError: the artifact or the port cannot be used, or no worker starts.
    """
    artifact = read_artifact(artifact_folder)
    check_artifact(artifact)
    engine = choose_engine(artifact, settings.op.ghostnet.engine)
    count = settings.worker_num or usable_processors()
    with own_folder(folder), _ports(settings) as (listener, rpc_port):
        write_folders(artifact, folder)
        job = Job(
            row=0,
            workers=count,
            artifact=str(artifact_folder.resolve()),
            folder=str(folder.resolve()),
            engine=engine,
            listener=listener.fileno(),
            rpc_port=rpc_port,
            settings=settings,
        )
        return _Supervisor(job).run(listener.getsockname()[1])


def choose_engine(artifact: Artifact, wanted: str) -> str:
    """Return "ghost" or "paddle"; "auto" takes the first that can run the model and gives golden outputs.

    Raises:
        ArtifactError: the artifact lacks the engine's form.
        ToolMissingError: the engine cannot be built.
        VerificationError: it does not give the golden outputs.
    """
    if wanted == "paddle" or (
        wanted == "auto" and all(model.format != "ghost" for model in artifact.facts.models)
    ):
        return "paddle"
    try:
        _check_ghost(artifact)
    except (ToolMissingError, VerificationError) as error:
        if wanted == "ghost":
            raise
        tell("the engine ghost is passed over", reason=str(error))
        return "paddle"
    return "ghost"


def _check_ghost(artifact: Artifact) -> None:
    model, golden = artifact.facts.model("ghost"), read_golden(artifact)
    images = np.concatenate([golden.tensor, golden.picture_tensor[np.newaxis]])
    expected = np.concatenate([golden.tensor_logits, golden.picture_logits[np.newaxis]])
    with GhostPredictor(artifact.path_of(model.graph), artifact.path_of(model.weights or "")) as predictor:
        scores = predictor(images)
    scores = softmax(scores) if artifact.facts.output == "logits" else scores
    difference = float(np.abs(scores - softmax(expected)).max())
    if not difference <= _ATOL:
        raise VerificationError(
            f"The engine ghost differs from golden by {difference:.2g}; accepted: {_ATOL:g}."
        )


@contextlib.contextmanager
def _ports(settings: Settings) -> Iterator[tuple[socket.socket, int]]:
    """Yield the HTTP port, bound but not open, and the number of the gRPC port, which is held.

    Raises:
        OutputError: one of them is taken, or the host is none of this machine.
    """
    with _bound(settings.host, settings.http_port, "http_port") as listener:
        # Shared, so that all workers listen on it; first alone, so that no other server does.
        _bound(settings.host, settings.rpc_port, "rpc_port").close()
        with _bound(settings.host, settings.rpc_port, "rpc_port", is_shared=True) as holder:
            yield listener, holder.getsockname()[1]


def _bound(host: str, port: int, name: str, *, is_shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place = socket.socket(family, socket.SOCK_STREAM)
    option = socket.SO_REUSEPORT if is_shared else socket.SO_REUSEADDR
    place.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        place.bind((host, port))
    except OSError as error:
        place.close()
        raise OutputError(
            f"{name}: {host}:{port} cannot be taken ({error.strerror}). Free it, or set another one (0: any)."
        ) from error
    return place


def _given_paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


class _Supervisor:
    """Holds the workers' places.

    Args:
        job: of every worker, but for its row.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        path = Path(job.folder) / BOARD_FILE
        path.unlink(missing_ok=True)
        self._board = Board(path, job.workers)
        self._stop = threading.Event()
        self._places: list[_Place] = []
        self._spare: Optional[subprocess.Popen[bytes]] = None

    def run(self, http_port: int) -> int:
        """Start, watch and end the workers; return the exit code."""
        earlier = {
            number: signal.signal(number, lambda *_: self._stop.set())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self._places = [_Place(self._start(row)) for row in range(self._job.workers)]
            self._wait_until_ready()
            if not self._stop.is_set():
                self._say_ready(http_port)
            while not self._stop.wait(_TICK_SECONDS):
                self._tend()
            tell("stopping")
            return self._end()
        finally:
            for process in [place.process for place in self._places] + [self._spare]:
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Return a worker that imports what it needs and waits for its job."""
        return subprocess.Popen(
            [sys.executable, "-m", "server.worker", self._job.engine],
            cwd=self._job.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, _given_paths()))},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # Paddle Serving prints there; what matters it logs as well
            pass_fds=(self._job.listener,),
            start_new_session=True,
        )

    def _start(self, row: int) -> subprocess.Popen[bytes]:
        """Give a row to the spare worker, or to a new one."""
        self._board.begin(row)
        process, self._spare = self._spare or self._spawn(), None
        assert process.stdin is not None, "a pipe was asked for"
        with contextlib.suppress(BrokenPipeError):  # it died already: the next tick sees that
            process.stdin.write(replace(self._job, row=row).to_json().encode() + b"\n")
            process.stdin.flush()
        return process

    def _wait_until_ready(self) -> None:
        """Wait for all workers.

        Raises:
            GhostError: one of them cannot start.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._stop.wait(_TICK_SECONDS) and self._board.states() != [READY] * len(self._places):
            dead = [place.process.returncode for place in self._places if place.process.poll() is not None]
            if dead or time.monotonic() > deadline:
                reason = (
                    f"ended with code {dead[0]}" if dead else f"did not start in {_START_SECONDS:g} seconds"
                )
                raise GhostError(f"A worker {reason}; what it wrote before tells why. Nothing is served.")

    def _say_ready(self, http_port: int) -> None:
        host = f"[{self._job.settings.host}]" if ":" in self._job.settings.host else self._job.settings.host
        facts = {
            "event": "ready",
            "http": f"http://{host}:{http_port}",
            "rpc": f"{host}:{self._job.rpc_port}",
            "engine": self._job.engine,
            "workers": self._job.workers,
            "pid": os.getpid(),
            "worker_pids": [place.process.pid for place in self._places],
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()

    def _tend(self) -> None:
        """Start dead workers again: at once, and after a growing pause where they do not get ready.

        One spare has done its imports already, so it is ready within a second.
        """
        states = self._board.states()
        if self._spare is None and states.count(READY) == len(states):
            self._spare = self._spawn()
        for row, place in enumerate(self._places):
            if place.due is not None:
                if time.monotonic() >= place.due:
                    place.process, place.due = self._start(row), None
            elif place.process.poll() is not None:
                pause = min(2.0**place.failures - 1.0, _LONGEST_PAUSE_SECONDS)
                tell("worker died", worker=row, code=place.process.returncode, again_in_seconds=pause)
                self._board.clear(row)
                place.failures += 1
                place.due = time.monotonic() + pause
            elif states[row] == READY:
                place.failures = 0

    def _end(self) -> int:
        for place in self._places:
            if place.process.poll() is None:
                place.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._job.settings.limits.stop_seconds + 5.0
        for place in self._places:
            with contextlib.suppress(subprocess.TimeoutExpired):
                place.process.wait(max(0.0, deadline - time.monotonic()))
        codes = [place.process.poll() for place in self._places if place.due is None]
        tell("stopped", codes=codes)
        return 0 if not any(codes) and None not in codes else 1
