"""What the tests of ONNX share: which environments are there, and the program that looks into files."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppghost.engines import ENGINES, is_at_hand
from ppghost.environments import PADDLE2ONNX, ensure_environment, is_made

ROOT = Path(__file__).resolve().parents[2]
_HERE = all(importlib.util.find_spec(package) for package in ("paddle2onnx", "onnx"))


def remedy(variable: str) -> str:
    return f"To get it: python -c 'from ppghost import environments as e; e.ensure_environment(e.{variable})'"


needs_paddle2onnx = pytest.mark.skipif(
    not _HERE and not is_made(PADDLE2ONNX), reason=f"Paddle2ONNX is not here. {remedy('PADDLE2ONNX')}"
)


def engine_params() -> list[Any]:
    """Return the engines as parameters, each skipped where it is not installed."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                not is_at_hand(engine), reason=f"{name} is not here. {remedy(name.upper())}"
            ),
        )
        for name, engine in ENGINES.items()
    ]


def run_cases(*words: str) -> Any:
    """Run `onnx_cases.py` where onnx is and return its answer."""
    python = Path(sys.executable) if _HERE else ensure_environment(PADDLE2ONNX)
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [str(python), str(Path(__file__).with_name("onnx_cases.py")), *words],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def describe(model: Path) -> dict[str, Any]:
    """Return what is in an ONNX file, which ONNX' checker has passed."""
    return run_cases("--describe", str(model))
