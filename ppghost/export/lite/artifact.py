"""From Paddle's artifact to a folder for phones: `.nb` files, manifest, golden, proven by Paddle Lite on x86.

Imports the ground and `verify`; never paddle.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path
from typing import Optional

from ppghost.artifact import (
    Artifact,
    Golden,
    ModelFile,
    check_artifact,
    placed,
    read_artifact,
    read_golden,
    write_artifact,
)
from ppghost.errors import ArtifactError, VerificationError
from ppghost.export.lite.convert import Form, convert_to_nb
from ppghost.export.lite.header import OPT_VERSION
from ppghost.export.lite.manifest import preprocess_of, write_manifest
from ppghost.export.lite.predictor import LitePredictor
from ppghost.export.target import Target
from ppghost.export.verify import check_predictor, verify

_LOG = logging.getLogger(__name__)

DEFAULT_GRAPH = "stock"
"""What Paddle Lite runs fastest; it folds batch norms itself, and has fast kernels for concatenation."""
FORMS = (Form("x86"), Form("arm"), Form("arm", fp16=True))
ARCHS = {"x86": ("x86",), "arm": ("armv8", "armv7")}
"""The converter writes one and the same file for both kinds of ARM; 16-bit arithmetic is ARMv8.2's alone."""
_RTOL_OF_16_BIT_WEIGHTS = 1e-3


def export_lite(source: Artifact, out: Path, target: Target, graph: Optional[str] = None) -> Artifact:
    """Write the folder for Paddle Lite of a Paddle artifact, proven on x86.

    Labels, preprocessing and golden are those of the source. The folder appears in `out` only after Paddle
    Lite has given the network's outputs with the x86 file, and with 16-bit weights; the files for ARM are of
    the same graph and weights, and were not run. Until then, and on any error, `out` is as it was.

    Side effects: makes the environment of Paddle Lite where it is missing.

    Args:
        source: an artifact with Paddle's pdmodel form.
        out: a folder that is missing, empty, or holds an earlier export, which is replaced as a whole.
        target: the one that the artifact names and that verifies it.
        graph: which graph the caller expects in the source; None for any.

    Raises:
        ArtifactError: the source is broken, has no pdmodel form, another graph, a preprocessing that phones
            do not know, or cannot be converted.
        ToolMissingError: the environment cannot be made.
        OutputError: `out` cannot be written, or holds files that no export wrote.
        VerificationError: Paddle Lite does not give the network's outputs.
    """
    check_artifact(source)
    facts = source.facts
    if graph not in (None, facts.graph):
        raise ArtifactError(
            f"{source.folder} holds the graph '{facts.graph}', and '{graph}' is asked for. A graph is chosen "
            f"when the network is exported: ppghost export -c CONFIG --target lite --graph {graph}"
        )
    if facts.graph != DEFAULT_GRAPH:
        _LOG.info(
            "The graph '%s' is slower in Paddle Lite than '%s'; export it from the network: "
            "ppghost export -c CONFIG --target lite",
            facts.graph,
            DEFAULT_GRAPH,
        )
    preprocess_of(source)
    golden = read_golden(source)
    _check_16_bit_weights(source, golden, target)
    with placed(out) as folder:
        for form in FORMS:
            convert_to_nb(source, form, folder / form.file_name)
        facts = dataclasses.replace(
            facts,
            target=target.name,
            models=_models(source),
            tools={**facts.tools, "paddlelite": OPT_VERSION},
            files={},
        )
        made = write_artifact(dataclasses.replace(source, folder=folder, facts=facts), golden)
        write_manifest(made)
        verify(target, made)
    return read_artifact(out)


def _models(source: Artifact) -> tuple[ModelFile, ...]:
    model = source.facts.model("pdmodel")
    rows = [
        (f"{arch}.{form.precision}", form.file_name)
        for form in FORMS
        for arch in ARCHS[form.target][: 1 if form.fp16 else None]
    ]
    return tuple(ModelFile(name, file, None, model.input, model.output) for name, file in rows)


def _check_16_bit_weights(source: Artifact, golden: Golden, target: Target) -> None:
    """Make sure that the weights survive being stored in 16 bits; x86 computes in 32 bits with them.

    Raises:
        VerificationError: they do not.
        ArtifactError: the network cannot be converted.
    """
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        form = Form("x86", fp16=True)
        convert_to_nb(source, form, Path(folder) / form.file_name)
        with LitePredictor(Path(folder) / form.file_name, source.facts.input_shape) as predictor:
            what = "weights stored in 16 bits"
            checks = check_predictor(predictor, source, golden, target.atol, _RTOL_OF_16_BIT_WEIGHTS, what)
            failed = [str(check) for check in checks if not check.passed]
    if failed:
        raise VerificationError(
            f"{source.facts.name} does not give its numbers with {'; '.join(failed)}. Nothing was exported."
        )
