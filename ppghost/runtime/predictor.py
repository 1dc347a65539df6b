"""The engine as a predictor (see `ppghost.predict.Predictor`).

Ground: never paddle; of ours only the rock.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from pathlib import Path
from typing import Union

import numpy as np

from ppghost.errors import ArtifactError, GhostError, ToolMissingError
from ppghost.runtime.library import Facts, load_engine

ERROR_BYTES = 512
PRECISIONS = ("fp32", "bf16")


class GhostPredictor:
    """A shipped GhostNet in ppghost's own engine; a context manager that releases it.

    One predictor serves one thread at a time; `clone` gives another one over the same weights, and calls run
    side by side, as they leave Python's lock.

    Args:
        program: the network's steps, `inference.ghost`.
        weights: `inference.pdiparams`, the weights of the same export.
        threads: how many threads one call uses, the calling one among them.
        precision: "fp32"; or "bf16", which rounds weights and the inputs of 1x1 convolutions to bfloat16 and
            sums in float32, by the AMX tiles of recent Xeons.
        instructions: the best instruction set to use: avx512, avx2 or baseline; "" for the best there is.

    Attributes:
        engine: "ghost".
        precision: the numbers that it computes with.
        facts: what the engine tells about the network.

    Side effects: the first use on a machine compiles the engine (seconds).

    Raises:
        ArtifactError: the files cannot be read, or do not belong together.
        GhostError: `threads`, `precision` or `instructions` is not accepted.
        ToolMissingError: there is no C compiler, or no bfloat16 in this processor.
    """

    engine = "ghost"

    def __init__(
        self,
        program: Union[str, Path],
        weights: Union[str, Path],
        threads: int = 1,
        precision: str = "fp32",
        *,
        instructions: str = "",
    ) -> None:
        if precision not in PRECISIONS:
            raise GhostError(f"precision is {precision!r}; accepted: {', '.join(PRECISIONS)}.")
        library = load_engine()
        if precision == "bf16" and not library.ghost_has_bf16():
            raise ToolMissingError(
                "precision is 'bf16', but this processor has no AMX tiles, or the system keeps them from "
                "programs (Linux 5.16 and later gives them). Use precision fp32."
            )
        error = ctypes.create_string_buffer(ERROR_BYTES)
        words = (os.fsencode(program), os.fsencode(weights), precision.encode(), instructions.encode())
        network = library.ghost_open(*words, error, ERROR_BYTES)
        if not network:
            raise ArtifactError(_text(error))
        self.precision = precision
        try:
            self._start(library, network, threads)
        finally:
            library.ghost_close(network)  # the session keeps it alive

    def _start(self, library: ctypes.CDLL, network: int, threads: int) -> None:
        error = ctypes.create_string_buffer(ERROR_BYTES)
        session = library.ghost_start(network, threads, error, ERROR_BYTES)
        if not session:
            raise GhostError(_text(error))
        self._library = library
        self._network = network
        self._session = session
        self._release = weakref.finalize(self, library.ghost_stop, session)
        self.facts: Facts = library.ghost_facts(network)

    def clone(self, threads: int = 1) -> GhostPredictor:
        """Return a predictor of its own, with as many threads, that shares the weights.

        Raises:
            GhostError: `threads` is not accepted, or this predictor was released.
        """
        self._check_open()
        other = object.__new__(GhostPredictor)
        other.precision = self.precision
        other._start(self._library, self._network, threads)
        return other

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return scores `float32 [N, classes]` for `float32 [N, channels, H, W]`, RGB, normalised.

        Probabilities or logits, as the program says. Any N, H and W; another size than the last call's costs
        a moment for planning.

        Raises:
            GhostError: the array has another shape or type, or there is no memory.
        """
        self._check_open()
        if images.ndim != 4 or images.shape[1] != self.facts.channels or images.dtype != np.float32:
            raise GhostError(
                f"The engine got {images.dtype} {list(images.shape)}; "
                f"accepted: float32 [N, {self.facts.channels}, H, W]."
            )
        images = np.ascontiguousarray(images)
        batch, _, height, width = images.shape
        scores = np.empty((batch, self.facts.classes), np.float32)
        error = ctypes.create_string_buffer(ERROR_BYTES)
        sizes = (batch, height, width)
        if self._library.ghost_run(
            self._session, images.ctypes.data, *sizes, scores.ctypes.data, error, ERROR_BYTES
        ):
            raise GhostError(_text(error))
        return scores

    def __enter__(self) -> GhostPredictor:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Release threads and memory; the weights go with the last clone."""
        self._release()

    def _check_open(self) -> None:
        if not self._release.alive:
            raise GhostError("This predictor was released. Make a new one.")


def _text(error: ctypes.Array[ctypes.c_char]) -> str:
    return error.value.decode("utf-8", errors="replace")
