"""The programs as a user meets them: what they write, and how they refuse bad input."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ppghost.cli import main
from ppghost.cli.console import Console, logging_to

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def picture_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of twelve pictures of three classes with lists, labels and a configuration."""
    folder = tmp_path_factory.mktemp("set")
    lines = []
    for index in range(12):
        label = index % 3
        rng = np.random.RandomState(index)
        picture = np.full((48, 52, 3), 60 + 70 * label) + rng.normal(0, 20, (48, 52, 3))
        cv2.imwrite(str(folder / f"{index}.jpg"), np.clip(picture, 0, 255).astype("uint8"))
        lines.append(f"{index}.jpg {label}\n")
    (folder / "list.txt").write_text("".join(lines))
    (folder / "labels.txt").write_text("0 dark grey\n1 grey\n2 light\n")
    text = (ROOT / "configs" / "GhostNet_x0_5.yaml").read_text()
    (folder / "config.yaml").write_text(text)
    return folder


@pytest.fixture
def overrides(picture_set: Path, tmp_path: Path) -> list[str]:
    """Return the words that make the published recipe a run of seconds on the small set."""
    values = [
        *(f"DataLoader.{split}.dataset.image_root={picture_set}" for split in ("Train", "Eval")),
        *(f"DataLoader.{split}.dataset.cls_label_path={picture_set}/list.txt" for split in ("Train", "Eval")),
        *(f"DataLoader.{split}.loader.num_workers=0" for split in ("Train", "Eval")),
        "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=32",
        "DataLoader.Eval.dataset.transform_ops.1.ResizeImage.resize_short=36",
        "DataLoader.Eval.dataset.transform_ops.2.CropImage.size=32",
        "Infer.transforms.1.ResizeImage.resize_short=36",
        "Infer.transforms.2.CropImage.size=32",
        f"Infer.PostProcess.class_id_map_file={picture_set}/labels.txt",
        "DataLoader.Train.sampler.batch_size=4",
        "Global.device=cpu",
        "Global.epochs=1",
        "Global.image_shape=[3,32,32]",
        "Arch.class_num=3",
        f"Global.output_dir={tmp_path}/output",
        f"Global.save_inference_dir={tmp_path}/inference",
    ]
    return [word for value in values for word in ("-o", value)]


