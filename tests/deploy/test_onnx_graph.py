"""The clean-up of ONNX graphs: every step leaves the numbers as they are, on graphs drawn at random."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.onnx_tools import ROOT, needs_paddle2onnx, run_cases


@needs_paddle2onnx
@pytest.mark.parametrize("seed", [0, 100])
def test_every_step_is_exact(seed: int) -> None:
    for errors in run_cases(str(ROOT / "ppghost" / "export" / "inside"), str(seed)):
        assert all(error < 1e-5 for error in errors.values()), errors


@needs_paddle2onnx
def test_a_wrong_bias_would_be_seen(tmp_path: Path) -> None:
    """The check itself: a clean-up that merges a constant into a value with a second reader."""
    source = (ROOT / "ppghost" / "export" / "inside" / "onnx_graph.py").read_text(encoding="utf-8")
    assert source.count("if uses[source] == 1 and value.shape") == 1
    broken = source.replace("if uses[source] == 1 and value.shape", "if value.shape")
    (tmp_path / "onnx_graph.py").write_text(broken, encoding="utf-8")
    assert max(errors["merge_biases"] for errors in run_cases(str(tmp_path), "0")) > 1e-3
