"""ONNX Runtime in a process of its own, so that its packages need not fit ours.

    with OnnxProcess(Path("model.onnx"), threads=2) as network:
        scores = network(images)

It runs in the isolated environment `onnxruntime`, made when it is first needed; in this interpreter's own
packages where ONNX Runtime is among them. Ground: never paddle.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

import numpy as np

from ppghost.environments import ONNXRUNTIME, ensure_environment
from ppghost.errors import ArtifactError, ConfigError, GhostError

_GOODBYE_SECONDS = 10
_LINES_OF_OUTPUT = 6


class OnnxProcess:
    """A predictor (see `ppghost.predict.Predictor`) that is an ONNX file in another process.

    Args:
        model: the file.
        threads: how many threads its operators may use.

    Attributes:
        version: ONNX Runtime's.
        input: name of the input.
        shape: sides of the input; None where the file leaves one open.
        seconds: how long the network alone took for the last batch.

    Raises:
        ToolMissingError: the environment cannot be made.
        ArtifactError: ONNX Runtime cannot use the file, or it has not one input of float32.
    """

    def __init__(self, model: Path, threads: int) -> None:
        self._model = model
        self._complaints = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [
                    str(interpreter()),
                    str(Path(__file__).with_name("onnx_worker.py")),
                    str(model.resolve()),
                    str(threads),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
            )
            facts = self._hear()
            self.version: str = facts["version"]
            self.input, self.shape = self._only_input(facts["inputs"])
        except BaseException:
            self.close()
            raise
        self.seconds = 0.0

    def _only_input(self, inputs: list[dict[str, Any]]) -> tuple[str, tuple[Optional[int], ...]]:
        if len(inputs) != 1 or inputs[0]["type"] != "tensor(float)":
            given = ", ".join(f"{each['name']} {each['type']}" for each in inputs)
            raise ArtifactError(f"'{self._model}' has the inputs {given}; accepted: one, tensor(float).")
        return inputs[0]["name"], tuple(inputs[0]["shape"])

    def sides_for(self, batch: int) -> tuple[int, int, int]:
        """Return channels, height and width of an input.

        Raises:
            ConfigError: the file was exported for another batch size.
            ArtifactError: it leaves the sides open, or takes no pictures.
        """
        size, *sides = self.shape
        if size not in (None, batch):
            raise ConfigError(
                f"The batch size is {batch}, but '{self._model}' was exported with {size}. Take {size}, or "
                "export it with a batch that is left open: ppghost export --target onnx --batch dynamic"
            )
        if len(sides) != 3 or None in sides:
            raise ArtifactError(
                f"The input of '{self._model}' is {list(self.shape)}; accepted: [N, 3, height, width]."
            )
        channels, height, width = (side or 0 for side in sides)
        return channels, height, width

    def rows(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, classes]` for `float32 [N, 3, H, W]`.

        Raises:
            ArtifactError: ONNX Runtime cannot compute it, or the output is no row of scores for each picture.
        """
        scores = self(images)
        if (
            scores.ndim < 2
            or scores.shape[0] != len(images)
            or scores.size != scores.shape[0] * scores.shape[1]
        ):
            raise ArtifactError(
                f"'{self._model}' gives {list(scores.shape)} for {len(images)} pictures; accepted: "
                "[N, classes]."
            )
        return scores.reshape(len(images), -1)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the first output, `float32 [N, ...]`, for `float32 [N, 3, H, W]`.

        Raises:
            ArtifactError: ONNX Runtime cannot compute it.
        """
        images = np.ascontiguousarray(images, np.float32)
        assert self._process.stdin is not None, "a pipe was asked for"
        try:
            self._process.stdin.write(json.dumps({"shape": images.shape}).encode() + b"\n")
            self._process.stdin.write(images.data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise GhostError(self._last_words()) from None
        facts = self._hear()
        self.seconds = facts["seconds"]
        shape = facts["shape"]
        assert self._process.stdout is not None, "a pipe was asked for"
        data = self._process.stdout.read(4 * math.prod(shape))
        return np.frombuffer(data, np.float32).reshape(shape)

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        if not line:
            raise GhostError(self._last_words())
        facts: dict[str, Any] = json.loads(line)
        if "error" in facts:
            raise ArtifactError(f"ONNX Runtime cannot run '{self._model}': {facts['error']}")
        return facts

    def _last_words(self) -> str:
        code = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return "\n".join(
            [
                f"ONNX Runtime's process ended with code {code}, running '{self._model}'.",
                *lines[-_LINES_OF_OUTPUT:],
            ]
        )

    def close(self) -> None:
        """End the process."""
        process: Optional[subprocess.Popen[bytes]] = getattr(self, "_process", None)
        if process is not None:
            try:
                process.communicate(timeout=_GOODBYE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        self._complaints.close()

    def __enter__(self) -> OnnxProcess:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """End the process."""
        self.close()


def interpreter() -> Path:
    """Return the interpreter that has ONNX Runtime: this one, or that of the isolated environment.

    Raises:
        ToolMissingError: the environment cannot be made.
    """
    if importlib.util.find_spec("onnxruntime") is not None:
        return Path(sys.executable)
    return ensure_environment(ONNXRUNTIME)
