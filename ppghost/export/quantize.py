"""From an ONNX artifact to one of 8 bits, calibrated on real pictures through the artifact's own pipeline.

`inside/onnx_to_int8.py` quantises, in the isolated environment `ONNX_QUANTIZER`; this module prepares its
rows, judges what it wrote and makes an artifact of it. Accuracy and speed are measured by who asks for it.

The golden outputs of such an artifact are its own, and `ppghost.export.verify.INT8_RULE` judges them: it
tells whether another machine computes the same quantised network. How near that is to the trained network is
another question, answered by `Candidate.fidelity` before anything is written.

This module never imports Paddle.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ppghost
from ppghost.artifact import (
    Artifact,
    Golden,
    ModelFile,
    check_artifact,
    read_golden,
    write_artifact,
)
from ppghost.engines import open_engine
from ppghost.environments import ONNX_QUANTIZER, ensure_environment, run_python
from ppghost.errors import ArtifactError, ConfigError, DataError, VerificationError
from ppghost.export.onnx import MODEL_FILE, metadata_of
from ppghost.export.target import Target
from ppghost.export.verify import centred, verify
from ppghost.files import replaced_file
from ppghost.predict import in_order
from ppghost.vision.decode import read_picture

_LOG = logging.getLogger(__name__)

METHODS = ("minmax", "percentile", "kl", "mse")
"""How the range of a value is found: all of it, all but outliers, least divergence, least squared error."""
KEPT = ("first", "classifier", "se")
"""What computes in float unless told otherwise: the first conv, the last layer, squeeze-and-excitation."""
LEAST_COSINE = 0.9
"""A quantised network whose logits are farther from the trained one's, on the mean, is not written."""
_PROGRAM = Path(__file__).parent / "inside" / "onnx_to_int8.py"
_REFUSED = "refused: "
_LINES_OF_OUTPUT = 6


@dataclass(frozen=True)
class QuantizeOptions:
    """How a network is quantised.

    Attributes:
        methods: which of `METHODS` are tried.
        percentile: which share of the values the range of "percentile" holds, above 50 and up to 100.
        keep: what computes in float: of `KEPT`, or shell patterns of node names.
        kept_weights: how weights of what computes in float are stored: "int8", a scale a channel, or "fp32".
        sensitivity: on how many pictures the cost of each layer is measured; 0 leaves it out.
        threads: how many threads work.

    Raises:
        ConfigError: one of them cannot be.
    """

    methods: tuple[str, ...] = METHODS
    percentile: float = 99.99
    keep: tuple[str, ...] = KEPT
    kept_weights: str = "int8"
    sensitivity: int = 16
    threads: int = 1

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown or not self.methods or len(set(self.methods)) < len(self.methods):
            raise ConfigError(
                f"The calibration is {' '.join(self.methods) or 'missing'}; accepted: one or several of "
                f"{', '.join(METHODS)}, each once."
            )
        if not 50 < self.percentile <= 100:
            raise ConfigError(f"The percentile is {self.percentile}; accepted: above 50 and up to 100.")
        if self.kept_weights not in ("int8", "fp32"):
            raise ConfigError(f"Weights cannot be stored as {self.kept_weights}; accepted: int8, fp32.")


@dataclass(frozen=True)
class Candidate:
    """A quantised network, not shipped yet.

    Attributes:
        method: how its ranges were found.
        model: the ONNX file.
        fidelity: `sqnr_db`, `cosine`, `same_top1`: how near the outputs for the calibration pictures are to
            those in float; see `inside/onnx_to_int8.py`.
        ranges: name of a value -> lowest and highest that the calibration found.
    """

    method: str
    model: Path
    fidelity: Mapping[str, float]
    ranges: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Quantised:
    """What the quantiser made.

    Attributes:
        candidates: in the order of the methods asked for.
        best: the one nearest to the network in float, by `cosine` on the calibration pictures.
        nodes: the names of the nodes that compute in 8 bits.
        kept: the names of those kept in float.
        sensitivity: for each linear layer its name, kind, weight's shape and what it costs alone in 8 bits.
        versions: of the programs that made it.
    """

    candidates: tuple[Candidate, ...]
    best: Candidate
    nodes: Sequence[str]
    kept: Sequence[str]
    sensitivity: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]


def check_source(artifact: Artifact) -> None:
    """Make sure that an artifact can be quantised.

    Raises:
        ArtifactError: it is none of ONNX, it is quantised already, or a file was changed.
    """
    if artifact.facts.target != "onnx":
        raise ArtifactError(
            f"{artifact.folder} is an artifact for '{artifact.facts.target}'; accepted: one for 'onnx'. "
            f"Make it: ppghost export --target onnx --artifact {artifact.folder} --output FOLDER"
        )
    if artifact.facts.precision != "fp32":
        raise ArtifactError(
            f"{artifact.folder} is quantised already. Give the fp32 artifact that it came from."
        )
    check_artifact(artifact)


