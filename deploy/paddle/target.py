"""Paddle Inference in Python: the artifact of a trained network, run by the engines of Paddle's own wheel."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from ppghost.artifact import Artifact, ModelFile, check_artifact
from ppghost.errors import ArtifactError, GhostError, suggest
from ppghost.export.target import MissingTool, check_tools

if TYPE_CHECKING:
    from paddle import nn

ENGINES = ("onednn", "native")


class PaddleTarget:
    """Exports a network with both of Paddle's graph forms; opens either, natively or with oneDNN."""

    name = "paddle"
    consumes = "network"
    # Measured over all widths: 2.4e-6 of the largest logit; the engines add up in another order, no more.
    atol = 1e-6
    rtol = 1e-5

    def tools(self) -> Sequence[MissingTool]:
        """Return what is missing: nothing, or Paddle."""
        if importlib.util.find_spec("paddle") is not None:
            return ()
        return (MissingTool("paddlepaddle", "pip install 'paddlepaddle>=3.0,<3.4'"),)

    def export(self, source: nn.Layer, out: Path, **options: Any) -> Artifact:
        """Write the artifact of a network; options as in `ppghost.export.paddle.export_network`."""
        check_tools(self)
        from ppghost.export.paddle import export_network

        return export_network(source, out, **options)

    def open(
        self,
        artifact: Artifact,
        *,
        engine: str = "onednn",
        model_format: Optional[str] = None,
        threads: Optional[int] = None,
    ) -> PaddlePredictor:
        """Return a predictor.

        Args:
            artifact: of this target; its files are checked first.
            engine: "onednn" (the fastest one of every x86 CPU) or "native".
            model_format: "json" or "pdmodel"; None takes the artifact's first.
            threads: how many the engine may use; None takes all processors that this process may use.

        Raises:
            GhostError: there is no such engine, or `threads` is below 1.
            ArtifactError: a file was changed, there is no such form, or this Paddle cannot read it.
            ToolMissingError: Paddle is not installed.
        """
        if engine not in ENGINES:
            raise GhostError(f"Unknown engine '{engine}' of the target 'paddle'. {suggest(engine, ENGINES)}")
        threads = usable_processors() if threads is None else threads
        if threads < 1:
            raise GhostError(f"threads is {threads}; accepted: at least 1.")
        check_tools(self)
        check_artifact(artifact)
        return PaddlePredictor(artifact, artifact.facts.model(model_format), engine, threads)

    def variants(self, artifact: Artifact) -> Sequence[Mapping[str, Any]]:
        """Return every pair of engine and form."""
        forms = [model.format for model in artifact.facts.models]
        return [
            {"engine": engine, "model_format": form, "threads": 1} for engine in ENGINES for form in forms
        ]


class PaddlePredictor:
    """A predictor of Paddle Inference on the CPU; see `ppghost.predict.Predictor`."""

    def __init__(self, artifact: Artifact, model: ModelFile, engine: str, threads: int) -> None:
        from paddle import inference

        graph, weights = artifact.path_of(model.graph), artifact.path_of(model.weights or "")
        config = inference.Config(str(graph), str(weights))
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(threads)
        # Paddle before 3.1 knows oneDNN by its old name only.
        vendor = "onednn" if hasattr(config, "enable_onednn") else "mkldnn"
        getattr(config, f"enable_{vendor}" if engine == "onednn" else f"disable_{vendor}")()
        # enable_memory_optim is left out: with the json form create_predictor fails on it in every Paddle 3.
        try:
            self._predictor = inference.create_predictor(config)
        except (RuntimeError, ValueError, OSError) as error:
            raise ArtifactError(
                f"Paddle cannot load {graph}, which was written with Paddle "
                f"{artifact.facts.tools.get('paddle')}: {str(error).strip().splitlines()[-1]} "
                "An older Paddle cannot read a newer json form; the pdmodel form it can."
            ) from error
        self._input = self._predictor.get_input_handle(model.input)
        self._output = self._predictor.get_output_handle(model.output)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, class_num]` for `float32 [N, 3, H, W]`."""
        self._input.copy_from_cpu(np.ascontiguousarray(images, dtype=np.float32))
        self._predictor.run()
        output: np.ndarray = self._output.copy_to_cpu()
        return output

    def __enter__(self) -> PaddlePredictor:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the network's memory."""
        del self._input, self._output, self._predictor


def usable_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


TARGET = PaddleTarget()
