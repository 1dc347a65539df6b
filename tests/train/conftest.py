"""Small runs: forty noise pictures of five classes, GhostNet_x0_5, a YAML that PaddleClas reads too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import REFERENCE, small_overrides
from trajectory import draw_pictures

from ppghost.config import Config, load_config


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `pictures/` and `list.txt`."""
    folder = tmp_path_factory.mktemp("train")
    draw_pictures(folder)
    return folder


@pytest.fixture
def small_config(pictures: Path, tmp_path: Path) -> Callable[..., Config]:
    """Return a function: overrides -> the reference configuration at 32 pixels, writing into `tmp_path`."""

    def load(*overrides: str) -> Config:
        return load_config(
            REFERENCE / "trajectory.yaml", small_overrides(pictures, tmp_path / "output", *overrides)
        )

    return load
