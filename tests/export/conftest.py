"""The exported toy network, whole and in copies to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable

import pytest
from paddle import nn
from toys import export_toy, make_toy

from ppghost.artifact import Artifact, read_artifact


@pytest.fixture(scope="session")
def toy() -> nn.Layer:
    """The network behind `shipped`; leave it as it is."""
    return make_toy(1)


@pytest.fixture(scope="session")
def shipped(toy: nn.Layer, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The exported toy; leave it as it is."""
    return export_toy(toy, tmp_path_factory.mktemp("shipped") / "inference")


@pytest.fixture
def copied(shipped: Artifact, tmp_path: Path) -> Callable[[], Artifact]:
    """A maker of copies of the exported toy, to be spoilt."""

    def copy() -> Artifact:
        folder = tmp_path / "copy"
        shutil.copytree(shipped.folder, folder)
        return read_artifact(folder)

    return copy
