"""The target onnx: what its file holds, that it proves itself, and what it refuses."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from ppghost.artifact import Artifact, check_artifact, read_artifact, read_golden, write_artifact
from ppghost.cli import main
from ppghost.engines import open_engine
from ppghost.engines.onnx_header import read_onnx_header
from ppghost.environments import PADDLE2ONNX, ensure_environment
from ppghost.errors import ArtifactError, ConfigError, OutputError, VerificationError
from ppghost.export.onnx import OPSETS, OnnxOptions
from ppghost.export.target import load_target
from ppghost.export.verify import verify, verify_folder
from tests.deploy.conftest import CLASS_NUM, SIZE
from tests.deploy.onnx_tools import describe, needs_paddle2onnx
from tests.deploy.tiny_onnx import needs_onnxruntime, tiny_onnx

TARGET = load_target("onnx")


@pytest.fixture(scope="module")
def fixed(ghostnet: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same network, three rows at once, the newest operators, Ascend's names."""
    options = {"opset": OPSETS[-1], "batch": 3, "input_name": "image", "output_name": "class"}
    return TARGET.export(ghostnet, tmp_path_factory.mktemp("fixed") / "onnx", **options)


@needs_paddle2onnx
@needs_onnxruntime
def test_the_file_is_fit_to_ship(onnx_ghostnet: Artifact) -> None:
    facts = describe(onnx_ghostnet.folder / "inference.onnx")
    assert facts["opset"] == [["", 11]]
    assert not set(facts["kinds"]) & {"Identity", "Constant", "BatchNormalization", "Dropout", "MatMul"}
    assert facts["kinds"].count("Concat") == 16 + 7  # blocks; means of the gated ones
    assert facts["shapes"]["x"] == ["batch", 3, SIZE, SIZE]
    assert facts["shapes"]["prob"] == ["batch", CLASS_NUM]
    assert facts["without_shape"] == []
    assert all(shape[0] == "batch" for shape in facts["shapes"].values())
    assert {"conv_0.weight", "conv_0.bias", "gemm_0.weight", "gemm_0.bias"} <= set(facts["constants"])
    assert len(set(facts["names"])) == len(facts["names"])
    assert facts["producer"] == "ppghost"


@needs_paddle2onnx
@needs_onnxruntime
def test_the_file_says_what_it_is(ghostnet: Artifact, onnx_ghostnet: Artifact) -> None:
    notes = read_onnx_header(onnx_ghostnet.folder / "inference.onnx").metadata
    labels = hashlib.sha256((onnx_ghostnet.folder / "labels.txt").read_bytes()).hexdigest()
    assert notes["labels_sha256"] == labels
    assert (notes["name"], notes["version"]) == (ghostnet.facts.name, ghostnet.facts.version)
    assert (notes["graph"], notes["output"], notes["preprocessing"]) == (
        "fused",
        "probabilities",
        "paddleclas",
    )
    assert [name for op in json.loads(notes["preprocess"]) for name in op][0] == "DecodeImage"


@needs_paddle2onnx
@needs_onnxruntime
def test_the_folder_is_an_artifact_with_the_same_golden(ghostnet: Artifact, onnx_ghostnet: Artifact) -> None:
    check_artifact(onnx_ghostnet)
    assert onnx_ghostnet.facts.target == "onnx"
    assert onnx_ghostnet.facts.graph == ghostnet.facts.graph
    assert onnx_ghostnet.facts.tools["paddle2onnx"]
    assert onnx_ghostnet.pipeline == ghostnet.pipeline
    assert onnx_ghostnet.class_names == ghostnet.class_names
    ours, theirs = read_golden(onnx_ghostnet), read_golden(ghostnet)
    np.testing.assert_array_equal(ours.tensor_logits, theirs.tensor_logits)
    report = json.loads((onnx_ghostnet.folder / "verify.json").read_text())
    assert report["passed"]
    assert "engine=onnxruntime threads=1, tensor" in {check["what"] for check in report["checks"]}


