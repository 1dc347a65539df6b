"""Paddle Lite on this machine (x86), as a predictor; see `ppghost.predict.Predictor`.

Lite ends its process on what it cannot read, so it has one of its own. Imports the ground, never paddle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np

from ppghost.engines.process import EngineProcess
from ppghost.errors import GhostError
from ppghost.export.lite.convert import lite_python
from ppghost.export.lite.header import check_opt_version, read_nb_header


class LitePredictor:
    """A `.nb` file for x86 in Paddle Lite; a context manager that ends Lite's process.

    One serves one thread at a time and computes with one: Lite's Python package has no setting for more.
    `clone` gives another one, which computes at the same time.

    Side effect: makes the environment of Paddle Lite where it is missing.

    Args:
        model: a `.nb` file for x86 with one input `float32 [N, C, H, W]` and one output.
        input_shape: C, H, W.

    Attributes:
        engine: "lite".
        precision: "fp32".
        version: of Paddle Lite.

    Raises:
        ArtifactError: the file is no `.nb` file for this Paddle Lite.
        GhostError: Lite ended its process over it; the message holds its last words.
        ToolMissingError: the environment cannot be made.
    """

    engine = "lite"
    precision = "fp32"

    def __init__(self, model: Path, input_shape: tuple[int, int, int]) -> None:
        check_opt_version(read_nb_header(model), model)
        self._model, self._input_shape = model, input_shape
        self._process: Optional[EngineProcess] = EngineProcess(
            lite_python(), "lite", {"files": [str(model.resolve())]}
        )
        self.version = self._process.version

    @property
    def seconds(self) -> float:
        """How long Lite alone took for the last run; 0 when it was released."""
        return 0.0 if self._process is None else self._process.seconds

    def clone(self) -> LitePredictor:
        """Return another predictor of the same file, in a process of its own; it is released by itself."""
        return LitePredictor(self._model, self._input_shape)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, classes]` for `float32 [N, C, H, W]`, any N from 1.

        Raises:
            GhostError: the rows have another shape, Lite ended its process, or the predictor was released.
        """
        if self._process is None:
            raise GhostError("This predictor was released. Open another one.")
        if images.ndim != 4 or images.shape[1:] != self._input_shape or not len(images):
            raise GhostError(
                f"The network got {list(images.shape)}; accepted: [N, {str(list(self._input_shape))[1:]}, "
                "N at least 1."
            )
        return self._process(np.ascontiguousarray(images, np.float32))

    def __enter__(self) -> LitePredictor:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End Lite's process."""
        if self._process is not None:
            self._process.close()
            self._process = None
