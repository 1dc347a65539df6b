"""Training as a process: several of them, interrupted, killed, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from small_runs import COMPARABLE, REFERENCE, assert_same_change, small_overrides, weights_of
from test_distillation import DISTILL
from trajectory import write_calm_weights

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(REFERENCE / "trajectory.yaml")


def command(pictures: Path, output: Path, *overrides: str) -> list[str]:
    """Return the command line of a small run."""
    words = [word for override in small_overrides(pictures, output, *overrides) for word in ("-o", override)]
    return [str(ROOT / "tools" / "train.py"), "-c", CONFIG, *words]


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


@pytest.fixture
def launcher() -> list[str]:
    """Return the words that start two processes, joined by gloo on the loopback interface."""
    return ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]


def test_two_processes_give_the_result_of_one(pictures: Path, tmp_path: Path, launcher: list[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # 40 pictures in batches of 7 do not end evenly in two processes: the evaluation has to count with care.
    uneven = ("Global.eval_interval=1", "DataLoader.Eval.sampler.batch_size=7")
    start = f"Global.pretrained_model={write_calm_weights(tmp_path)}"
    alone = run(command(pictures, one, *COMPARABLE, *uneven, start, "DataLoader.Train.sampler.batch_size=20"))
    assert alone.returncode == 0, alone.stderr
    logs = ("--log_dir", str(tmp_path / "logs"))
    split = ("Global.update_freq=2", "DataLoader.Train.sampler.batch_size=5")
    both = run([*launcher, *logs, *command(pictures, two, *COMPARABLE, *uneven, start, *split)])
    assert both.returncode == 0, both.stdout + both.stderr
    assert_same_change(weights_of(tmp_path / "calm"), weights_of(one / "latest"), weights_of(two / "latest"))
    averages = [
        [
            line.split("INFO: ")[1]
            for line in (folder / "train.log").read_text().splitlines()
            if "[Avg]" in line
        ]
        for folder in (one, two)
    ]
    for ours, theirs in zip(*averages):
        if ours.startswith("[Eval]"):
            assert ours.split("top1")[1] == theirs.split("top1")[1], "every picture must count once"


def test_two_processes_distil_as_one(pictures: Path, tmp_path: Path, launcher: list[str]) -> None:
    calm = write_calm_weights(tmp_path)
    frozen = [word.replace("Arch.freeze", "Arch.models.1.Student.freeze") for word in COMPARABLE]
    frozen = [word.replace("Arch.dropout", "Arch.models.1.Student.dropout") for word in frozen]
    shared = (
        *DISTILL,
        *frozen,
        "Arch.models.0.Teacher.name=GhostNet_x0_5",
        f"Arch.models.0.Teacher.pretrained={calm}",
        f"Arch.models.1.Student.pretrained={_shifted(calm, tmp_path)}",
        "Optimizer.lr.learning_rate=0.01",
    )
    one, two = tmp_path / "one", tmp_path / "two"
    alone = run(command(pictures, one, *shared, "DataLoader.Train.sampler.batch_size=20"))
    assert alone.returncode == 0, alone.stderr
    logs = ("--log_dir", str(tmp_path / "logs"))
    both = run([*launcher, *logs, *command(pictures, two, *shared, "DataLoader.Train.sampler.batch_size=10")])
    assert both.returncode == 0, both.stdout + both.stderr
    before = {f"Student.{name}": value for name, value in weights_of(tmp_path / "shifted").items()}
    ends = [weights_of(folder / "latest") for folder in (one, two)]
    assert_same_change(before, *ends)
    for name, value in weights_of(calm).items():
        for end in ends:
            np.testing.assert_array_equal(end[f"Teacher.{name}"], value, err_msg=name)


def _shifted(weights: Path, folder: Path) -> Path:
    """Write weights with another classifier, so that there is something to learn; return their path."""
    state = weights_of(weights)
    classifier = state["fc_1.weight"]
    state["fc_1.weight"] = classifier[:, ::-1].copy()
    paddle.save(
        {name: paddle.to_tensor(value) for name, value in state.items()}, f"{folder}/shifted.pdparams"
    )
    return folder / "shifted"


def test_a_process_without_pictures_takes_part_in_the_evaluation(
    pictures: Path, tmp_path: Path, launcher: list[str]
) -> None:
    (tmp_path / "one.txt").write_text((pictures / "list.txt").read_text().splitlines()[0] + "\n")
    words = command(pictures, tmp_path, f"DataLoader.Eval.dataset.cls_label_path={tmp_path}/one.txt")
    words[0] = str(ROOT / "tools" / "eval.py")
    done = run([*launcher, "--log_dir", str(tmp_path / "logs"), *words])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[Eval][Epoch 0][Avg]CELoss: " in (tmp_path / "eval.log").read_text()


def interrupted_after_a_step(words: list[str]) -> tuple[int, str]:
    """Start a run, press Ctrl-C once its third step is told, and return its exit code and output."""
    process = subprocess.Popen(
        [sys.executable, "-u", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if "[Iter: 2/5]" in line:
            process.send_signal(signal.SIGINT)
    return process.wait(timeout=120), "".join(output)


def test_ctrl_c_saves_and_the_run_goes_on_as_if_nothing_had_happened(pictures: Path, tmp_path: Path) -> None:
    more = ("Global.epochs=2", "DataLoader.Train.loader.num_workers=2")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(command(pictures, whole, *more)).returncode == 0
    code, output = interrupted_after_a_step(command(pictures, parts, *more))
    assert code == 130
    assert "Traceback" not in output
    assert f"-o Global.checkpoints={parts / 'latest'}" in output
    resumed = run(command(pictures, parts, *more, f"Global.checkpoints={parts / 'latest'}"))
    assert resumed.returncode == 0, resumed.stderr
    expected, given = weights_of(whole / "latest"), weights_of(parts / "latest")
    for name, value in expected.items():
        np.testing.assert_array_equal(given[name], value, err_msg=name)
