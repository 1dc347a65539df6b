"""Make the recorded references importable and keep every test away from the user's cache."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
if str(REFERENCE) not in sys.path:
    sys.path.append(str(REFERENCE))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no mirror, and no proxy between us and 127.0.0.1."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PPGHOST_HOME", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("PPGHOST_MIRROR", raising=False)
    return folder