@needs_paddle2onnx
@needs_onnxruntime
def test_a_fixed_batch_gives_the_same_for_any_number_of_rows(
    fixed: Artifact, onnx_ghostnet: Artifact
) -> None:
    header = read_onnx_header(fixed.folder / "inference.onnx")
    assert (header.opset, header.inputs[0].name, header.outputs[0].name) == (OPSETS[-1], "image", "class")
    assert header.inputs[0].shape == (3, 3, SIZE, SIZE)
    images = np.random.RandomState(5).standard_normal((7, 3, SIZE, SIZE)).astype(np.float32)
    with TARGET.open(fixed, engine="onnxruntime") as one, TARGET.open(onnx_ghostnet) as other:
        expected = other(images)
        for count in (1, 2, 3, 4, 7):
            np.testing.assert_allclose(one(images[:count]), expected[:count], rtol=1e-4, atol=1e-6)


@needs_paddle2onnx
@needs_onnxruntime
def test_stock_and_logits(tmp_path: Path) -> None:
    """A network that is no GhostNet, in the graph that it was trained with."""
    from tests.export.toys import export_toy, make_toy

    source = export_toy(make_toy(4), tmp_path / "paddle", softmax=False)
    artifact = TARGET.export(source, tmp_path / "onnx", opset=13)
    facts = describe(artifact.folder / "inference.onnx")
    assert artifact.facts.models[0].output == "logits"
    assert facts["opset"] == [["", 13]]
    assert not set(facts["kinds"]) & {"Identity", "Constant", "Softmax"}
    assert facts["kinds"].count("BatchNormalization") == 1


