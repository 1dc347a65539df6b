"""Paddle Lite: `.nb` files for phones, and their proof on x86.

Nothing here imports Paddle or Paddle Lite: those live in processes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ppghost.artifact import Artifact, check_artifact
from ppghost.errors import GhostError
from ppghost.export.lite import LitePredictor, check_manifest, export_lite
from ppghost.export.lite.artifact import DEFAULT_GRAPH
from ppghost.export.target import MissingTool


class LiteTarget:
    """Converts Paddle's artifact to `.nb` files; opens it with Paddle Lite for x86."""

    name = "lite"
    consumes = "paddle"
    graph = DEFAULT_GRAPH
    atol = 1e-6
    rtol = 1e-4
    engine_rtol: Mapping[str, float] = {}

    def tools(self) -> Sequence[MissingTool]:
        """Return what is missing: nothing, as Paddle Lite lives in an environment made when needed."""
        return ()

    def export(self, source: Artifact, out: Path, *, graph: Optional[str] = None) -> Artifact:
        """Write the folder for Paddle Lite of a Paddle artifact.

        Args:
            source: of the target paddle.
            out: as in `ppghost.export.lite.export_lite`.
            graph: which graph is expected in the source; None for any.

        Raises:
            GhostError: as `ppghost.export.lite.export_lite`.
        """
        return export_lite(source, out, self, graph)

    def open(
        self,
        artifact: Artifact,
        *,
        engine: Optional[str] = None,
        threads: Optional[int] = None,
        precision: Optional[str] = None,
        batch_size: int = 1,
    ) -> LitePredictor:
        """Return a predictor.

        Args:
            artifact: of this target; its files are checked first.
            engine: "lite"; None and "auto" are the same, there is one.
            threads: how many predictors may run at a time. Each computes with one thread, for the Python
                package has no setting for more, and clones use the others.
            precision: "fp32", the only one that x86 has; None is the same.
            batch_size: the usual number of pictures in a run; any other is right too.

        Raises:
            GhostError: there is no such engine or precision, a number is below 1, or Paddle Lite failed.
            ArtifactError: a file was changed or is no `.nb` file for this Paddle Lite.
            ToolMissingError: the environment of Paddle Lite cannot be made.
        """
        for what, given, accepted in (
            ("engine", engine, (None, "auto", "lite")),
            ("precision", precision, (None, "fp32")),
        ):
            if given not in accepted:
                raise GhostError(f"Unknown {what} '{given}' of the target 'lite'. Accepted: {accepted[-1]}.")
        for name, number in (("threads", threads), ("batch_size", batch_size)):
            if number is not None and number < 1:
                raise GhostError(f"{name} is {number}; accepted: at least 1.")
        check_artifact(artifact)
        check_manifest(artifact)
        model = artifact.path_of(artifact.facts.model("x86.fp32").graph)
        return LitePredictor(model, artifact.facts.input_shape)

    def variants(self, artifact: Artifact) -> Sequence[Mapping[str, Any]]:
        """Return the one that x86 runs; the files for ARM need a phone."""
        return [{"precision": "fp32"}]


TARGET = LiteTarget()
