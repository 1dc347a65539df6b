"""Training as a process: several of them, interrupted, killed, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
import pytest
from small_runs import COMPARABLE, REFERENCE, assert_same_change, small_overrides, weights_of
from test_distillation import DISTILL
from trajectory import write_calm_weights

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(REFERENCE / "trajectory.yaml")
# Two processes, joined by gloo on the loopback interface.
LAUNCHER = ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo")


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
        timeout=900,
        check=False,
    )


def test_two_processes_give_the_result_of_one(pictures: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    # 40 pictures in batches of 7 do not end evenly in two processes: the evaluation has to count with care.
    uneven = ("Global.eval_interval=1", "DataLoader.Eval.sampler.batch_size=7")
    start = f"Global.pretrained_model={write_calm_weights(tmp_path)}"
    alone = run(command(pictures, one, *COMPARABLE, *uneven, start, "DataLoader.Train.sampler.batch_size=20"))
    assert alone.returncode == 0, alone.stderr
    logs = ("--log_dir", str(tmp_path / "logs"))
    split = ("Global.update_freq=2", "DataLoader.Train.sampler.batch_size=5")
    both = run([*LAUNCHER, *logs, *command(pictures, two, *COMPARABLE, *uneven, start, *split)])
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


class Distilled(NamedTuple):
    """What two processes made of a distillation in three epochs, to compare with.

    Attributes:
        overrides: those of the run but for the size of a batch, which is 20 pictures in all.
        teacher: path of the teacher's weights, without suffix.
        before: the student's weights before.
        output: the folder with the checkpoints.
    """

    overrides: tuple[str, ...]
    teacher: Path
    before: dict[str, np.ndarray]
    output: Path


@pytest.fixture(scope="module")
def distilled(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    """Distil with two processes, from the beginning to the end."""
    folder = tmp_path_factory.mktemp("distilled")
    calm = write_calm_weights(folder)
    start = _shifted(calm, folder)
    frozen = [word.replace("Arch.freeze", "Arch.models.1.Student.freeze") for word in COMPARABLE]
    frozen = [word.replace("Arch.dropout", "Arch.models.1.Student.dropout") for word in frozen]
    overrides = (
        *DISTILL,
        *frozen,
        "Arch.models.0.Teacher.name=GhostNet_x0_5",
        f"Arch.models.0.Teacher.pretrained={calm}",
        f"Arch.models.1.Student.pretrained={start}",
        "Optimizer.lr.learning_rate=0.01",
        "Global.epochs=3",
    )
    logs = ("--log_dir", str(folder / "logs"))
    halves = "DataLoader.Train.sampler.batch_size=10"
    both = run([*LAUNCHER, *logs, *command(pictures, folder / "two", *overrides, halves)])
    assert both.returncode == 0, both.stdout + both.stderr
    before = {f"Student.{name}": value for name, value in weights_of(start).items()}
    return Distilled(overrides, calm, before, folder / "two")


def test_two_processes_distil_as_one(pictures: Path, tmp_path: Path, distilled: Distilled) -> None:
    together = "DataLoader.Train.sampler.batch_size=20"
    alone = run(command(pictures, tmp_path, *distilled.overrides, together))
    assert alone.returncode == 0, alone.stderr
    ends = [weights_of(folder / "latest") for folder in (tmp_path, distilled.output)]
    assert_same_change(distilled.before, *ends)
    for name, value in weights_of(distilled.teacher).items():
        for end in ends:
            np.testing.assert_array_equal(end[f"Teacher.{name}"], value, err_msg=name)


def test_a_killed_process_is_replaced_and_the_run_ends_as_if_nothing_had_happened(
    pictures: Path, tmp_path: Path, distilled: Distilled
) -> None:
    output, mark = tmp_path / "output", f"PPGHOST_TEST_RUN={tmp_path}"
    output.mkdir()
    words = command(
        pictures,
        output,
        *distilled.overrides,
        "DataLoader.Train.sampler.batch_size=10",
        "DataLoader.Train.loader.num_workers=1",
    )
    logs = ("--log_dir", str(tmp_path / "logs"))
    launch = (str(ROOT / "tools" / "launch.py"), "--nproc_per_node", "2", *logs)
    with subprocess.Popen(
        [sys.executable, *launch, *words, "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **dict([mark.split("=", 1)])},
        text=True,
    ) as training:
        wait_for_line(output / "train.log", f"Already save model in {output / 'latest'}")
        victims = set(processes_with(mark, "PADDLE_TRAINER_ID=1"))
        (victim,) = (pid for pid in victims if parent_of(pid) not in victims)
        os.kill(victim, signal.SIGKILL)
        told = training.communicate(timeout=1800)[1]
    assert training.returncode == 0, told
    assert told.count("A process died") == 1, told
    log = (output / "train.log").read_text()
    assert f"--resume: there is no checkpoint {output / 'latest'} yet; the training begins" in log
    assert log.count(f"Resumed from {output / 'latest'}") == 1
    expected, given = weights_of(distilled.output / "latest"), weights_of(output / "latest")
    for name, value in expected.items():
        np.testing.assert_array_equal(given[name], value, err_msg=name)
    assert list(processes_with(mark)) == []


def wait_for_line(path: Path, text: str, seconds: float = 900) -> None:
    """Wait until a file, which need not be there yet, has a line with a text."""
    words = ["tail", "-n", "+1", "-F", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tail:
        deadline = threading.Timer(seconds, tail.kill)
        deadline.start()
        assert tail.stdout is not None
        is_there = any(text in line for line in tail.stdout)
        deadline.cancel()
        tail.kill()
    assert is_there, f"{path} has no line '{text}' after {seconds} seconds"


def processes_with(*settings: str) -> Iterator[int]:
    """Yield the processes that have all of these settings, `NAME=value`, in their environment."""
    wanted = {setting.encode() for setting in settings}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            given = set((folder / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if wanted <= given:
            yield int(folder.name)


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _shifted(weights: Path, folder: Path) -> Path:
    """Write weights with another classifier, so that there is something to learn; return their path."""
    state = weights_of(weights)
    classifier = state["fc_1.weight"]
    state["fc_1.weight"] = classifier[:, ::-1].copy()
    paddle.save(
        {name: paddle.to_tensor(value) for name, value in state.items()}, f"{folder}/shifted.pdparams"
    )
    return folder / "shifted"


def test_a_process_without_pictures_takes_part_in_the_evaluation(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text((pictures / "list.txt").read_text().splitlines()[0] + "\n")
    words = command(pictures, tmp_path, f"DataLoader.Eval.dataset.cls_label_path={tmp_path}/one.txt")
    words[0] = str(ROOT / "tools" / "eval.py")
    done = run([*LAUNCHER, "--log_dir", str(tmp_path / "logs"), *words])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[Eval][Epoch 0][Avg]CELoss: " in (tmp_path / "eval.log").read_text()


def interrupted_after_a_step(words: list[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    """Start a run, send a signal to its group once its third step is told; return exit code and output."""
    process = subprocess.Popen(
        [sys.executable, "-u", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if "[Iter: 2/5]" in line:
            os.killpg(process.pid, number)
    return process.wait(timeout=120), "".join(output)


def test_the_launchers_way_to_stop_a_training_saves(pictures: Path, tmp_path: Path) -> None:
    words = command(pictures, tmp_path, "Global.epochs=2", "DataLoader.Train.loader.num_workers=2")
    code, output = interrupted_after_a_step(words, signal.SIGTERM)
    assert code == 130, output
    assert (tmp_path / "latest.pdstates").is_file()


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