@needs_paddle2onnx
@needs_onnxruntime
def test_another_networks_file_is_found(onnx_ghostnet: Artifact, ghostnet: Artifact, tmp_path: Path) -> None:
    golden = read_golden(onnx_ghostnet)
    wrong = dataclasses.replace(
        golden, tensor_logits=golden.tensor_logits + np.float32(0.1) * golden.tensor_logits
    )
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "inference.onnx").write_bytes((onnx_ghostnet.folder / "inference.onnx").read_bytes())
    artifact = write_artifact(dataclasses.replace(onnx_ghostnet, folder=folder), wrong)
    with pytest.raises(VerificationError, match="engine=onnxruntime"):
        verify(TARGET, artifact)
    (folder / "inference.onnx").write_bytes(b"cut")
    with pytest.raises(ArtifactError, match=r"inference\.onnx has 3 bytes"):
        verify_folder(folder)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"opset": 10}, "accepted: 11 to 26"),
        ({"opset": 27}, "accepted: 11 to 26"),
        ({"batch": 0}, "accepted: dynamic, or 1 to 1024"),
        ({"batch": 99999999999}, "accepted: dynamic, or 1 to 1024"),
        ({"input_name": "a b"}, "no name for an input"),
        ({"input_name": "x:0"}, "no name for an input"),
        ({"output_name": "类"}, "no name for an input or output"),
        ({"output_name": ""}, "no name for an input or output"),
        ({"output_name": "x"}, "both called 'x'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        OnnxOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--target", "onnx", "--opset", "30"], "accepted: 11 to 26"),
        (["--target", "onnx", "--graph", "stock"], "holds the graph 'fused', and 'stock' is asked for"),
        (["--target", "onnx", "-o", "Global.device=cpu"], "an exported folder (--artifact) has none"),
        (["--target", "onnx", "-c", "GhostNet_x0_5"], "Give either"),
        (["--target", "onnx", "--output", ""], "--output is empty"),
        (["--opset", "11"], "--opset is for --target onnx"),
        ([], "the target 'paddle' takes a network: give -c CONFIG"),
    ],
)
def test_commands_that_cannot_be(
    ghostnet: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    out = tmp_path / "onnx"
    assert main(["export", "--artifact", str(ghostnet.folder), "--output", str(out), *words]) == 2
    assert sentence in capfd.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("batch", ["0", "-1", "many"])
def test_a_batch_is_a_number_or_dynamic(batch: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--artifact", "x", "--target", "onnx", "--batch", batch])
    assert "--batch" in capfd.readouterr().err


def test_output_belongs_to_an_artifact(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "-c", "GhostNet_x0_5", "--output", "x"]) == 2
    assert "Global.save_inference_dir" in capfd.readouterr().err


def test_what_is_in_the_way_stays(ghostnet: Artifact, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        TARGET.export(ghostnet, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_beside_the_folder_that_one_stands_in(
    copied: Callable[[], Artifact], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copied().folder
    other = folder.with_name(f"{folder.name}_onnx")
    other.mkdir()
    (other / "mine.txt").touch()
    monkeypatch.chdir(folder)
    assert main(["export", "--artifact", ".", "--target", "onnx"]) == 2
    assert f"{other} holds files that no export wrote (mine.txt)" in capfd.readouterr().err


def test_the_source_is_never_replaced(copied: Callable[[], Artifact], tmp_path: Path) -> None:
    """The folder holds nothing but an export, so without a word it would become its own ONNX form."""
    artifact = copied()
    (tmp_path / "link").symlink_to(artifact.folder)
    for out in (artifact.folder, artifact.folder / ".." / artifact.folder.name, tmp_path / "link"):
        with pytest.raises(OutputError, match="is the folder that is converted"):
            TARGET.export(artifact, out)
    check_artifact(read_artifact(artifact.folder))


@needs_paddle2onnx
def test_a_broken_source_leaves_nothing(copied: Callable[[], Artifact], tmp_path: Path) -> None:
    artifact = copied()
    golden = read_golden(artifact)
    graph = artifact.folder / "inference.json"
    graph.write_bytes(graph.read_bytes()[:2000])
    with pytest.raises(ArtifactError, match=r"inference\.json has 2000 bytes"):
        TARGET.export(artifact, tmp_path / "onnx")
    artifact = write_artifact(artifact, golden)
    with pytest.raises(ArtifactError, match="cannot become ONNX: "):
        TARGET.export(artifact, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


@needs_paddle2onnx
@needs_onnxruntime
def test_onnx_is_not_converted_again(onnx_ghostnet: Artifact, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--artifact", str(onnx_ghostnet.folder), "--target", "onnx"]) == 2
    assert "was exported for 'onnx'; the target 'onnx' takes one for 'paddle'" in capfd.readouterr().err


@needs_paddle2onnx
@needs_onnxruntime
@pytest.mark.parametrize(("form", "opset"), [("json", 13), ("pdmodel", 10)])
def test_paddle2onnx_by_itself_reads_what_we_export(
    ghostnet: Artifact, tmp_path: Path, form: str, opset: int
) -> None:
    """The json form as its documents have it, and the pdmodel form as PaddleClas' documents have it."""
    out = tmp_path / "inference.onnx"
    words = ["--model_dir", str(ghostnet.folder), "--model_filename", f"inference.{form}"]
    words += ["--params_filename", "inference.pdiparams", "--save_file", str(out)]
    words += ["--opset_version", str(opset), "--enable_onnx_checker", "True", "--optimize_tool", "None"]
    start = "from paddle2onnx.command import main; main()"
    ran = subprocess.run(
        [str(ensure_environment(PADDLE2ONNX)), "-c", start, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert out.exists(), ran.stdout + ran.stderr
    golden = read_golden(ghostnet)
    with open_engine("onnxruntime", out, (3, SIZE, SIZE)) as network:
        given = network(golden.tensor)
    expected = np.exp(golden.tensor_logits.astype(np.float64))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-6)


@needs_onnxruntime
def test_a_foreign_file_as_the_model(onnx_ghostnet: Artifact, tmp_path: Path) -> None:
    """A whole folder whose ONNX file is another network's: of another size, of other classes."""
    golden = read_golden(onnx_ghostnet)
    (tmp_path / "inference.onnx").write_bytes(tiny_onnx(class_num=3, side=SIZE))
    artifact = write_artifact(dataclasses.replace(onnx_ghostnet, folder=tmp_path), golden)
    with pytest.raises(VerificationError, match=r"the shape is \[2, 3\] instead of \[2, 7\]"):
        verify(TARGET, artifact)
    (tmp_path / "inference.onnx").write_bytes(tiny_onnx(class_num=CLASS_NUM, side=64))
    artifact = write_artifact(read_artifact(tmp_path), golden)
    with pytest.raises(ArtifactError, match="cannot"):
        verify(TARGET, artifact)
