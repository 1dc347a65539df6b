"""What a run will cost: the arithmetic, the steps that are measured, and the command."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import REFERENCE, small_overrides
from test_distillation import DISTILL

from ppghost.config import Config
from ppghost.errors import ConfigError
from ppghost.nets.macs import count_macs
from ppghost.train.estimate import Cost, Devices
from ppghost.train.run import estimate
from ppghost.zoo import build_model

ROOT = Path(__file__).resolve().parents[2]
COST = Cost(
    epochs=10,
    evaluations=5,
    pictures=1000,
    evaluated=100,
    student_macs=40_000_000,
    teacher_macs=140_000_000,
    shipped_macs=40_000_000,
    picture_seconds=0.01,
    teacher_seconds=0.002,
    reading_seconds=0.001,
    evaluation_seconds=0.003,
)


def test_a_run_costs_its_pictures_times_their_cost() -> None:
    assert COST.macs == 260_000_000
    assert COST.seconds == pytest.approx(10 * 1000 * 0.01 + 5 * 100 * 0.003)
    work = 10 * 1000 * 260e6 + 5 * 100 * 40e6
    assert COST.seconds_on(Devices(4, 13.0)) == pytest.approx(work / 52e9)
    assert "10 epochs x 1000 pictures x 260.0 M = 2.6e+12" in COST.lines()[1]
    assert len(COST.lines(Devices(4, 13.0))) == len(COST.lines()) + 1


def test_the_networks_and_pictures_of_a_run_are_counted(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    cost = estimate(small_config(*DISTILL, "Global.epochs=3"))
    student, teacher = (
        count_macs(build_model(name, class_num=5), (3, 32, 32)) for name in ("GhostNet_x0_5", "GhostNet_x1_0")
    )
    assert (cost.student_macs, cost.teacher_macs, cost.shipped_macs) == (student, teacher, student)
    assert (cost.epochs, cost.evaluations, cost.pictures, cost.evaluated) == (3, 1, 40, 40)
    assert 0 < cost.teacher_seconds < cost.picture_seconds
    assert 0 <= cost.reading_seconds < cost.picture_seconds
    assert cost.evaluation_seconds > 0
    assert not list(tmp_path.rglob("*.pd*")), "an estimate writes no weights"


def test_what_is_not_known_is_not_told() -> None:
    unknown = Cost(**{**vars(COST), "teacher_macs": None})
    assert "not known" in unknown.lines()[0]
    with pytest.raises(ConfigError, match="exported folder"):
        unknown.lines(Devices(1, 1.0))


def command(pictures: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a small run."""
    words = [word for one in small_overrides(pictures, output) for word in ("-o", one)]
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "tools/train.py"),
            "-c",
            str(REFERENCE / "trajectory.yaml"),
            *words,
            *more,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_it_for_here_and_for_other_devices(pictures: Path, tmp_path: Path) -> None:
    done = command(pictures, tmp_path, "--estimate", "--devices", "8", "--throughput", "4000")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Here: \S+ an epoch, \S+ an evaluation, \S+ in all$", done.stdout, re.MULTILINE)
    assert "On 8 device(s) of 4000 GMAC/s" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--devices", "8"], "go with --estimate"),
        (["--estimate", "--devices", "8"], "go together"),
        (["--estimate", "--devices", "0", "--throughput", "1"], "--devices is 0"),
        (["--estimate", "--devices", "1", "--throughput", "nan"], "--throughput is nan"),
    ],
)
def test_figures_that_make_no_sense_are_refused(
    words: list[str], sentence: str, pictures: Path, tmp_path: Path
) -> None:
    done = command(pictures, tmp_path, *words)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_a_run_whose_pictures_grow_costs_the_mean_of_its_stages(small_config: Callable[..., Config]) -> None:
    """Eight epochs, two of each size."""
    crop = "DataLoader.Train.dataset.transform_ops.1"
    cost = estimate(
        small_config(
            f"{crop}={{'RandCropImage': {{'size': 32, 'progress_size': [32, 48, 48, 64]}}}}",
            "Global.train_mode=progressive",
            "Global.epochs=8",
            "Global.eval_during_train=False",
        )
    )
    net = build_model("GhostNet_x0_5", class_num=5)
    sides = [count_macs(net, (3, side, side)) for side in (32, 48, 48, 64)]
    assert cost.student_macs == round(sum(sides) / 4)
    assert cost.epochs == 8
    assert cost.picture_seconds > 0
