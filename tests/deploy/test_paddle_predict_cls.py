"""PaddleClas' door: its configuration unchanged, its lines letter for letter, keys honoured or refused."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import paddle
import pytest

from ppghost.artifact import Artifact
from ppghost.cli import main
from ppghost.cli.predict_cls import result_line
from ppghost.config.inference_cls import load_inference_cls
from ppghost.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
# PaddleClas' deploy/configs/inference_cls.yaml, its numbers for ImageNet included.
PADDLECLAS = """\
Global:
  infer_imgs: "./images/ImageNet/ILSVRC2012_val_00000010.jpeg"
  inference_model_dir: "./models"
  batch_size: 1
  use_gpu: True
  enable_mkldnn: True
  cpu_num_threads: 10
  enable_benchmark: True
  use_fp16: False
  ir_optim: True
  use_tensorrt: False
  gpu_mem: 8000
  enable_profile: False

PreProcess:
  transform_ops:
    - ResizeImage:
        resize_short: 256
    - CropImage:
        size: 224
    - NormalizeImage:
        scale: 0.00392157
        mean: [0.485, 0.456, 0.406]
        std: [0.229, 0.224, 0.225]
        order: ""
        channel_num: 3
    - ToCHWImage:

PostProcess:
  main_indicator: Topk
  Topk:
    topk: 5
    class_id_map_file: "../ppcls/utils/imagenet1k_label_list.txt"
  SavePreLabel:
    save_dir: ./pre_label/
