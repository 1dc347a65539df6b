"""Verify: it passes what is right, finds what is wrong, and says which."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import export_toy, make_toy

from ppghost.artifact import Artifact, Golden, read_artifact, read_golden, write_artifact
from ppghost.errors import ArtifactError, ToolMissingError, VerificationError
from ppghost.export.target import MissingTool, load_target
from ppghost.export.verify import _expectation, compare, verify, verify_folder
from ppghost.vision import softmax

TARGET = load_target("paddle")


def rewritten(artifact: Artifact, **changes: Any) -> Artifact:
    """Return the artifact with another golden and with checksums that fit it."""
    return write_artifact(artifact, dataclasses.replace(read_golden(artifact), **changes))


def test_a_copy_verifies_on_its_own(copied: Callable[[], Artifact]) -> None:
    folder = copied().folder
    (folder / "verify.json").unlink()
    report = verify_folder(folder)
    assert report.passed
    # The picture; each pair of engine and form with both golden inputs.
    assert len(report.checks) == 1 + 2 * len(TARGET.variants(read_artifact(folder)))
    written = json.loads((folder / "verify.json").read_text())
    assert written == json.loads(json.dumps(dataclasses.asdict(report)))


def test_weights_of_another_network_are_found(copied: Callable[[], Artifact], tmp_path: Path) -> None:
    artifact = copied()
    other = export_toy(make_toy(21), tmp_path / "other")
    golden = read_golden(artifact)
    (artifact.folder / "inference.pdiparams").write_bytes((other.folder / "inference.pdiparams").read_bytes())
    with pytest.raises(ArtifactError, match=r"inference\.pdiparams was changed"):
        verify(TARGET, artifact)
    with pytest.raises(VerificationError, match=r"model_format=json.*\n.*model_format=pdmodel"):
        verify(TARGET, write_artifact(artifact, golden))
    assert json.loads((artifact.folder / "verify.json").read_text())["passed"] is False


def test_one_weight_off_is_found(copied: Callable[[], Artifact]) -> None:
    artifact = copied()
    golden = read_golden(artifact)
    logits = golden.tensor_logits.copy()
    logits[0, 3] += 1e-3
    with pytest.raises(VerificationError, match="tensor: largest difference"):
        verify(TARGET, rewritten(artifact, tensor_logits=logits))


@pytest.mark.parametrize(("levels", "passes"), [(0, True), (1, True), (2, False), (-2, False)])
def test_pictures_may_differ_by_one_grey_level(
    copied: Callable[[], Artifact], levels: int, passes: bool
) -> None:
    artifact = copied()
    tensor = read_golden(artifact).picture_tensor.copy()
    tensor[0, 5, 5] += levels / 255 / 0.229
    artifact = rewritten(artifact, picture_tensor=tensor)
    [check] = [each for each in _checks(artifact) if each["what"] == "picture -> tensor"]
    assert check["passed"] is passes


def _checks(artifact: Artifact) -> list[dict[str, Any]]:
    try:
        verify(TARGET, artifact)
    except VerificationError:
        pass
    checks: list[dict[str, Any]] = json.loads((artifact.folder / "verify.json").read_text())["checks"]
    return checks


def test_a_graph_that_paddle_cannot_load_is_told(copied: Callable[[], Artifact]) -> None:
    artifact = copied()
    golden: Golden = read_golden(artifact)
    (artifact.folder / "inference.json").write_text("{}")
    with pytest.raises(ArtifactError, match="Paddle cannot load.*pdmodel form it can"):
        verify(TARGET, write_artifact(artifact, golden))


def test_a_missing_tool_is_named_with_its_remedy(shipped: Artifact) -> None:
    class Lacking(type(TARGET)):  # type: ignore[misc]
        def tools(self) -> list[MissingTool]:
            return [MissingTool("opt", "pip install paddlelite")]

    with pytest.raises(ToolMissingError, match="opt: pip install paddlelite"):
        verify(Lacking(), shipped)


rows = st.integers(0, 2**32 - 1).map(lambda seed: np.random.RandomState(seed).normal(size=(3, 12)))


@settings(deadline=None)
@given(rows, st.floats(0.1, 200), st.integers(0, 2**31))
def test_what_rounding_does_to_logits_is_tolerated_in_probabilities(
    logits: np.ndarray, spread: float, seed: int
) -> None:
    """The bound is a theorem: any logits within the relative tolerance give tolerated probabilities."""
    logits = (logits * spread).astype(np.float32)
    error = TARGET.rtol * np.abs(logits).max(axis=1, keepdims=True)
    moved = logits + error * np.random.RandomState(seed).choice([-0.99, 0, 0.99], logits.shape)
    expected, tolerance = _expectation(logits, "probabilities", TARGET.atol, TARGET.rtol)
    assert compare("toy", softmax(moved), expected, tolerance, has_classes=True).passed


@settings(deadline=None)
@given(rows, st.integers(0, 35), st.floats(1.01, 1e6))
def test_more_than_the_tolerance_is_an_error_wherever_it_is(
    expected: np.ndarray, position: int, factor: float
) -> None:
    tolerance = np.full(expected.shape, 1e-3)
    given_ = expected.copy()
    given_.flat[position] += factor * 1e-3
    check = compare("toy", given_, expected, tolerance, has_classes=False)
    assert not check.passed
    assert check.share_of_tolerance == pytest.approx(factor, rel=1e-3)
    assert compare("toy", expected, expected, tolerance, has_classes=True).passed


def test_another_best_class_is_an_error_unless_it_is_a_tie() -> None:
    expected, tolerance = np.array([[0.5, 0.4, 0.1]]), np.full((1, 3), 0.2)
    swapped = np.array([[0.4, 0.5, 0.1]])
    assert compare("toy", swapped, expected, tolerance, has_classes=True).is_top1_equal
    third = np.array([[0.31, 0.3, 0.32]])
    tolerance[0, 2] = 0.19
    check = compare("toy", third, expected, tolerance, has_classes=True)
    assert check.is_top1_equal is False
    assert "another best class" in check.reason


@pytest.mark.parametrize("spoilt", [np.zeros((1, 2)), np.array([[0.0, np.nan, 1.0]])])
def test_another_shape_or_nan_is_an_error(spoilt: np.ndarray) -> None:
    check = compare("toy", spoilt, np.zeros((1, 3)), np.ones((1, 3)), has_classes=True)
    assert not check.passed
    assert check.reason
