"""Verify: replay an artifact's golden inputs through its target and compare with the exported network.

No export is finished before this: exporters call it on the folder before the folder appears in its place, and
`ppghost verify` repeats it on any machine. This module never imports Paddle.

Source of the idea: optimum-onnx `exporters/onnx/convert.py::validate_model_outputs`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppghost.artifact import REPORT_FILE, Artifact, Golden, check_artifact, read_artifact, read_golden
from ppghost.errors import DataError, VerificationError
from ppghost.export.target import Target, check_tools, load_target
from ppghost.files import replaced_file
from ppghost.predict import Predictor
from ppghost.vision import Pipeline, softmax
from ppghost.vision.normalize import IMAGENET_STD, NormalizeImage

INT8_COSINE = 0.999
INT8_TIE = 0.05
INT8_RULE = (
    f"int8: each row's logits, their mean taken off, have a cosine of at least {INT8_COSINE} with those of "
    "the quantised network where it was made, and the same best class, or two within "
    f"{INT8_TIE} of the row's span"
)
"""Rounding to 8 bits may fall on the other side of a step where a machine adds up in another order."""
_LEAST_PROBABILITY = 1e-30


@dataclass(frozen=True)
class Check:
    """One comparison with golden.

    Attributes:
        what: what was run: "picture -> tensor", or the predictor's options and the golden input.
        max_abs_error: largest absolute difference; None where the result is not finite or of another shape.
        share_of_tolerance: largest difference in relation to what is tolerated at its place; None likewise.
        is_top1_equal: whether the best class of each row is golden's; None where there are no classes.
        passed: whether all of it is as it must be.
        reason: why it is not; "" if it is.
    """

    what: str
    max_abs_error: Optional[float]
    share_of_tolerance: Optional[float]
    is_top1_equal: Optional[bool]
    passed: bool
    reason: str = ""

    def __str__(self) -> str:
        error = "" if self.max_abs_error is None else f"largest difference {self.max_abs_error:.2g}"
        return f"{self.what}: {', '.join(filter(None, (error, self.reason)))}"


@dataclass(frozen=True)
class Report:
    """What verify found; written as verify.json.

    `atol` and `rtol` are the target's; None where the network is quantised and `INT8_RULE` judges it.
    """

    name: str
    version: str
    target: str
    atol: Optional[float]
    rtol: Optional[float]
    passed: bool
    checks: tuple[Check, ...]
    rule: Optional[str] = None


def verify_folder(folder: Path) -> Report:
    """Verify the artifact in `folder` with the target that wrote it; see `verify`.

    Raises:
        ArtifactError: the folder is no artifact or was changed.
        GhostError: this ppghost has no such target.
    """
    artifact = read_artifact(folder)
    return verify(load_target(artifact.facts.target), artifact)


def verify(target: Target, artifact: Artifact) -> Report:
    """Replay golden through every variant of the target and compare.

    Side effects: writes verify.json into the artifact's folder, whatever the outcome.

    Raises:
        ArtifactError: a file is missing or was changed.
        ToolMissingError: the target cannot run here; the message says what to install.
        VerificationError: a result differs by more than the target's tolerance, or in its best class.
        OutputError: the folder cannot be written.
    """
    check_tools(target)
    check_artifact(artifact)
    golden = read_golden(artifact)
    checks = [_check_pipeline(artifact.pipeline, golden)]
    for variant in target.variants(artifact):
        checks += _check_variant(target, artifact, golden, variant)
    facts = artifact.facts
    passed = all(check.passed for check in checks)
    is_fp32 = facts.precision == "fp32"
    atol, rtol = (target.atol, target.rtol) if is_fp32 else (None, None)
    rule = None if is_fp32 else INT8_RULE
    report = Report(facts.name, facts.version, target.name, atol, rtol, passed, tuple(checks), rule)
    with replaced_file(artifact.path_of(REPORT_FILE)) as part:
        part.write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n", encoding="utf-8")
    if not passed:
        failed = "".join(f"\n  {check}" for check in checks if not check.passed)
        raise VerificationError(
            f"{facts.name} in {artifact.folder} does not give the numbers of its network:{failed}\n"
            "Do not ship it. If the model files are right, the engine of this machine computes wrongly."
        )
    return report


def _check_variant(
    target: Target, artifact: Artifact, golden: Golden, variant: Mapping[str, Any]
) -> Iterator[Check]:
    options = " ".join(f"{name}={value}" for name, value in variant.items())
    rtol = target.engine_rtol.get(variant.get("engine", ""), target.rtol)
    with target.open(artifact, **variant) as predictor:
        yield from check_predictor(predictor, artifact, golden, target.atol, rtol, options)


def check_predictor(
    predictor: Predictor, artifact: Artifact, golden: Golden, atol: float, rtol: float, what: str
) -> Iterator[Check]:
    """Replay both golden inputs through a predictor.

    Args:
        predictor: of the artifact.
        artifact: says whether the predictor gives probabilities or logits.
        golden: of the artifact.
        atol: the absolute difference that is tolerated everywhere.
        rtol: by which share of a row's largest logit a logit may differ besides.
        what: names the predictor in the report.
    """
    for name, images, logits in (
        ("tensor", golden.tensor, golden.tensor_logits),
        ("picture", golden.picture_tensor[np.newaxis], golden.picture_logits[np.newaxis]),
    ):
        if artifact.facts.precision == "int8":
            gives_logits = artifact.facts.output == "logits"
            yield compare_int8(f"{what}, {name}", predictor(images), logits, gives_logits=gives_logits)
            continue
        expected, tolerance = _expectation(logits, artifact.facts.output, atol, rtol)
        yield compare(f"{what}, {name}", predictor(images), expected, tolerance, has_classes=True)


def compare_int8(what: str, given: np.ndarray, logits: np.ndarray, *, gives_logits: bool) -> Check:
    """Compare the output of a quantised network with what it gave when it was quantised, by `INT8_RULE`.

    Args:
        what: what is compared, for the report.
        given: `[N, classes]`, logits or probabilities.
        logits: `[N, classes]`, golden.
        gives_logits: whether `given` is logits.
    """
    if given.shape != logits.shape:
        reason = f"the shape is {list(given.shape)} instead of {list(logits.shape)}"
        return Check(what, None, None, None, passed=False, reason=reason)
    if not np.isfinite(given).all():
        return Check(what, None, None, None, passed=False, reason="not all numbers are finite")
    mine, golden = centred(given, gives_logits=gives_logits), centred(logits, gives_logits=True)
    norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(golden, axis=1)
    cosine = float(((mine * golden).sum(axis=1) / np.maximum(norms, 1e-30)).min())
    tie = np.broadcast_to(INT8_TIE / 2 * np.ptp(golden, axis=1, keepdims=True), golden.shape)
    is_top1_equal = _is_top1_equal(mine, golden, tie)
    reasons = [] if cosine >= INT8_COSINE else [f"cosine {cosine:.6f}, below {INT8_COSINE}"]
    reasons += [] if is_top1_equal else ["another best class"]
    return Check(
        what,
        max_abs_error=float(np.abs(mine - golden).max()),
        share_of_tolerance=(1 - cosine) / (1 - INT8_COSINE),
        is_top1_equal=is_top1_equal,
        passed=not reasons,
        reason=", ".join(reasons),
    )


def centred(output: np.ndarray, *, gives_logits: bool) -> np.ndarray:
    """Return `float64 [N, classes]`: logits, each row's mean taken off, which softmax cannot tell apart."""
    scores = output.astype(np.float64)
    logits = scores if gives_logits else np.log(np.maximum(scores, _LEAST_PROBABILITY))
    return logits - logits.mean(axis=1, keepdims=True)