@pytest.fixture
def call(
    picture_set: Path, overrides: list[str], capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a verb with the small set's configuration: (exit code, stdout, stderr)."""

    def run(verb: str, *words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([verb, "-c", str(picture_set / "config.yaml"), *overrides, *words])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def artifact(picture_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an exported folder of a network with random weights."""
    folder = tmp_path_factory.mktemp("artifact")
    words = [
        "Global.device=cpu",
        "Arch.class_num=3",
        "Global.image_shape=[3,32,32]",
        "Infer.transforms.1.ResizeImage.resize_short=36",
        "Infer.transforms.2.CropImage.size=32",
        f"Infer.PostProcess.class_id_map_file={picture_set}/labels.txt",
        f"Global.output_dir={folder}/output",
        f"Global.save_inference_dir={folder}/inference",
    ]
    code = main(["export", "-c", str(picture_set / "config.yaml"), *(w for v in words for w in ("-o", v))])
    assert code == 0
    return folder / "inference"


# --------------------------------------------------------------------------------------- from end to end


def test_train_eval_infer_export_verify(
    call: Callable[..., tuple[int, str, str]],
    picture_set: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, out, err = call("train", "-o", "DataLoader.Train.loader.num_workers=1")
    assert code == 0, err
    assert re.search(
        r"\] ppcls INFO: \[Train\]\[Epoch 1/1\]\[Iter: 0/3\]lr\(LinearWarmup\): \d\.\d{8}, top1:", out
    )
    output = tmp_path / "output"
    for name in ("latest", "best_model", "epoch_1"):
        assert all((output / f"{name}{suffix}").exists() for suffix in (".pdparams", ".pdopt", ".pdstates"))
    assert (output / "best_model" / "model.pdparams").exists()
    assert "[Train][Epoch 1/1][Avg]" in (output / "train.log").read_text()

    weights = ("-o", f"Global.pretrained_model={output}/best_model")
    code, out, _ = call("eval", *weights)
    assert code == 0
    assert re.search(
        r"\[Eval\]\[Epoch 0\]\[Avg\]CELoss: [\d.]+, loss: [\d.]+, top1: [\d.]+, top5: 1\.00000", out
    )

    code, _, err = call(
        "infer", *weights, str(picture_set / "0.jpg"), "--output", str(tmp_path / "one.jsonl")
    )
    assert code == 0, err
    result = json.loads((tmp_path / "one.jsonl").read_text())
    assert result["file_name"].endswith("0.jpg")
    assert len(result["class_ids"]) == len(result["label_names"]) == 3, "top-5 of three classes is three"

    # After three steps the maps overflow float32; where infinities meet, every graph gives something else.
    code, _, err = call("export", *weights, "--graph", "stock")
    assert code == 0, err
    capfd.readouterr()
    assert main(["infer", "--artifact", f"{tmp_path}/inference", str(picture_set / "0.jpg")]) == 0
    shipped = json.loads(capfd.readouterr().out)
    assert shipped["class_ids"] == result["class_ids"]
    assert shipped["label_names"] == result["label_names"]
    np.testing.assert_allclose(shipped["scores"], result["scores"], atol=2e-5)
    assert main(["verify", f"{tmp_path}/inference"]) == 0


def test_infer_over_a_folder_reports_broken_pictures_and_goes_on(
    artifact: Path, picture_set: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "good.jpg").write_bytes((picture_set / "1.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    code = main(["infer", "--artifact", str(artifact), str(folder), "--output", str(tmp_path / "out.csv")])
    assert code == 1
    assert "broken.jpg" in capfd.readouterr().err
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert rows[0].startswith("file_name,")
    assert len(rows) == 4
    assert all("good.jpg" in row for row in rows[1:])


def test_infer_names_files_that_are_no_utf8(
    artifact: Path, picture_set: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in (b"my \xff cat.jpg", b"my \xff dog.jpg"):
        content = (picture_set / "1.jpg").read_bytes() if b"cat" in name else b""
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    assert main(["infer", "--artifact", str(artifact), str(folder), "--threads", "2"]) == 1
    captured = capfd.readouterr()
    [result] = map(json.loads, captured.out.splitlines())
    assert os.fsencode(result["file_name"]).endswith(b"my \xff cat.jpg")
    assert re.search(r"pipe\.png: .*no file", captured.err)
    assert re.search(r"my \\udcff dog\.jpg: .*empty", captured.err)
    assert re.search(r"3 pictures in .* pictures/s", captured.err)


def test_ctrl_c_ends_infer_and_its_threads(artifact: Path, picture_set: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{picture_set / '1.jpg'}\n" * 100_000)
    words = ["infer", "--artifact", str(artifact), "--list", str(tmp_path / "list.txt"), "--threads", "3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ppghost", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"class_ids"')
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert "interrupted" in complaint
    assert "Traceback" not in complaint


def test_infer_of_one_broken_picture_is_an_error(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    assert main(["infer", "--artifact", str(artifact), str(tmp_path / "broken.png")]) == 2


def test_check_tells_and_trains_nothing(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = call("train", "--check")
    assert code == 0, err
    assert "12 pictures, 3 steps an epoch, 1 epochs, 3 updates" in out
    assert not (tmp_path / "output").exists()


def test_models_lists_the_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "GhostNet_x1*"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "GhostNet_x1_0",
        "GhostNet_x1_3",
        "GhostNet_x1_3_ssld",
    ]


@pytest.mark.parametrize("program", ["train", "eval", "infer", "export_model"])
def test_help_needs_no_paddle(program: str) -> None:
    code = (
        f"import sys; sys.argv = ['{program}', '--help']; sys.modules['paddle'] = None\n"
        f"import runpy; runpy.run_path(r'{ROOT}/tools/{program}.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--override" in done.stdout


def test_ctrl_c_while_the_program_loads_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "ppghost", "models"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))},
    )
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")


# --------------------------------------------------------------------------------------------- bad input


def bad_list(folder: Path, text: str) -> list[str]:
    """Write a list file and return the words that point to it."""
    path = folder / "bad.txt"
    path.write_text(text)
    return ["-o", f"DataLoader.Train.dataset.cls_label_path={path}"]


BAD_OVERRIDES = {
    "missing folder": ("DataLoader.Train.dataset.image_root=/nowhere", r"/nowhere.*make demo"),
    "missing list": ("DataLoader.Train.dataset.cls_label_path=/nowhere.txt", r"/nowhere\.txt"),
    "unknown arch": ("Arch.name=GhostNet_x1_O", r"GhostNet_x1_O.*GhostNet_x1_0"),
    "unknown key": ("Global.epoch=3", r"Global\.epoch.*epochs"),
    "unknown op": (
        "DataLoader.Train.dataset.transform_ops.1={'RandCropImg': {'size': 32}}",
        r"RandCropImg.*RandCropImage",
    ),
    "label outside": ("Arch.class_num=2", r"label 2.*class_num|class_num.*2"),
    "missing checkpoint": ("Global.checkpoints=/nowhere/latest", r"/nowhere/latest"),
    "missing weights": ("Global.pretrained_model=/nowhere/best", r"/nowhere/best"),
    "retrieval": ("Global.eval_mode=retrieval", r"ppghost\.register\(\)"),
    "attention": ("Arch.name=AttentionModel", r"DistillationModel"),
    "unwritable output": ("Global.output_dir=/proc/nowhere", r"Global\.output_dir"),
}


@pytest.mark.parametrize("case", BAD_OVERRIDES)
def test_bad_overrides_are_refused_with_a_sentence(
    call: Callable[..., tuple[int, str, str]], case: str
) -> None:
    override, sentence = BAD_OVERRIDES[case]
    code, out, err = call("train", "-o", override)
    assert code == 2, err
    assert "Traceback" not in out + err
    assert re.search(sentence, err, re.DOTALL), err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.jpg\n", r"bad\.txt:1"),
        ("0.jpg 0\n1.jpg one\n", r"bad\.txt:2"),
        ("0.jpg 0\nmissing.jpg 1\n", r"missing\.jpg"),
        ("", r"bad\.txt.*no picture"),
    ],
)
def test_bad_lists_are_refused_with_their_line(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, text: str, sentence: str
) -> None:
    code, _, err = call("train", *bad_list(tmp_path, text))
    assert code in (1, 2), err
    assert "Traceback" not in err
    assert re.search(sentence, err, re.DOTALL), err


def test_a_broken_picture_in_evaluation_is_an_error(
    call: Callable[..., tuple[int, str, str]], picture_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "0.jpg").write_bytes((picture_set / "0.jpg").read_bytes()[:200])
    (tmp_path / "list.txt").write_text("0.jpg 0\n")
    code, _, err = call(
        "eval",
        *("-o", f"DataLoader.Eval.dataset.image_root={tmp_path}"),
        *("-o", f"DataLoader.Eval.dataset.cls_label_path={tmp_path}/list.txt"),
    )
    assert code == 2, err
    assert "0.jpg" in err


def test_a_file_that_is_no_yaml_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("Global:\n  epochs: [1\n")
    assert main(["train", "-c", str(tmp_path / "bad.yaml")]) == 2
    assert "bad.yaml:" in capsys.readouterr().err


def test_a_tampered_artifact_is_refused(artifact: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    weights = bytearray((copy / "inference.pdiparams").read_bytes())
    weights[len(weights) // 2] ^= 0xFF
    (copy / "inference.pdiparams").write_bytes(weights)
    assert main(["verify", str(copy)]) == 2


# ------------------------------------------------------------------------------------------ the programs


def test_python_runs_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ppghost", "models", "GhostNet_x0*"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "GhostNet_x0_5" in done.stdout


@pytest.mark.parametrize(
    "words", [["--topk", "0"], ["--topk", "five"], ["--batch-size", "-1"], ["--batch-size", "0"]]
)
def test_counts_below_one_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["infer", "--artifact", "folder", *words])
    assert stop.value.code == 2
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--artifact", "folder", "-o", "Infer.infer_imgs=x"], "--artifact.*has none"),
        (["-c", "GhostNet_x0_5", "--engine", "native", "x.jpg"], "--engine"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", *words]) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_random_weights_are_told(call: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = call("eval", "-o", "Global.checkpoints=output/latest")
    assert re.search(r"WARNING: .*Global\.checkpoints serves training alone.*random weights", out)


def test_a_home_folder_may_be_written_with_a_tilde(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, _, err = call("eval", "-o", "Global.output_dir=~/runs")
    assert code == 0, err
    assert (tmp_path / "runs" / "eval.log").is_file()
    assert not (tmp_path / "~").exists()


def test_a_run_that_its_profiler_ends_is_done(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, err = call("train", "-p", f"batch_range=[0,1];profile_path={tmp_path}/trace")
    assert code == 0, err
    assert "Stopped; everything up to here is in" in out
    assert "[Train][Epoch 1/1][Avg]" not in out


# ----------------------------------------------------------------------------------------------- the log


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full; run on Linux")
def test_a_full_disk_under_the_log_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    with logging_to(tmp_path / "train.log"):
        for number in range(3):
            logging.getLogger("ppghost.train").info("line %d", number)
    captured = capsys.readouterr()
    assert captured.out.count("line") == 3
    assert captured.err.count("No space left") == 1
    assert "Traceback" not in captured.err


def test_logging_is_as_before_afterwards() -> None:
    log = logging.getLogger("ppghost")
    before = log.level, log.propagate, list(log.handlers)
    with logging_to(None, (3,)):
        assert log.level == logging.ERROR
    assert (log.level, log.propagate, log.handlers) == before


def test_one_bar_serves_a_whole_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    console = Console()
    bars = []
    for step in range(1, 4):
        console.progress("train", "epoch 1/2", step, 4, "")
        bars.append(console._bar)
    assert bars[0] is not None
    assert bars[0] is bars[1] is bars[2], "a new bar would forget the time"
    assert bars[2].n == 3
    console.progress("eval", "epoch 1", 1, 4, "")
    assert console._bar is not bars[2]
    console.close()


@pytest.mark.parametrize("verb", ["eval", "infer", "export"])
def test_weights_for_other_classes_are_for_training_only(
    call: Callable[..., tuple[int, str, str]], picture_set: Path, tmp_path: Path, verb: str
) -> None:
    import paddle

    import ppghost

    paddle.save(
        ppghost.build_model("GhostNet_x0_5", class_num=4).state_dict(), str(tmp_path / "four.pdparams")
    )
    words = [str(picture_set / "0.jpg")] if verb == "infer" else []
    code, _, err = call(verb, *words, "-o", f"Global.pretrained_model={tmp_path}/four")
    assert code == 2, err
    assert "fc_1" in err
    assert not (tmp_path / "inference").exists()


@pytest.mark.parametrize("override", ["Global.output_dir=null", "Global.output_dir=[1]", "Arch.name=null"])
def test_a_text_is_neither_null_nor_a_list(call: Callable[..., tuple[int, str, str]], override: str) -> None:
    code, _, err = call("train", "-o", override)
    assert code == 2
    assert override.split("=")[0] in err
