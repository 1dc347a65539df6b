"""Ascend's files: bins, lists, command lines and AIPP's configuration, byte by byte."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ascend
import atc
import bins
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppghost.artifact import SCHEMA, Artifact, Facts, Golden, ModelFile, write_artifact
from ppghost.engines.onnx_header import Tensor, read_onnx_header
from ppghost.errors import ArtifactError, ConfigError
from ppghost.vision import Pipeline
from ppghost.vision.variants import VARIANTS
from tests.conftest import ROOT
from tests.deploy.tiny_onnx import tiny_onnx

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = ("n01440764_1.JPEG", "with blank.jpg", "a:colon.png", "鬼.jpg", "two.dots.jpg")


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (90, 70)) -> np.ndarray:
    """Write a picture of noise; return its levels as Pillow decodes them."""
    rows = np.random.RandomState(seed).randint(0, 256, (size[1] // 5 + 1, size[0] // 5 + 1, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rows.repeat(5, 0).repeat(5, 1)[: size[1], : size[0]]).save(path)
    return np.asarray(Image.open(path).convert("RGB"))


def by_the_published_program(path: Path) -> bytes:
    """Return the bin that ImageNet preprocessing with Pillow and NumPy writes."""
    image = Image.open(path).convert("RGB")
    short, long = sorted(image.size)
    size = (256, int(256 * long / short)) if image.width <= image.height else (int(256 * long / short), 256)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (int(round((side - 224) / 2.0)) for side in size)
    pixels = np.array(image.crop((left, top, left + 224, top + 224)), np.float32).transpose(2, 0, 1) / 255.0
    pixels -= np.array(MEAN, np.float32)[:, None, None]
    pixels /= np.array(STD, np.float32)[:, None, None]
    return pixels.astype("<f4").tobytes("C")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        draw(tmp_path / "pictures" / name, seed, (90 + 7 * seed, 70))
    return tmp_path / "pictures"


def test_a_bin_is_what_the_published_program_writes(pictures: Path, tmp_path: Path) -> None:
    assert ascend.main(["prepare", str(pictures), str(tmp_path / "bins")]) == 0
    for name in NAMES:
        data = (tmp_path / "bins" / Path(name).with_suffix(".bin").name).read_bytes()
        assert len(data) == 602_112
        assert data == by_the_published_program(pictures / name)


@pytest.mark.parametrize("way", ["torchvision", "paddleclas"])
def test_the_record_tells_the_way(pictures: Path, tmp_path: Path, way: str) -> None:
    assert ascend.main(["prepare", str(pictures), str(tmp_path / "bins"), "--way", way]) == 0
    record = json.loads((tmp_path / "bins" / "prepare.json").read_text(encoding="utf-8"))
    assert record["preprocessing"] == way
    assert (record["written"], record["failures"], record["shape"]) == (len(NAMES), {}, [3, 224, 224])
    pipeline = Pipeline.from_list(record["transform_ops"])
    assert pipeline == VARIANTS[way]
    expected = pipeline.to_chw((pictures / NAMES[0]).read_bytes()).astype("<f4").tobytes()
    assert (tmp_path / "bins" / "n01440764_1.bin").read_bytes() == expected


def test_the_number_of_threads_changes_nothing(pictures: Path, tmp_path: Path) -> None:
    contents = []
    for threads in ("1", "3"):
        folder = tmp_path / threads
        assert ascend.main(["prepare", str(pictures), str(folder), "--threads", threads]) == 0
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_a_broken_picture_is_told_and_leaves_no_bin(pictures: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "bins"
    assert ascend.main(["prepare", str(pictures), str(folder)]) == 0
    broken = pictures / "鬼.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    assert ascend.main(["prepare", str(pictures), str(folder)]) == 1
    assert "鬼.jpg" in capsys.readouterr().err
    assert not (folder / "鬼.bin").exists()
    record = json.loads((folder / "prepare.json").read_text(encoding="utf-8"))
    assert (record["written"], list(record["failures"])) == (4, ["鬼.jpg"])


def test_two_pictures_of_one_stem_are_refused_before_anything_is_written(
    pictures: Path, tmp_path: Path, capsys
) -> None:
    for other in ("with blank.png", "two.points.jpg", "deeper/a:colon.jpg"):
        draw(pictures / other)
        assert ascend.main(["prepare", str(pictures), str(tmp_path / "bins")]) == 2
        assert Path(other).name in capsys.readouterr().err
        assert not (tmp_path / "bins").exists()
        (pictures / other).unlink()


def test_a_folder_with_other_bins_is_refused(pictures: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "bins"
    folder.mkdir()
    (folder / "stranger.bin").write_bytes(b"1")
    assert ascend.main(["prepare", str(pictures), str(folder)]) == 2
    assert "stranger.bin" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["stranger.bin"]


def test_bins_for_aipp_hold_the_levels_that_the_other_bins_are_computed_from(
    pictures: Path, tmp_path: Path
) -> None:
    assert ascend.main(["prepare", str(pictures), str(tmp_path / "levels"), "--aipp"]) == 0
    for path in (tmp_path / "levels").glob("*.bin"):
        levels = np.frombuffer(path.read_bytes(), np.uint8).reshape(224, 224, 3)
        [source] = [pictures / name for name in NAMES if Path(name).stem == path.stem]
        floats = np.frombuffer(by_the_published_program(source), "<f4").reshape(3, 224, 224)
        computed = np.rint((floats * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]) * 255)
        assert np.array_equal(levels.transpose(2, 0, 1), computed)


@pytest.mark.parametrize("way", ["torchvision", "paddleclas"])
def test_aipp_computes_the_normalisation(tmp_path: Path, way: str) -> None:
    assert ascend.main(["aipp", str(tmp_path / "aipp.config"), "--way", way]) == 0
    first, *lines, last = (tmp_path / "aipp.config").read_text(encoding="ascii").splitlines()
    assert (first, last) == ("aipp_op {", "}")
    values = dict(line.strip().split(": ") for line in lines)
    assert (values["aipp_mode"], values["input_format"]) == ("static", "RGB888_U8")
    assert (values["src_image_size_w"], values["src_image_size_h"]) == ("224", "224")
    assert "mean_chn_0" not in values  # whole numbers only
    for channel in range(3):
        levels = np.arange(256)
        computed = (levels - float(values[f"min_chn_{channel}"])) * float(values[f"var_reci_chn_{channel}"])
        np.testing.assert_allclose(computed, (levels / 255 - MEAN[channel]) / STD[channel], atol=1e-9)


def test_lists_have_the_documented_lines(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        draw(tmp_path / "p" / f"val_{number}.jpg", size=(30 + number, 40))
    assert ascend.main(["prepare", str(tmp_path / "p"), str(tmp_path / "bins")]) == 0
    assert ascend.main(["info", "bin", str(tmp_path / "bins"), str(tmp_path / "bin.info"), "224", "224"]) == 0
    expected = [f"{i} {tmp_path}/bins/val_{n}.bin 224 224\n" for i, n in enumerate((1, 9, 10))]
    assert (tmp_path / "bin.info").read_text(encoding="utf-8") == "".join(expected)
    assert ascend.main(["info", "jpg", str(tmp_path / "p"), str(tmp_path / "jpg.info")]) == 0
    sizes = {line.split()[1]: line.split()[2:] for line in (tmp_path / "jpg.info").read_text().splitlines()}
    assert sizes[f"{tmp_path}/p/val_9.jpg"] == ["39", "40"]


def test_no_place_is_not_this_folder(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        ascend.main(["prepare", "", str(tmp_path / "bins")])
    assert ended.value.code == 2
    assert "the path is empty" in capsys.readouterr().err


def test_names_do_not_steer_the_terminal(tmp_path: Path, capsys) -> None:
    assert ascend.main(["prepare", str(tmp_path / "\x1b[31mred\udc80"), str(tmp_path / "bins")]) == 2
    told = capsys.readouterr().err
    assert "\\x1b[31mred\\udc80" in told
    assert "\x1b" not in told


def test_a_blank_in_a_list_is_refused(pictures: Path, tmp_path: Path, capsys) -> None:
    assert ascend.main(["info", "jpg", str(pictures), str(tmp_path / "jpg.info")]) == 2
    assert "with blank.jpg" in capsys.readouterr().err
    assert not (tmp_path / "jpg.info").exists()


def test_the_command_of_atc_is_the_published_one(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ghostnet.onnx").write_bytes(tiny_onnx())
    arguments = [
        "convert",
        "ghostnet.onnx",
        "--soc",
        "Ascend310P3",
        "--batch",
        "1",
        "16",
        "1",
        "--print-only",
    ]
    assert ascend.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "atc --framework=5 --model=ghostnet.onnx --input_format=NCHW "
        f'--input_shape="image:{batch},3,224,224" --output=ghostnet_bs{batch} --log=debug '
        "--soc_version=Ascend310P3"
        for batch in (1, 16)
    ]
    assert ascend.main([*arguments, "--aipp", "aipp.config"]) == 0
    assert all(
        line.endswith(" --insert_op_conf=aipp.config") for line in capsys.readouterr().out.splitlines()
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell to act as atc")
def test_atc_is_run_with_what_was_printed(tmp_path: Path, monkeypatch, capfd) -> None:
    program = tmp_path / "bin" / "atc"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor word in "$@"; do echo "got $word"; done\nexit ${ATC_CODE:-0}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    (tmp_path / "my model.onnx").write_bytes(tiny_onnx())
    arguments = ["convert", str(tmp_path / "my model.onnx"), "--batch", "4", "--output", str(tmp_path / "om")]
    assert ascend.main(arguments) == 0
    got = [line[4:] for line in capfd.readouterr().out.splitlines() if line.startswith("got ")]
    assert f"--model={tmp_path}/my model.onnx" in got
    assert "--input_shape=image:4,3,224,224" in got
    monkeypatch.setenv("ATC_CODE", "3")
    assert ascend.main(arguments) == 2
    assert "code 3" in capfd.readouterr().err


def test_without_atc_the_commands_are_printed_and_the_remedy(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "m.onnx").write_bytes(tiny_onnx())
    assert ascend.main(["convert", str(tmp_path / "m.onnx")]) == 0
    told = capsys.readouterr()
    assert told.out.count("atc --framework=5") == 5
    assert "CANN" in told.err


@pytest.mark.parametrize(
    ("model", "batch", "soc", "complaint"),
    [
        (tiny_onnx(opset=10), 1, "Ascend310", "operator set 10"),
        (tiny_onnx(opset=17), 1, "Ascend310", "operator set 17"),
        (tiny_onnx(batch=4), 1, "Ascend310", "exported with 4"),
        (tiny_onnx(), 0, "Ascend310", "batch size is 0"),
        (tiny_onnx(), 1, "310", "npu-smi"),
        (tiny_onnx(side=None), 1, "Ascend310", r"\[None, 3, None, None\]"),  # type: ignore[arg-type]
    ],
)
def test_what_atc_would_refuse_is_refused_first(
    tmp_path: Path, model: bytes, batch: int, soc: str, complaint: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    with pytest.raises(ConfigError, match=complaint):
        atc.plan(path, [batch], soc, tmp_path)


@given(
    st.sampled_from([None, "N", 1, 32]), st.integers(1, 20), st.text(min_size=1, max_size=8), st.booleans()
)
def test_the_header_of_an_onnx_file_is_read_right(
    tmp_path_factory, batch, opset: int, name: str, listed: bool
) -> None:
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    path.write_bytes(tiny_onnx(7, 32, batch, opset, name, lists_weights_as_inputs=listed))
    header = read_onnx_header(path)
    side = batch if isinstance(batch, int) else None
    assert header.opset == opset
    assert [tensor.name for tensor in header.inputs if tensor.name not in ("matrix", "bias")] == [name]
    assert header.inputs == (Tensor(name, (side, 3, 32, 32)),)
    assert header.outputs == (Tensor("class", (side, 7)),)


@given(st.data())
def test_a_damaged_onnx_file_is_told(tmp_path_factory, data) -> None:
    whole = tiny_onnx(3, 8)
    cut = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    path.write_bytes(data.draw(st.one_of(st.just(whole[:cut]), st.binary(max_size=60))))
    with contextlib.suppress(ArtifactError):
        assert read_onnx_header(path).outputs


def test_the_program_runs_as_the_readme_says(pictures: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "deploy/ascend/ascend.py", "prepare", str(pictures), str(tmp_path / "bins")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "5 of 5 pictures prepared (torchvision, float32 [3, 224, 224])" in ran.stdout
    assert len(bins.list_bins(tmp_path / "bins")) == 5


def write_artifact_of(pipeline: Pipeline, folder: Path) -> Artifact:
    """Write an artifact without a network; only its preprocessing is used."""
    folder.mkdir()
    (folder / "inference.onnx").write_bytes(b"none")
    facts = Facts(
        schema=SCHEMA,
        target="onnx",
        name="ghost",
        version="0",
        input_shape=(3, 32, 32),
        class_num=1,
        output="logits",
        models=(ModelFile("onnx", "inference.onnx", None, "image", "class"),),
        tools={},
    )
    tensor, logits = np.zeros((1, 3, 32, 32), np.float32), np.zeros((1, 1), np.float32)
    return write_artifact(
        Artifact(folder, facts, pipeline), Golden(tensor, logits, b"", tensor[0], logits[0])
    )


def test_an_artifact_brings_its_own_preprocessing(pictures: Path, tmp_path: Path) -> None:
    entries = VARIANTS["torchvision"].to_list()
    entries[1:3] = [{"Resize": {"size": 36}}, {"CenterCrop": {"size": 32}}]
    artifact = write_artifact_of(Pipeline.from_list(entries), tmp_path / "inference")
    assert (
        ascend.main(["prepare", str(pictures), str(tmp_path / "b"), "--artifact", str(artifact.folder)]) == 0
    )
    for path in (tmp_path / "b").glob("*.bin"):
        [source] = [pictures / name for name in NAMES if Path(name).stem == path.stem]
        assert path.read_bytes() == artifact.pipeline.to_chw(source.read_bytes()).tobytes()
    assert ascend.main(["aipp", str(tmp_path / "c"), "--artifact", str(artifact.folder)]) == 0
    assert "src_image_size_w: 32" in (tmp_path / "c").read_text(encoding="ascii")
