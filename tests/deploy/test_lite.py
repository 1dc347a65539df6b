"""Paddle Lite: what is exported is whole and the network's own, and what is broken is told in words."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import paddle
import pytest

from ppghost.artifact import Artifact, read_artifact, read_golden
from ppghost.cli import main
from ppghost.environments import LITE, is_made
from ppghost.errors import ArtifactError, GhostError
from ppghost.export.lite import LitePredictor, check_manifest, convert, read_nb_header
from ppghost.export.lite.artifact import DEFAULT_GRAPH
from ppghost.export.lite.convert import Form, convert_to_nb
from ppghost.export.paddle import export_network
from ppghost.export.target import load_target
from ppghost.files import sha256_of
from ppghost.vision import Pipeline
from ppghost.zoo import build_model
from tests.deploy.conftest import SIZE
from tests.export.toys import calibrated, make_toy, pipeline_of

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "deploy" / "lite" / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(
    not is_made(LITE),
    reason="Paddle Lite is not here. "
    "To get it: python -c 'from ppghost import environments as e; e.ensure_environment(e.LITE)'",
)


@pytest.fixture(scope="module")
def lite(lite_ghostnet: Artifact) -> Artifact:
    """The exported network for Paddle Lite; leave it as it is."""
    return lite_ghostnet


@pytest.fixture
def broken(lite: Artifact, tmp_path: Path) -> Artifact:
    """A copy to be written into."""
    shutil.copytree(lite.folder, tmp_path / "copy")
    return read_artifact(tmp_path / "copy")


def test_manifest_tells_what_lies_in_the_folder(lite: Artifact) -> None:
    manifest = json.loads(lite.path_of("ppghost.json").read_text(encoding="utf-8"))
    rows = {(row["arch"], row["precision"]): row for row in manifest["models"]}
    assert set(rows) == {("x86", "fp32"), ("armv8", "fp32"), ("armv7", "fp32"), ("armv8", "fp16")}
    for row in manifest["models"]:
        path = lite.path_of(row["file"])
        assert (row["size_bytes"], row["sha256"]) == (path.stat().st_size, sha256_of(path))
        assert (row["meta_version"], row["opt_version"]) == (2, "v2.13-rc")
    # With 1000 classes it is 53 %; of a network this small the graph is a larger part.
    assert rows["armv8", "fp16"]["size_bytes"] < 0.6 * rows["armv8", "fp32"]["size_bytes"]
    assert manifest["input"] == {"name": "x", "shape": [1, 3, SIZE, SIZE]}
    assert manifest["output"]["softmax"] is True
    assert manifest["labels_sha256"] == sha256_of(lite.path_of("labels.txt"))
    assert manifest["class_num"] == lite.facts.class_num


def test_golden_files_are_golden_and_the_manifest_describes_the_way_between_them(lite: Artifact) -> None:
    manifest = json.loads(lite.path_of("ppghost.json").read_text(encoding="utf-8"))
    golden = read_golden(lite)
    given = np.fromfile(lite.path_of("golden_input.bin"), "<f4").reshape(3, SIZE, SIZE)
    np.testing.assert_array_equal(given, golden.picture_tensor)
    expected = np.fromfile(lite.path_of("golden_output.bin"), "<f4")
    odds = np.exp(golden.picture_logits - golden.picture_logits.max())
    np.testing.assert_allclose(expected, odds / odds.sum(), rtol=1e-5, atol=1e-8)
    for name in ("input", "output", "picture"):
        file = lite.path_of(manifest["golden"][name])
        assert manifest["golden"][f"{name}_sha256"] == sha256_of(file)
    # Done here by hand, as the programs on the phone do it.
    way = manifest["preprocess"]
    picture = cv2.cvtColor(cv2.imread(str(lite.path_of("golden_picture.png"))), cv2.COLOR_BGR2RGB)
    factor = way["resize_short"] / min(picture.shape[:2])
    sides = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    picture = cv2.resize(picture, sides, interpolation=cv2.INTER_LINEAR)
    top, left = ((side - way["crop"]) // 2 for side in picture.shape[:2])
    window = picture[top : top + way["crop"], left : left + way["crop"]]
    assert way["channel_order"] == "RGB"
    tensor = ((window * way["scale"] - way["mean"]) / way["std"]).transpose(2, 0, 1)
    assert np.abs(tensor - given).max() <= 1.01 / 255 / min(way["std"])


def test_lite_gives_the_numbers_of_the_network_for_any_number_of_rows(lite: Artifact) -> None:
    images = np.random.RandomState(0).randn(3, 3, SIZE, SIZE).astype(np.float32)
    with load_target("lite").open(lite) as predictor:
        together = predictor(images)
        for image, row in zip(images, together):
            np.testing.assert_allclose(predictor(image[None])[0], row, rtol=1e-5)
        with predictor.clone() as other:
            np.testing.assert_array_equal(other(images), together)
        for wrong in (images[:, :1], images[:0], images[0]):
            with pytest.raises(GhostError, match="accepted"):
                predictor(wrong)
    with pytest.raises(GhostError, match="released"):
        predictor(images)


def test_the_same_network_gives_the_same_bytes(ghostnet: Artifact, lite: Artifact, tmp_path: Path) -> None:
    form = Form("arm", fp16=True)
    convert_to_nb(ghostnet, form, tmp_path / "again.nb")
    assert sha256_of(tmp_path / "again.nb") == sha256_of(lite.path_of(form.file_name))


def _version(data: bytes) -> bytes:
    return data[:2] + b"v2.12\0".ljust(16, b"\0") + data[18:]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: data[:1], "cut off"),
        (lambda data: data[:20], "cut off"),
        (lambda data: data[:1000], "cut off"),
        (lambda data: b"PK\3\4" + data[4:], "no .nb file"),
        (lambda data: b'{"format": 1, "name": "GhostNet"}', "no .nb file"),
        (lambda data: struct.pack("<H", 1) + data[2:], "of form 1"),
        (_version, "converted by Paddle Lite v2.12"),
    ],
)
def test_a_bad_file_is_refused_before_lite_sees_it(
    lite: Artifact, tmp_path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "bad.nb"
    path.write_bytes(spoil(lite.path_of("inference.x86.fp32.nb").read_bytes()))
    with pytest.raises(ArtifactError, match=re.escape(said)) as caught:
        LitePredictor(path, lite.facts.input_shape)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_told(lite: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_nb_header(tmp_path / "missing.nb")


def test_a_file_that_kills_lite_becomes_a_sentence(lite: Artifact, tmp_path: Path) -> None:
    data = lite.path_of("inference.x86.fp32.nb").read_bytes()
    path = tmp_path / "bad.nb"
    path.write_bytes(data[:26] + bytes(len(data) - 26))
    with pytest.raises(GhostError, match="crashed: its process ended with code -") as caught:
        LitePredictor(path, lite.facts.input_shape)
    assert str(path) in str(caught.value)


def test_a_graph_that_kills_the_converter_becomes_a_sentence(
    copied: Callable[[], Artifact], tmp_path: Path
) -> None:
    source = copied()
    graph = source.path_of(source.facts.model("pdmodel").graph)
    graph.write_bytes(graph.read_bytes().replace(b"depthwise_conv2d", b"nobodysoperator!"))
    with pytest.raises(ArtifactError, match="converter"):
        convert_to_nb(source, Form("x86"), tmp_path / "never.nb")
    assert not (tmp_path / "never.nb").exists()
    graph.write_bytes(b"\x0f")
    with pytest.raises(ArtifactError, match="no .pdmodel program"):
        convert_to_nb(source, Form("x86"), tmp_path / "never.nb")


def test_a_converter_that_ends_well_and_writes_nothing_is_told(
    ghostnet: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paddle Lite's converter does so where it cannot write; here a program does it in its place."""
    silent = tmp_path / "silent.py"
    silent.write_text("print('all is well')\n", encoding="utf-8")
    monkeypatch.setattr(convert, "_CONVERTER", silent)
    with pytest.raises(ArtifactError, match="ended well and wrote nothing") as caught:
        convert_to_nb(ghostnet, Form("x86"), tmp_path / "never.nb")
    assert "all is well" in str(caught.value)
    assert not (tmp_path / "never.nb").exists()