"""
# The toy takes pictures of 32 x 32.
SMALL = [
    "PreProcess.transform_ops.0.ResizeImage.resize_short=36",
    "PreProcess.transform_ops.1.CropImage.size=32",
]


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    path = tmp_path / "inference_cls.yaml"
    path.write_text(PADDLECLAS)
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Five noisy pictures of several sizes and kinds."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.RandomState(5)
    for number, name in enumerate(("b.jpg", "a.jpeg", "deep/c.png", "d.JPG", "e.bmp")):
        image = cv2.resize(
            rng.randint(0, 256, (5, 6, 3)).astype(np.uint8), (50 + 9 * number, 40 + 20 * number)
        )
        cv2.imwrite(str(folder / name), image)
    return folder


def words(yaml_file: Path, *overrides: str, small: bool = True) -> list[str]:
    given = ["Global.use_gpu=False", *(SMALL if small else []), *overrides]
    return ["predict_cls", "-c", str(yaml_file), *(word for value in given for word in ("-o", value))]


def reference_lines(folder: Path, pictures: Path, names: Optional[list[str]], topk: int) -> list[str]:
    """Return what PaddleClas' program prints, computed by another way: OpenCV, NumPy and Paddle alone."""
    config = paddle.inference.Config(str(folder / "inference.pdmodel"), str(folder / "inference.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    result = predictor.get_output_handle(predictor.get_output_names()[0])
    lines = []
    for path in sorted(str(path) for path in pictures.rglob("*") if path.is_file()):
        image = cv2.imread(path)[:, :, ::-1]
        height, width = image.shape[:2]
        ratio = 36 / min(height, width)
        image = cv2.resize(image, (round(width * ratio), round(height * ratio)))
        top, left = (image.shape[0] - 32) // 2, (image.shape[1] - 32) // 2
        image = image[top : top + 32, left : left + 32].astype("float32") * np.float32(0.00392157)
        mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
        source.copy_from_cpu(np.ascontiguousarray(((image - mean) / std).transpose(2, 0, 1)[None]))
        predictor.run()
        [row] = result.copy_to_cpu()
        best = np.argsort(-row)[:topk].tolist()
        scores = ", ".join(f"{round(float(row[index]), 5):.2f}" for index in best)
        labels = [names[index] for index in best] if names else []
        name = os.path.basename(path)
        lines.append(f"{name}:\tclass id(s): {best}, score(s): [{scores}], label_name(s): {labels}")
    return lines


@pytest.mark.parametrize("batch_size", [1, 3])
def test_our_folder_gives_paddleclas_lines(
    ghostnet: Artifact, yaml_file: Path, photographs: Path, capfd: pytest.CaptureFixture[str], batch_size: int
) -> None:
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs}"]
    assert main(words(yaml_file, *where, f"Global.batch_size={batch_size}")) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == reference_lines(ghostnet.folder, photographs, ghostnet.class_names, 5)
    assert "own class names are used" in err
    assert "PreProcess differs" not in err


@pytest.mark.parametrize("form", ["pdmodel", "json"])
def test_a_folder_that_paddleclas_exported(
    ghostnet: Artifact,
    yaml_file: Path,
    photographs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    form: str,
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in (f"inference.{form}", "inference.pdiparams"):
        shutil.copy(ghostnet.folder / name, folder)
    (folder / "inference.yml").write_text("Global:\n  model_name: GhostNet_x0_5\n")
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{number} class {number}\n" for number in range(7)))
    where = [f"Global.inference_model_dir={folder}", f"Global.infer_imgs={photographs}"]
    where += [f"PostProcess.Topk.class_id_map_file={labels}", "PostProcess.Topk.topk=2"]
    assert main(words(yaml_file, *where, "Global.enable_mkldnn=False", "Global.cpu_num_threads=1")) == 0
    names = [f"class {number}" for number in range(7)]
    assert capfd.readouterr().out.splitlines() == reference_lines(ghostnet.folder, photographs, names, 2)


def test_the_program_of_the_checkout(ghostnet: Artifact, yaml_file: Path, photographs: Path) -> None:
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs / 'b.jpg'}"]
    given = words(
        yaml_file, *where, "PostProcess.Topk.label_list=['ant','bee','cat','dog','elk','fox','gnu']"
    )
    program = ROOT / "deploy" / "paddle" / "predict_cls.py"
    ran = subprocess.run(
        [sys.executable, str(program), *given[1:]],
        capture_output=True,
        text=True,
        check=False,
        cwd=yaml_file.parent,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("b.jpg:\tclass id(s): [")
    assert ran.stdout.count("\n") == 1
    assert {path.name for path in yaml_file.parent.iterdir()} == {"inference_cls.yaml", "pictures"}


def test_a_broken_picture_is_told_and_skipped(
    ghostnet: Artifact, yaml_file: Path, photographs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (photographs / "c.jpg").write_bytes(b"no picture")
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs}"]
    assert main(words(yaml_file, *where, "Global.batch_size=4")) == 1
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 5
    assert "c.jpg: " in err


def test_a_single_broken_picture_is_an_error(
    ghostnet: Artifact, yaml_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={tmp_path / 'c.jpg'}"]
    assert main(words(yaml_file, *where)) == 2
    assert "c.jpg: This is no picture" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_names_that_are_no_utf8_are_escaped(
    ghostnet: Artifact, yaml_file: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.rename(photographs / "b.jpg", os.fsencode(photographs) + b"/b\xff.jpg")
    (photographs / os.fsdecode(b"c\xff.jpg")).write_bytes(b"no picture")
    told = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, stream in told.items():
        strict = io.TextIOWrapper(stream, "utf-8", "strict", write_through=True)
        monkeypatch.setattr(sys, name, strict)
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs}"]
    assert main(words(yaml_file, *where)) == 1
    out, err = (stream.getvalue().decode() for stream in told.values())
    assert out.count("\n") == 5
    assert "\nb\\udcff.jpg:\tclass id(s)" in out
    assert "c\\udcff.jpg: This is no picture" in err


def test_other_preprocessing_is_told_once_and_followed(
    ghostnet: Artifact, yaml_file: Path, photographs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs}"]
    where.append("Global.enable_mkldnn=False")
    assert main(words(yaml_file, *where)) == 0
    usual = capfd.readouterr().out
    assert main(words(yaml_file, *where, "PreProcess.transform_ops.2.NormalizeImage.mean=[0.0,0.0,0.0]")) == 0
    out, err = capfd.readouterr()
    assert err.count("PreProcess differs") == 1
    assert out != usual


def test_one_of_our_engines_can_be_chosen(
    ghostnet: Artifact, yaml_file: Path, photographs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs}"]
    assert main(words(yaml_file, *where, "Global.engine=openvino")) == 0
    assert capfd.readouterr().out.splitlines() == (
        reference_lines(ghostnet.folder, photographs, ghostnet.class_names, 5)
    )


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle can use a GPU")
@pytest.mark.parametrize("tensorrt", [False, True])
def test_a_gpu_that_is_missing_names_the_override(
    ghostnet: Artifact, yaml_file: Path, photographs: Path, capfd: pytest.CaptureFixture[str], tensorrt: bool
) -> None:
    """PaddleClas' own file asks for a GPU."""
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs}"]
    gpu = ["Global.use_gpu=True", f"Global.use_tensorrt={tensorrt}", f"Global.use_fp16={tensorrt}"]
    assert main(words(yaml_file, *where, *gpu)) == 2
    err = capfd.readouterr().err
    assert "paddlepaddle-gpu" in err
    assert "-o Global.use_gpu=False" in err
    assert ("-o Global.use_tensorrt=False" in err) == tensorrt


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["Global.use_onnx=True", "Global.use_gpu=True"], "set use_gpu=False"),
        (["Global.use_int8=True"], "quantised networks are not served here"),
        (["Global.use_npu=True"], "predict on it with PaddleClas itself"),
        (["Global.benchmark=True"], "ppghost bench"),
        (["Global.enable_profile=True"], "write False"),
        (["Global.use_fp16=True"], "set use_tensorrt=True with it"),
        (["Global.use_tensorrt=True"], "set use_gpu=True with it"),
        (["Global.use_gpu=True", "Global.engine=auto"], "set use_gpu=False"),
        (["Global.cpu_num_threads=0"], "an integer at least 1"),
        (["Global.batchsize=4"], "batch_size"),
        (["PostProcess.main_indicator=PersonAttribute"], "'Topk'"),
        (["PreProcess.transform_ops.0.DecodeImage={}"], "one transform op"),
        (["PreProcess.transform_ops=[{'DecodeImage': None}]"], "remove DecodeImage"),
        (["PreProcess.transform_ops.1.CropImage.sise=3"], "size"),
    ],
)
def test_a_key_that_cannot_be_honoured_is_refused(
    yaml_file: Path, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_inference_cls(yaml_file, ["Global.use_gpu=False", *overrides])


@pytest.mark.parametrize(
    "harmless",
    ["use_onnx=False", "use_int8=False", "use_xpu=False", "enable_benchmark=False", "benchmark=False"],
)
def test_a_key_that_asks_for_nothing_is_accepted(yaml_file: Path, harmless: str) -> None:
    assert load_inference_cls(yaml_file, [f"Global.{harmless}"]) == load_inference_cls(yaml_file)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["Global.inference_model_dir=nowhere"], "no folder 'nowhere'"),
        (["Global.inference_model_dir=."], "holds no exported network: inference.pdmodel or inference.json"),
        (["Global.infer_imgs=nowhere.jpg"], "nowhere.jpg"),
        (["PostProcess.Topk.class_id_map_file=nowhere.txt", "Global.inference_model_dir="], "=null"),
        (["Global.engine=ghost", "Global.inference_model_dir=."], "runs what ppghost exported"),
    ],
)
def test_what_is_not_there(
    ghostnet: Artifact,
    yaml_file: Path,
    photographs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    changes: list[str],
    sentence: str,
) -> None:
    folder = yaml_file.parent / "models"
    folder.mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams"):
        shutil.copy(ghostnet.folder / name, folder)
    monkeypatch.chdir(yaml_file.parent)
    changes = [f"{change}models" if change.endswith("=") else change for change in changes]
    assert main(words(yaml_file, f"Global.infer_imgs={photographs}", *changes)) == 2
    assert sentence in capfd.readouterr().err


def test_pictures_of_another_size_than_the_networks(
    ghostnet: Artifact, yaml_file: Path, photographs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = [f"Global.inference_model_dir={ghostnet.folder}", f"Global.infer_imgs={photographs}"]
    assert main(words(yaml_file, *where, small=False)) == 2
    assert "PreProcess gives pictures of [3, 224, 224]" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (
            {
                "class_ids": [8, 7],
                "scores": [0.41, 0.125],
                "label_names": ["hen", "cock's"],
                "file_name": "a/b.jpg",
            },
            "b.jpg:\tclass id(s): [8, 7], score(s): [0.41, 0.12], label_name(s): ['hen', \"cock's\"]",
        ),
        (
            {"class_ids": [8], "scores": [1.0], "label_names": [], "file_name": "b.jpg"},
            "b.jpg:\tclass id(s): [8], score(s): [1.00], label_name(s): []",
        ),
    ],
)
def test_a_line(result: dict[str, Any], line: str) -> None:
    assert result_line(result) == line
