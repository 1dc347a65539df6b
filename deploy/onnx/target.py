"""ONNX: one file that ONNX Runtime, OpenVINO, ncnn and MNN run, and that other devices' converters read.

Nothing here imports Paddle or an engine: those live where `ppghost.engines` finds them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ppghost.artifact import Artifact, check_artifact
from ppghost.engines import ENGINES, is_at_hand, open_engine
from ppghost.engines.files import rows_of
from ppghost.errors import GhostError, suggest
from ppghost.export.onnx import OnnxOptions, export_onnx
from ppghost.export.target import MissingTool
from ppghost.export.tuning import Wish, recall, tune
from ppghost.machine import usable_processors

if TYPE_CHECKING:
    from ppghost.predict import Predictor

# Loaded by its path, this module has no name below ppghost's, where the command line listens.
_LOG = logging.getLogger("ppghost.deploy.onnx")
_USUAL = "onnxruntime"
"""What proves an export, so it is there."""


class OnnxTarget:
    """Converts Paddle's artifact to ONNX; opens it with any engine that runs ONNX."""

    name = "onnx"
    consumes = "paddle"
    # Measured over all widths: 9e-6 of the largest logit.
    atol = 1e-6
    rtol = 1e-5
    engine_rtol: Mapping[str, float] = {name: engine.rtol for name, engine in ENGINES.items()}

    def tools(self) -> Sequence[MissingTool]:
        """Return what is missing: nothing, as engines live in environments that are made when needed."""
        return ()

    def export(self, source: Artifact, out: Path, *, graph: Optional[str] = None, **options: Any) -> Artifact:
        """Write the ONNX artifact of a Paddle artifact.

        Args:
            source: of the target paddle.
            out: as in `ppghost.export.onnx.export_onnx`.
            graph: which graph is expected in the source; None for any.
            options: the fields of `ppghost.export.onnx.OnnxOptions`.

        Raises:
            GhostError: as `ppghost.export.onnx.export_onnx`.
        """
        return export_onnx(source, out, OnnxOptions(**options), self, graph)

    def open(
        self,
        artifact: Artifact,
        *,
        engine: Optional[str] = None,
        threads: Optional[int] = None,
        precision: Optional[str] = None,
        batch_size: int = 1,
    ) -> Predictor:
        """Return a predictor.

        Args:
            artifact: of this target; its files are checked first.
            engine: a key of `ppghost.engines.ENGINES`; what is not installed gets an isolated environment.
                "auto" measures those that are installed, once, and takes the fastest. None takes what "auto"
                found earlier, else onnxruntime.
            threads: how many the engine may use; None takes all processors that this process may use.
            precision: "fp32"; None is the same.
            batch_size: the usual number of pictures in a run; any other is right too.

        Raises:
            GhostError: there is no such engine or precision, or a number is below 1.
            ArtifactError: a file was changed, or the engine cannot load it.
            ToolMissingError: the engine's environment cannot be made.
        """
        if engine not in (None, "auto", *ENGINES):
            given = suggest(str(engine), ["auto", *ENGINES])
            raise GhostError(f"Unknown engine '{engine}' of the target 'onnx'. {given}")
        if precision not in (None, "fp32"):
            raise GhostError(f"The engines of ONNX compute in fp32 here, not in {precision}. Accepted: fp32.")
        wish = Wish(usable_processors() if threads is None else threads, batch_size)
        for name, number in (("threads", wish.threads), ("batch_size", wish.batch_size)):
            if number < 1:
                raise GhostError(f"{name} is {number}; accepted: at least 1.")
        check_artifact(artifact)
        return open_engine(
            self._chosen(artifact, engine, wish),
            _model_of(artifact),
            artifact.facts.input_shape,
            threads=wish.threads,
            batch_size=wish.batch_size,
            precision=artifact.facts.precision,
        )

    def _chosen(self, artifact: Artifact, engine: Optional[str], wish: Wish) -> str:
        if engine not in (None, "auto"):
            return str(engine)
        tuning = recall(artifact, wish, ENGINES)
        if tuning is None and engine is None:
            return _USUAL
        if tuning is None:
            options = {"threads": wish.threads, "batch_size": wish.batch_size}
            candidates = {name: {"engine": name, **options} for name in _at_hand(artifact)}
            tuning = tune(artifact, candidates, wish, self.rtol, self.engine_rtol)
        _LOG.info("Engine %s, the fastest here: %s", tuning.engine, tuning)
        return tuning.engine

    def variants(self, artifact: Artifact) -> Sequence[Mapping[str, Any]]:
        """Return every engine that is installed and runs the artifact, ONNX Runtime always.

        A quantised network is judged by ONNX Runtime alone: it was quantised with its rounding.
        """
        if artifact.facts.precision == "int8":
            return [{"engine": _USUAL, "threads": 1}]
        return [{"engine": name, "threads": 1} for name in _at_hand(artifact)]


def _model_of(artifact: Artifact) -> Path:
    return artifact.path_of(artifact.facts.model("onnx").graph)


def _at_hand(artifact: Artifact) -> Iterator[str]:
    """Yield the engines that run the artifact and need no installation, and ONNX Runtime in any case."""
    has_many_rows = rows_of(_model_of(artifact)) not in (None, 1)
    for name, engine in ENGINES.items():
        if has_many_rows and engine.form == "ncnn":
            _LOG.info("The engine %s runs one row at a time, and this network takes several.", name)
        elif name == _USUAL or is_at_hand(engine):
            yield name
        else:
            _LOG.info("The engine %s is not installed; --engine %s makes an environment for it.", name, name)


TARGET = OnnxTarget()
