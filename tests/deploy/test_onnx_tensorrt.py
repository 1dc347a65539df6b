"""TensorRT's settings, as data: no GPU is needed, and none has run them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Union

import numpy as np
import pytest

from ppghost.artifact import Artifact, Facts, Golden, ModelFile, write_artifact
from ppghost.errors import ConfigError
from tests.deploy.onnx_tools import ROOT
from tests.deploy.tiny_onnx import scores_of, tiny_onnx
from tests.export.toys import PIPELINE, SIZE, noise


def load() -> ModuleType:
    path = ROOT / "deploy" / "onnx" / "build_tensorrt.py"
    spec = importlib.util.spec_from_file_location("build_tensorrt_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


PROGRAM = load()


def folder_of(tmp_path: Path, batch: Union[int, str]) -> Path:
    """Return an artifact whose model is written by hand."""
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "inference.onnx").write_bytes(tiny_onnx(side=SIZE, batch=batch))
    model = ModelFile("onnx", "inference.onnx", None, "image", "class")
    facts = Facts(1, "onnx", "tiny", "0" * 12, (3, SIZE, SIZE), 10, "logits", (model,), {})
    tensor = noise(0, 2)
    logits = scores_of(tensor).astype(np.float32)
    golden = Golden(tensor, logits, b"", tensor[0], logits[0])
    return write_artifact(Artifact(folder, facts, PIPELINE), golden).folder


def test_profile_and_command(tmp_path: Path) -> None:
    build = PROGRAM.plan(folder_of(tmp_path, "batch"), "fp16", [8, 1, 32])
    assert build.profile() == ((1, 3, 32, 32), (8, 3, 32, 32), (32, 3, 32, 32))
    assert build.trtexec() == [
        "trtexec",
        f"--onnx={tmp_path}/net/inference.onnx",
        f"--saveEngine={tmp_path}/net_fp16.plan",
        "--minShapes=image:1x3x32x32",
        "--optShapes=image:8x3x32x32",
        "--maxShapes=image:32x3x32x32",
        "--fp16",
        "--memPoolSize=workspace:1024",
        f"--timingCacheFile={tmp_path}/net.timing",
        "--skipInference",
    ]


def test_the_folder_that_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_of(tmp_path, "batch"))
    build = PROGRAM.plan(Path(), "fp16", [1])
    assert (build.engine, build.timing_cache) == (tmp_path / "net_fp16.plan", tmp_path / "net.timing")


@pytest.mark.parametrize("batch", ["0", "1025", "99999999999999", "x"])
def test_a_batch_has_bounds(batch: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        PROGRAM.main(["folder", "--batch", batch])
    assert "no whole number from 1 to 1024" in capsys.readouterr().err


def test_a_fixed_batch_leaves_nothing_to_choose(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 4)
    build = PROGRAM.plan(folder, "fp32", [4])
    assert build.is_fixed
    assert not [word for word in build.trtexec() if "Shapes" in word or "fp16" in word]
    with pytest.raises(ConfigError, match="accepted: --batch 4"):
        PROGRAM.plan(folder, "fp32", [1, 4])


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_without_tensorrt_the_line_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path, "batch")
    assert PROGRAM.main([str(folder), "--print-only"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("trtexec --onnx=")
    assert PROGRAM.main([str(folder)]) == 2
    streams = capsys.readouterr()
    assert streams.out == line
    assert "pip install tensorrt" in streams.err
    assert not list(tmp_path.glob("*.plan"))


def test_a_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main([str(tmp_path)]) == 2
    assert "is no artifact" in capsys.readouterr().err