def test_what_was_changed_is_found(broken: Artifact) -> None:
    manifest = broken.path_of("ppghost.json")
    text = manifest.read_text(encoding="utf-8")
    for old, new in (('"topk": ', '"topk": 1'), ('"mean": [', '"mean": [\n0.1,'), ("{", "[")):
        manifest.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ArtifactError, match=r"ppghost\.json"):
            check_manifest(broken)
    for nonsense in (b"\xff", b"[" * 100_000, b""):
        manifest.write_bytes(nonsense)
        with pytest.raises(ArtifactError, match=r"ppghost\.json cannot be read"):
            check_manifest(broken)
    manifest.write_text(text, encoding="utf-8")
    check_manifest(broken)
    broken.path_of("golden_output.bin").write_bytes(bytes(4))
    with pytest.raises(ArtifactError, match=r"golden_output\.bin"):
        check_manifest(broken)
    manifest.unlink()
    broken.path_of("golden_output.bin").unlink()
    with pytest.raises(ArtifactError, match="no model folder"):
        check_manifest(broken)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("inference.x86.fp32.nb", b""),
        ("labels.txt", b"0 ant\n1 bee\n"),
        ("ppghost.json", None),
        ("inference.arm.fp32.nb", None),
    ],
)
def test_command_line_refuses_a_broken_folder(
    broken: Artifact, name: str, data: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken.path_of(name)
    path.unlink() if data is None else path.write_bytes(data)
    assert main(["verify", str(broken.folder)]) == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ops", "said"),
    [
        ([{"ResizeImage": {"size": SIZE}}, {"CropImage": {"size": SIZE}}], "resizing"),
        (
            [
                {"ResizeImage": {"resize_short": 40, "interpolation": "bicubic"}},
                {"CropImage": {"size": SIZE}},
            ],
            "resizing",
        ),
        ([{"ResizeImage": {"size": SIZE}}], "it is"),
    ],
)
def test_a_preprocessing_that_no_phone_knows_is_refused(tmp_path: Path, ops: list[dict], said: str) -> None:
    rest = [{"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]
    source = export_network(
        make_toy(1),
        tmp_path / "toy",
        name="toy",
        image_shape=(3, SIZE, SIZE),
        pipeline=Pipeline.from_list([*ops, *rest]),
        graph="stock",
    )
    with pytest.raises(ArtifactError, match=said):
        load_target("lite").export(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_that_lite_has_not_are_refused(lite: Artifact, ghostnet: Artifact, tmp_path: Path) -> None:
    target = load_target("lite")
    for options in ({"engine": "openvino"}, {"precision": "fp16"}, {"threads": 0}, {"batch_size": 0}):
        with pytest.raises(GhostError, match="ccepted"):
            target.open(lite, **options)
    with pytest.raises(ArtifactError, match="holds the graph"):
        target.export(ghostnet, tmp_path / "out", graph="stock")


def test_arm_is_checked_with_a_folder_for_paddle_only(lite: Artifact) -> None:
    program = ROOT / "deploy" / "lite" / "check_arm64.py"
    for words, said in (([str(lite.folder)], "exported for Paddle"), (["nowhere"], "no folder"), ([], "")):
        ran = subprocess.run(
            [sys.executable, str(program), *words], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 2
        assert said in ran.stderr


def test_every_command_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All but those of the benchmark, which needs a result, and of qemu, which takes minutes."""
    monkeypatch.chdir(tmp_path)
    paddle.seed(6)
    net = calibrated(build_model("GhostNet_x1_0"), 64)
    paddle.save(net.state_dict(), "output/best_model.pdparams")
    export_network(
        calibrated(build_model("GhostNet_x0_5", class_num=7), SIZE),
        Path("inference"),
        name="GhostNet_x0_5",
        image_shape=(3, SIZE, SIZE),
        pipeline=pipeline_of(SIZE),
    )
    cv2.imwrite("picture.jpg", np.random.RandomState(1).randint(0, 256, (60, 80, 3)).astype(np.uint8))
    lines = re.findall(r"^    ((?:ppghost|python) .*)$", README.replace("\\\n", " "), re.MULTILINE)
    commands = [shlex.split(line) for line in lines]
    assert len(commands) == 7
    for words in commands:
        if words[0] == "ppghost" and words[1] != "bench":
            assert main(words[1:]) == 0, words
            if words[1] == "export":
                assert read_artifact(Path("inference_lite")).facts.graph == DEFAULT_GRAPH
        elif "export_lite.py" in words[1]:
            ran = subprocess.run([sys.executable, str(ROOT / words[1]), *words[2:]], check=False)
            assert ran.returncode == 0, words
        else:
            assert words[1] == "bench" or (ROOT / words[1]).is_file()
    out, _ = capfd.readouterr()
    assert len(re.findall(r"^ok  precision=fp32, (?:tensor|picture): ", out, re.MULTILINE)) == 2
    assert json.loads(next(line for line in out.splitlines() if line.startswith('{"class_ids"')))
