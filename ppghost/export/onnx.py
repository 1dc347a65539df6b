"""From Paddle's artifact to ONNX: an artifact whose model is one clean ONNX file, proven in ONNX Runtime.

Paddle2ONNX converts, and `inside/onnx_graph.py` makes of its output a graph without Identity and without
loose constants. Both run in a process of their own, for Paddle2ONNX ends a process where it cannot go on: in
this Python where that has the packages, else in the isolated environment `PADDLE2ONNX`.

This module never imports Paddle.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import ppghost
from ppghost.artifact import (
    LABELS_FILE,
    Artifact,
    ModelFile,
    check_artifact,
    placed,
    read_artifact,
    read_golden,
    write_artifact,
)
from ppghost.environments import PADDLE2ONNX, ensure_environment, run_python
from ppghost.errors import ArtifactError, ConfigError, OutputError
from ppghost.export.target import Target
from ppghost.export.verify import verify
from ppghost.vision.variants import variant_of

OPSETS = range(11, 27)
"""Operator sets that every engine of `ppghost.engines` reads; ONNX Runtime 1.31 ends at 26."""

MOST_ROWS = 1024
"""The largest batch that a file may fix, as for Ascend's `atc`."""

MODEL_FILE = "inference.onnx"
_CONVERTER = Path(__file__).parent / "inside" / "paddle_to_onnx.py"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFUSED = "refused: "
_LINES_OF_OUTPUT = 6


@dataclass(frozen=True)
class OnnxOptions:
    """How an ONNX file is written.

    Attributes:
        opset: version of the standard operators, one of `OPSETS`.
        batch: how many rows a run has; None leaves it open.
        input_name: of the input.
        output_name: of the output; None for "prob", or "logits" where the graph ends without softmax.

    Raises:
        ConfigError: one of them cannot be.
    """

    opset: int = OPSETS[0]
    batch: Optional[int] = None
    input_name: str = "x"
    output_name: Optional[str] = None

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise ConfigError(
                f"The operator set is {self.opset}; accepted: {OPSETS[0]} to {OPSETS[-1]}. "
                f"{OPSETS[0]} is read by every engine."
            )
        if self.batch is not None and not 1 <= self.batch <= MOST_ROWS:
            raise ConfigError(f"The batch is {self.batch}; accepted: dynamic, or 1 to {MOST_ROWS}.")
        for name in (self.input_name, self.output_name):
            if name is not None and not _NAME.fullmatch(name):
                raise ConfigError(
                    f"'{name}' is no name for an input or output; accepted: letters, digits and _, "
                    "no digit first."
                )
        if self.input_name == self.output_name:
            raise ConfigError(f"Input and output are both called '{self.input_name}'; give them two names.")


def export_onnx(
    source: Artifact, out: Path, options: OnnxOptions, target: Target, graph: Optional[str] = None
) -> Artifact:
    """Write the ONNX artifact of a Paddle artifact to `out`, proven to give the network's numbers.

    Golden, labels and preprocessing are those of the source. The artifact appears in `out` only after ONNX
    Runtime has given the network's outputs; until then, and on any error, `out` is as it was.

    Side effects: makes the environments of Paddle2ONNX and ONNX Runtime where they are missing.

    Args:
        source: an artifact with Paddle's json form.
        out: a folder that is missing, empty, or holds an earlier export, which is replaced as a whole.
        options: how the file is written.
        target: the one that the artifact names and that verifies it.
        graph: which graph the caller expects in the source; None for any.

    Raises:
        ArtifactError: the source is broken, has no json form or another graph, or cannot be converted.
        ToolMissingError: an environment cannot be made.
        OutputError: `out` is the source, cannot be written, or holds files that no export wrote.
        VerificationError: the ONNX file does not give the network's outputs.
    """
    if os.path.realpath(out) == os.path.realpath(source.folder):
        raise OutputError(
            f"{out} is the folder that is converted, and it would be replaced as a whole. Choose another one."
        )
    check_artifact(source)
    facts = source.facts
    if graph not in (None, facts.graph):
        raise ArtifactError(
            f"{source.folder} holds the graph '{facts.graph}', and '{graph}' is asked for. A graph is chosen "
            f"when the network is exported: ppghost export -c CONFIG --target onnx --graph {graph}"
        )
    golden = read_golden(source)
    output_name = options.output_name or ("prob" if facts.output == "probabilities" else "logits")
    options = dataclasses.replace(options, output_name=output_name)
    with placed(out) as folder:
        tools = convert_to_onnx(source, folder / MODEL_FILE, options)
        model = ModelFile("onnx", MODEL_FILE, None, options.input_name, output_name)
        facts = dataclasses.replace(
            facts, target=target.name, models=(model,), tools={**facts.tools, **tools}, files={}
        )
        verify(target, write_artifact(dataclasses.replace(source, folder=folder, facts=facts), golden))
    return read_artifact(out)


def convert_to_onnx(source: Artifact, out: Path, options: OnnxOptions) -> dict[str, str]:
    """Write the ONNX file of a Paddle artifact; it is checked, but not verified.

    Side effects: makes the environment of Paddle2ONNX where it is missing.

    Args:
        source: an artifact with Paddle's json form.
        out: the file.
        options: how it is written; without `output_name` the output is called "prob".

    Returns:
        Names and versions of the programs that wrote it.

    Raises:
        ArtifactError: the source has no json form, or cannot be converted.
        ToolMissingError: the environment cannot be made.
    """
    model = source.facts.model("json")
    job = {
        "graph": str(source.path_of(model.graph).resolve()),
        "weights": str(source.path_of(model.weights or "").resolve()),
        "out": str(out.resolve()),
        "opset": options.opset,
        "batch": options.batch,
        "input": options.input_name,
        "output": options.output_name or "prob",
        "name": source.facts.name,
        "class_num": source.facts.class_num,
        "version": ppghost.__version__,
        "facts": metadata_of(source),
    }
    python = _python()
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        result = run_python(python, [str(_CONVERTER), json.dumps(job)], Path(folder))
    if result.returncode != 0 or not out.exists():
        raise ArtifactError(f"{source.folder} cannot become ONNX: {_reason(result)}")
    versions: dict[str, str] = json.loads(result.stdout.splitlines()[-1])
    return versions


def _python() -> Path:
    """Return the Python that converts.

    Raises:
        ToolMissingError: the environment cannot be made.
    """
    is_here = all(importlib.util.find_spec(package) for package in ("paddle2onnx", "onnx", "paddle"))
    return Path(sys.executable) if is_here else ensure_environment(PADDLE2ONNX)


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    lines = (result.stdout + result.stderr).strip().splitlines()
    for line in reversed(lines):
        if line.startswith(_REFUSED):
            return line[len(_REFUSED) :]
    return "\n".join([f"Paddle2ONNX ended with code {result.returncode}.", *lines[-_LINES_OF_OUTPUT:]])


def metadata_of(artifact: Artifact) -> dict[str, str]:
    """Return what an ONNX file notes about the artifact that it belongs to.

    `preprocessing` names the way ("paddleclas", "torchvision", "other"), `preprocess` holds the ops as JSON.
    """
    facts = artifact.facts
    labels = facts.files.get(LABELS_FILE)
    return {
        "name": facts.name,
        "version": facts.version,
        "graph": facts.graph,
        "output": facts.output,
        "preprocessing": variant_of(artifact.pipeline),
        "preprocess": json.dumps(_plain(artifact.pipeline.to_list())),
        "labels_sha256": labels.sha256 if labels else "",
    }


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
