"""An engine with a model as a predictor (see `ppghost.predict.Predictor`).

Imports environments and the rock.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from ppghost.engines.files import model_files
from ppghost.engines.process import EngineProcess
from ppghost.engines.table import Engine, engine_named, is_importable
from ppghost.environments import ensure_environment
from ppghost.errors import ArtifactError, GhostError


@dataclass(frozen=True)
class Order:
    """What is to be opened.

    Attributes:
        engine: runs it.
        model: the ONNX file.
        input_shape: channels, height, width of a row.
        threads: how many threads the engine may use.
        batch_size: how many rows a call has, as a rule.
        precision: the numbers that the model computes with.
        python: the Python of the engine's process; None for this process.
    """

    engine: Engine
    model: Path
    input_shape: tuple[int, int, int]
    threads: int
    batch_size: int
    precision: str
    python: Optional[Path]


def open_engine(
    name: str,
    model: Path,
    input_shape: tuple[int, int, int],
    *,
    threads: int = 1,
    batch_size: int = 1,
    precision: str = "fp32",
) -> EngineNetwork:
    """Return a predictor: in this process where the engine can be imported, else in one of its environment.

    Side effects: makes the environment, and MNN's or ncnn's form of the model, where they are missing.

    Args:
        name: a key of `ENGINES`.
        model: an ONNX file with one input `float32 [N, C, H, W]` and one output `float32 [N, classes]`.
        input_shape: C, H, W.
        threads: how many threads the engine may use, at least 1.
        batch_size: how many rows a call has, as a rule; any other number is right too.
        precision: the numbers that the model computes with, for those who ask: "fp32", "int8".

    Raises:
        GhostError: there is no such engine, or it crashed.
        ToolMissingError: its environment cannot be made.
        ArtifactError: the engine cannot load the model.
    """
    engine = engine_named(name)
    is_here = is_importable(engine)
    python: Optional[Path] = None
    if not is_here:
        python = ensure_environment(engine.environment)
    elif engine.is_alone:
        python = Path(sys.executable)
    return EngineNetwork(Order(engine, Path(model), input_shape, threads, batch_size, precision, python))


class EngineNetwork:
    """A model in an engine; a context manager that releases it.

    One serves one thread at a time; `clone` gives another one.

    Args:
        order: what to open.

    Attributes:
        engine: what users call it.
        precision: the numbers that it computes with.
        version: of the engine.
        seconds: how long the engine alone took for the rows of the last call.

    Raises:
        GhostError: as `open_engine`.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self.engine, self.precision = order.engine.name, order.precision
        job = {
            "files": [str(path) for path in model_files(order.engine, order.model, order.input_shape)],
            "threads": order.threads,
            "input_shape": order.input_shape,
            "batch": order.batch_size,
        }
        self.seconds = 0.0
        self._process: Optional[EngineProcess] = None
        self._run: Optional[Callable[[np.ndarray], np.ndarray]]
        if order.python is None:
            self.version, self._rows, self._run = _loaded_here(order.engine, job)
        else:
            self._process = EngineProcess(order.python, order.engine.name, job)
            self.version, self._rows, self._run = self._process.version, self._process.rows, self._process

    def clone(self) -> EngineNetwork:
        """Return another predictor of the same model, with one thread; it is released by itself."""
        return EngineNetwork(dataclasses.replace(self._order, threads=1))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, classes]` for `float32 [N, C, H, W]`, any N from 1.

        Where the model takes a fixed number of rows, they go through in portions; the last is filled up.

        Raises:
            GhostError: the rows have another shape, the engine cannot compute them, or it crashed.
            ArtifactError: it does not give a row of scores for each of them.
        """
        shape = self._order.input_shape
        if self._run is None:
            raise GhostError("This predictor was released. Open another one.")
        if images.ndim != 4 or images.shape[1:] != tuple(shape) or not len(images):
            raise GhostError(
                f"The network got {list(images.shape)}; accepted: [N, {str(list(shape))[1:]}, N at least 1."
            )
        images = np.ascontiguousarray(images, np.float32)
        rows = self._rows or len(images)
        self.seconds = 0.0
        portions = [images[start : start + rows] for start in range(0, len(images), rows)]
        outputs = [self._compute(filled(portion, rows)) for portion in portions]
        return outputs[0] if len(images) == rows else np.concatenate(outputs)[: len(images)]

    def _compute(self, images: np.ndarray) -> np.ndarray:
        assert self._run is not None, "it was checked"
        start = time.perf_counter()
        try:
            outputs = self._run(images)
        except GhostError:
            raise
        except Exception as error:
            # The engines' errors have no common base but this one.
            raise ArtifactError(
                f"The engine '{self.engine}' cannot compute {self._order.model}: {error}"
            ) from error
        self.seconds += time.perf_counter() - start if self._process is None else self._process.seconds
        if outputs.ndim < 2 or len(outputs) != len(images) or outputs.size != math.prod(outputs.shape[:2]):
            raise ArtifactError(
                f"'{self._order.model}' gives {list(outputs.shape)} for {len(images)} rows; accepted: "
                "[N, classes]."
            )
        return outputs.reshape(len(images), -1)

    def __enter__(self) -> EngineNetwork:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the model, and end the engine's process where it has one."""
        self._run = None
        if self._process is not None:
            self._process.close()


def filled(images: np.ndarray, rows: int) -> np.ndarray:
    """Return `images` with as many rows of zeros behind them as are missing."""
    missing = rows - len(images)
    return np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.float32)]) if missing else images


def _loaded_here(engine: Engine, job: dict[str, Any]) -> Any:
    """Return what the engine loads in this process.

    Raises:
        ArtifactError: it refuses the files.
    """
    module = importlib.import_module(f"ppghost.engines.inside.run_{engine.name}")
    try:
        return module.load(job)
    except Exception as error:
        # As above.
        raise ArtifactError(
            f"The engine '{engine.name}' cannot load {', '.join(job['files'])}: {error}"
        ) from error