def _expectation(logits: np.ndarray, output: str, atol: float, rtol: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected output and how much of a difference is tolerated at each place.

    A logit may be off by `rtol` of the largest one of its row. Softmax turns a difference of d between two
    logits into a factor of exp(d), and two logits may be off in opposite directions.
    """
    error = rtol * np.abs(logits).max(axis=1, keepdims=True).astype(np.float64)
    if output == "logits":
        return logits, np.broadcast_to(atol + error, logits.shape)
    probabilities = softmax(logits)
    # Where logits are huge the factor would be infinite, and infinity times a probability of 0 is no number.
    factor = np.expm1(np.minimum(2 * error, 50.0))
    return probabilities, atol + factor * probabilities


def _check_pipeline(pipeline: Pipeline, golden: Golden) -> Check:
    """Compare the preprocessed picture; other builds of OpenCV may round to the next grey level."""
    try:
        tensor = pipeline.to_chw(golden.picture)
    except (DataError, ValueError) as error:
        return Check("picture -> tensor", None, None, None, passed=False, reason=str(error))
    level = max((_grey_level(op) for op in pipeline.ops if isinstance(op, NormalizeImage)), default=1.0)
    tolerance = np.full(golden.picture_tensor.shape, 1.01 * level)  # the division rounds, too
    return compare("picture -> tensor", tensor, golden.picture_tensor, tolerance, has_classes=False)


def _grey_level(op: NormalizeImage) -> float:
    """Return by how much the input changes where a pixel changes by one of its 256 levels."""
    return float(op.scale or 1.0 / 255.0) / min(op.std or IMAGENET_STD)


def compare(
    what: str, given: np.ndarray, expected: np.ndarray, tolerance: np.ndarray, *, has_classes: bool
) -> Check:
    """Compare an array with the golden one, element by element and by the best class of each row.

    Args:
        what: what is compared, for the report.
        given: the array to judge.
        expected: the golden array.
        tolerance: positive, of the same shape: the largest difference that is no error.
        has_classes: whether rows have a best class; two classes within the tolerance of each other are a tie.
    """
    if given.shape != expected.shape:
        reason = f"the shape is {list(given.shape)} instead of {list(expected.shape)}"
        return Check(what, None, None, None, passed=False, reason=reason)
    if not np.isfinite(given).all():
        return Check(what, None, None, None, passed=False, reason="not all numbers are finite")
    difference = np.abs(given.astype(np.float64) - expected)
    share = float((difference / tolerance).max())
    is_top1_equal = _is_top1_equal(given, expected, tolerance) if has_classes else None
    reasons = [] if share <= 1 else [f"{share:.2g} times of what is tolerated"]
    reasons += ["another best class"] if is_top1_equal is False else []
    return Check(
        what,
        max_abs_error=float(difference.max()),
        share_of_tolerance=share,
        is_top1_equal=is_top1_equal,
        passed=not reasons,
        reason=", ".join(reasons),
    )


def _is_top1_equal(given: np.ndarray, expected: np.ndarray, tolerance: np.ndarray) -> bool:
    rows = np.arange(len(expected))
    mine, golden = given.argmax(axis=1), expected.argmax(axis=1)
    gap = expected[rows, golden] - expected[rows, mine]
    return bool((gap <= tolerance[rows, golden] + tolerance[rows, mine]).all())