def prepare_rows(
    artifact: Artifact, pictures: Sequence[Path], count: int, out: Path, *, seed: int
) -> list[Path]:
    """Write `count` pictures, drawn by the seed, as inputs of the network.

    A picture that cannot be read is reported, and the next one drawn takes its place.

    Args:
        artifact: says how a picture becomes an input.
        pictures: to draw from, in an order that does not change from run to run.
        count: how many are needed.
        out: gets `float32 [count, 3, H, W]` as a .npy file; memory holds a few of them.
        seed: of the draw.

    Returns:
        The pictures that were taken.

    Raises:
        DataError: there are fewer that can be read, or the pipeline gives another shape.
        OutputError: `out` cannot be written.
    """
    drawn = random.Random(seed).sample(range(len(pictures)), len(pictures))
    shape = artifact.facts.input_shape
    taken: list[Path] = []

    def prepare(index: int) -> tuple[Path, Any]:
        try:
            return pictures[index], artifact.pipeline.to_chw(read_picture(pictures[index]))
        except DataError as error:
            return pictures[index], error

    header = {"descr": "<f4", "fortran_order": False, "shape": (count, *shape)}
    with replaced_file(out, flush=False) as part, part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for path, row in in_order(prepare, drawn, 2):
            if len(taken) == count:
                break
            if isinstance(row, DataError):
                _LOG.warning("%s is left out: %s", path, row)
                continue
            if row.shape != shape:
                raise DataError(f"{path} becomes {list(row.shape)}, but the network takes {list(shape)}.")
            file.write(row.astype("<f4", copy=False).tobytes())
            taken.append(path)
        if len(taken) < count:
            raise DataError(_too_few(count, len(taken), len(pictures)))
    return taken


def _too_few(count: int, usable: int, given: int) -> str:
    remedy = "Give more pictures"
    if usable:
        remedy += f", or ask for fewer: --batch-num {usable} with --batch-size 1"
    return f"{count} pictures are asked for, and {usable} of {given} can be used. {remedy}."


def quantise(artifact: Artifact, rows: Path, folder: Path, options: QuantizeOptions) -> Quantised:
    """Quantise a network in every way that is asked for.

    Side effects: makes the environment of the quantiser where it is missing.

    Args:
        artifact: of ONNX, in float.
        rows: the file of `prepare_rows`.
        folder: gets the models.
        options: how.

    Raises:
        ArtifactError: the model cannot be quantised.
        ToolMissingError: the environment cannot be made.
    """
    job = {
        "model": str(artifact.path_of(artifact.facts.model("onnx").graph).resolve()),
        "rows": str(rows.resolve()),
        "folder": str(folder.resolve()),
        "methods": options.methods,
        "percentile": options.percentile,
        "keep": options.keep,
        "kept_weights": options.kept_weights,
        "sensitivity": options.sensitivity,
        "notes": {
            **metadata_of(artifact),
            "precision": "int8",
            "quantizer": f"ppghost {ppghost.__version__}",
        },
        "threads": options.threads,
    }
    python = ensure_environment(ONNX_QUANTIZER)
    result = run_python(python, [str(_PROGRAM), json.dumps(job)], folder)
    if result.returncode != 0:
        raise ArtifactError(f"{artifact.folder} cannot be quantised: {_reason(result)}")
    facts = json.loads(result.stdout.splitlines()[-1])
    candidates = tuple(
        Candidate(method, folder / f"{method}.onnx", found["fidelity"], found["ranges"])
        for method, found in facts["methods"].items()
    )
    [best] = [each for each in candidates if each.method == facts["best"]]
    return Quantised(candidates, best, facts["nodes"], facts["kept"], facts["sensitivity"], facts["versions"])


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    lines = result.stderr.strip().splitlines()
    for line in reversed(lines):
        if line.startswith(_REFUSED):
            return line[len(_REFUSED) :]
    return "\n".join([f"the quantiser ended with code {result.returncode}.", *lines[-_LINES_OF_OUTPUT:]])


def ship(
    source: Artifact, candidate: Candidate, versions: Mapping[str, str], folder: Path, target: Target
) -> None:
    """Fill an empty folder with the artifact of a quantised network, proven to be what ONNX Runtime computes.

    Labels and preprocessing are those of the source, and so are the golden inputs; the outputs are the
    quantised network's.

    Args:
        source: the artifact in float.
        candidate: the network.
        versions: of the programs that made it.
        folder: empty; `ppghost.artifact.placed` gives one that appears only when all is done.
        target: the one that the artifact names and that verifies it.

    Raises:
        VerificationError: it is too far from the network in float, or ONNX Runtime gives other numbers.
    """
    cosine = candidate.fidelity["cosine"]
    if cosine < LEAST_COSINE:
        raise VerificationError(
            f"The network in 8 bits ({candidate.method}) is too far from the one in float: the mean cosine "
            f"of their logits is {cosine:.4f}, and at least {LEAST_COSINE} is needed. Keep more layers in "
            "float (--keep-float; --sensitivity tells which), or calibrate on more pictures."
        )
    facts = source.facts
    old = facts.model("onnx")
    model = ModelFile("onnx", MODEL_FILE, None, old.input, old.output)
    golden = _own_golden(source, candidate.model)
    with replaced_file(folder / MODEL_FILE) as part:
        part.write_bytes(candidate.model.read_bytes())
    facts = dataclasses.replace(
        facts,
        precision="int8",
        models=(model,),
        tools={**facts.tools, **versions, "calibration": candidate.method},
        files={},
    )
    verify(target, write_artifact(dataclasses.replace(source, folder=folder, facts=facts), golden))


def _own_golden(source: Artifact, model: Path) -> Golden:
    """Return the golden inputs of an artifact with the outputs of another model for them."""
    golden, facts = read_golden(source), source.facts
    with open_engine("onnxruntime", model, facts.input_shape) as network:
        outputs = [network(golden.tensor), network(golden.picture_tensor[np.newaxis])]
    gives_logits = facts.output == "logits"
    logits = [centred(each, gives_logits=gives_logits).astype(np.float32) for each in outputs]
    return dataclasses.replace(golden, tensor_logits=logits[0], picture_logits=logits[1][0])
