"""Small exported networks for the deployment programs; nothing trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable

import paddle
import pytest

from ppghost.artifact import Artifact, read_artifact
from ppghost.export.paddle import export_network
from ppghost.export.target import load_target
from ppghost.nets.ghostnet import GhostNet
from ppghost.vision import Labels
from tests.export.toys import calibrated, pipeline_of

SIZE = 32
CLASS_NUM = 7


@pytest.fixture(scope="session")
def ghostnet(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An exported GhostNet of half width for pictures of 32 x 32; leave it as it is."""
    paddle.seed(3)
    net = calibrated(GhostNet(scale=0.5, class_num=CLASS_NUM), SIZE)
    return export_network(
        net,
        tmp_path_factory.mktemp("ghostnet") / "inference",
        name="GhostNet_x0_5",
        image_shape=(3, SIZE, SIZE),
        pipeline=pipeline_of(SIZE),
        labels=Labels(dict(enumerate("ant bee cat dog elk fox 山羊".split()))),
    )


@pytest.fixture
def copied(ghostnet: Artifact, tmp_path: Path) -> Callable[[], Artifact]:
    """A maker of copies of the exported network, to be written into."""

    def copy() -> Artifact:
        folder = tmp_path / "copy"
        shutil.copytree(ghostnet.folder, folder)
        return read_artifact(folder)

    return copy


@pytest.fixture(scope="session")
def lite_ghostnet(ghostnet: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The exported network for Paddle Lite; leave it as it is. Tests of it need Paddle Lite's converter."""
    return load_target("lite").export(ghostnet, tmp_path_factory.mktemp("lite") / "inference_lite")


@pytest.fixture(scope="session")
def onnx_ghostnet(ghostnet: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The exported network as ONNX; leave it as it is. Tests of it need Paddle2ONNX and ONNX Runtime."""
    return load_target("onnx").export(ghostnet, tmp_path_factory.mktemp("onnx") / "inference_onnx")
