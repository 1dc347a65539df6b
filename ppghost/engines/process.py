"""The bridge to an engine in a process of another Python: rows in, rows out.

Rows go through a file that both sides map into memory, in memory itself where the system offers a place for
that; questions and answers go through pipes. An engine that crashes becomes a sentence. Imports the rock.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppghost.environments import variables_for_others
from ppghost.errors import ArtifactError, GhostError

_LINES_OF_OUTPUT = 6
_GOODBYE_SECONDS = 5
_IN_MEMORY = Path("/dev/shm")


class EngineProcess:
    """An engine with a loaded model in a process of its own.

    Args:
        python: an interpreter that has the engine's package.
        engine: name of the engine, for `inside/run_<name>.py` and for messages.
        job: see `ppghost.engines.inside`.

    Attributes:
        version: of the engine.
        rows: how many rows every run must have; None for any number.
        seconds: how long the engine alone took for the last run.

    Raises:
        ArtifactError: the engine cannot load the files.
        GhostError: its process died.
    """

    def __init__(self, python: Path, engine: str, job: Mapping[str, Any]) -> None:
        self._title = f"The engine '{engine}' with {', '.join(map(str, job['files']))}"
        self.seconds = 0.0
        self._inputs = np.zeros(0, np.float32)
        place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="ppghost-", dir=place)
        self._complaints = tempfile.TemporaryFile()
        worker = Path(__file__).parent / "inside" / "worker.py"
        try:
            self._process = subprocess.Popen(
                [str(python), str(worker), engine, json.dumps(job), str(self._shared_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env=variables_for_others(),
            )
        except OSError as error:
            self._folder.cleanup()
            raise GhostError(f"{self._title} cannot be started with {python}: {error.strerror}.") from error
        self._release = weakref.finalize(self, _end, self._process, self._folder)
        try:
            facts = self._hear()
        except BaseException:
            self.close()
            raise
        self.version: str = facts["version"]
        self.rows: Optional[int] = facts["rows"]

    @property
    def _shared_file(self) -> Path:
        return Path(self._folder.name) / "rows"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, classes]` for `float32 [N, C, H, W]`.

        Raises:
            GhostError: the engine cannot compute it, its process died, or it was released.
        """
        if not self._release.alive:
            raise GhostError(f"{self._title} was released. Open it again.")
        if images.size > self._inputs.size:
            with self._shared_file.open("ab") as file:
                file.truncate(4 * images.size)
            self._inputs = np.asarray(np.memmap(self._shared_file, np.float32, "r+"))
        self._inputs[: images.size] = images.reshape(-1)
        assert self._process.stdin is not None, "a pipe was asked for"
        try:
            self._process.stdin.write(json.dumps({"shape": images.shape}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        facts = self._hear()
        self.seconds = facts["seconds"]
        return np.frombuffer(self._read(4 * math.prod(facts["shape"])), np.float32).reshape(facts["shape"])

    def _hear(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            ArtifactError: it is a refusal.
            GhostError: there is none: the process died.
        """
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        facts: dict[str, Any] = json.loads(line)
        if "error" in facts:
            raise ArtifactError(f"{self._title} cannot go on: {facts['error']}")
        return facts

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None, "a pipe was asked for"
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise self._death()
        return data

    def _death(self) -> GhostError:
        """Return the error of a process that has ended, with its last words."""
        code = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return GhostError(
            "\n".join(
                [f"{self._title} crashed: its process ended with code {code}.", *lines[-_LINES_OF_OUTPUT:]]
            )
        )

    def close(self) -> None:
        """End the process; a second time does nothing."""
        self._inputs = np.zeros(0, np.float32)
        self._release()
        self._complaints.close()


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    try:
        process.communicate(timeout=_GOODBYE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    finally:
        folder.cleanup()
