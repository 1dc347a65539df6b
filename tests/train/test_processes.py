"""Training as a process: several of them, interrupted, killed, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_runs import REFERENCE, small_overrides
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


def weights_of(output: Path) -> dict[str, Any]:
    """Return the weights of the latest checkpoint as arrays."""
    return {name: tensor.numpy() for name, tensor in paddle.load(str(output / "latest.pdparams")).items()}


@pytest.fixture
def launcher() -> list[str]:
    """Return the words that start two processes, joined by gloo on the loopback interface."""
    return ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]


# Batch norm frozen, nothing dropped, nothing drawn: the halves of a batch then add up to the batch. The 40
# pictures in batches of 7 do not end evenly in two processes, so the evaluation has to count with care.
COMPARABLE = (
    "Arch.freeze=['*_batch_norm*']",
    "Arch.dropout=0.0",
    "Optimizer.lr.learning_rate=0.00001",
    "Optimizer.lr.warmup_epoch=0",
    "Global.epochs=1",
    "Global.eval_interval=1",
    "DataLoader.Eval.sampler.batch_size=7",
)


def test_two_processes_give_the_result_of_one(pictures: Path, tmp_path: Path, launcher: list[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    start = f"Global.pretrained_model={write_calm_weights(tmp_path)}"
    alone = run(command(pictures, one, *COMPARABLE, start, "DataLoader.Train.sampler.batch_size=20"))
    assert alone.returncode == 0, alone.stderr
    logs = ("--log_dir", str(tmp_path / "logs"))
    split = ("Global.update_freq=2", "DataLoader.Train.sampler.batch_size=5")
    both = run([*launcher, *logs, *command(pictures, two, *COMPARABLE, start, *split)])
    assert both.returncode == 0, both.stdout + both.stderr
    before = {name: tensor.numpy() for name, tensor in paddle.load(str(tmp_path / "calm.pdparams")).items()}
    assert_same_change(before, weights_of(one), weights_of(two))
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


def assert_same_change(before: dict[str, Any], one: dict[str, Any], two: dict[str, Any]) -> None:
    """Assert that two runs moved the weights alike: the difference is a thousandth of the way at most."""
    way = np.concatenate([(one[name] - value).ravel() for name, value in before.items()])
    other = np.concatenate([(two[name] - value).ravel() for name, value in before.items()])
    assert np.linalg.norm(way) > 0
    assert np.linalg.norm(other - way) < 1e-3 * np.linalg.norm(way)


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
    expected, given = weights_of(whole), weights_of(parts)
    for name, value in expected.items():
        np.testing.assert_array_equal(given[name], value, err_msg=name)
