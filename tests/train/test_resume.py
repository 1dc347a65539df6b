"""A training that is started again with `--resume`: it goes on, begins, or says why it does neither."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from small_runs import weights_of
from test_distillation import DISTILL
from test_run import Recorder, StopAfter, assert_same, states_of

from ppghost.cli import main
from ppghost.config import Config
from ppghost.errors import ConfigError, GhostError, OutputError, WeightsError
from ppghost.train.checkpoint import sole_writer
from ppghost.train.run import train

TWICE = ("Global.epochs=2", "Global.eval_interval=1")


def test_it_begins_once_and_then_goes_on_as_if_it_had_not_been_stopped(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    whole = train(small_config(*TWICE))
    parts, begun, resumed = (
        small_config(*TWICE, f"Global.output_dir={tmp_path}/parts"),
        Recorder(),
        Recorder(),
    )
    train(parts, resume=True, reporter=begun, should_stop=StopAfter(3))
    assert f"--resume: there is no checkpoint {tmp_path}/parts/latest yet; the training begins" in begun.lines
    result = train(parts, resume=True, reporter=resumed)
    assert f"Resumed from {tmp_path}/parts/latest: 0 epoch(s) and 3 step(s) are done" in resumed.lines
    assert_same(states_of(whole), states_of(result))
    finished = Recorder()
    assert train(parts, resume=True, reporter=finished).position == result.position
    assert any(line.startswith("Nothing is left to train") for line in finished.lines)


def test_a_checkpoint_that_a_kill_left_half_in_place_is_gone_on_from(
    small_config: Callable[..., Config],
) -> None:
    first = train(small_config("Global.epochs=1"))
    folder = first.output_dir
    (folder / ".latest.ready").mkdir()
    for path in folder.glob("latest.pd*"):
        path.rename(folder / ".latest.ready" / path.name)
    recorder = Recorder()
    train(small_config(*TWICE), resume=True, reporter=recorder)
    assert f"Resumed from {folder}/latest: 1 epoch(s) and 0 step(s) are done" in recorder.lines


def test_nothing_is_resumed_unasked(small_config: Callable[..., Config]) -> None:
    train(small_config("Global.epochs=1"))
    recorder = Recorder()
    assert train(small_config("Global.epochs=1"), reporter=recorder).position.epoch == 1
    assert not any(line.startswith(("Resumed", "--resume")) for line in recorder.lines)


@pytest.mark.parametrize("other", ["Arch.name=GhostNet_x1_0", "Arch.class_num=7", "EMA.decay=0.9"])
def test_what_belongs_to_another_recipe_is_neither_resumed_nor_overwritten(
    small_config: Callable[..., Config], other: str
) -> None:
    first = train(small_config("Global.epochs=1"))
    before = weights_of(first.output_dir / "latest")
    with pytest.raises(GhostError, match=r"(classes|averaged)"):
        train(small_config(*TWICE, other), resume=True)
    assert_same(before, weights_of(first.output_dir / "latest"))


def test_two_trainings_do_not_write_into_one_folder(small_config: Callable[..., Config]) -> None:
    config = small_config("Global.epochs=1")
    folder = Path(config.Global.output_dir)
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    other = context.Process(target=hold, args=(folder, theirs))
    other.start()
    assert ours.recv() == "held"
    with pytest.raises(OutputError, match=f"process {other.pid} "):
        train(config, resume=True)
    assert not list(folder.glob("*.pd*"))
    other.kill()  # the system frees the folder
    other.join()
    assert train(config, resume=True).position.epoch == 1


def hold(folder: Path, pipe: Connection) -> None:
    """Hold an output folder until this process is killed."""
    with sole_writer(folder):
        pipe.send("held")
        pipe.recv()


def test_another_student_is_told_with_the_checkpoint(small_config: Callable[..., Config]) -> None:
    two = (*DISTILL, "Arch.freeze_params_list=[False, False]", "Global.eval_during_train=False")
    first = train(small_config("Global.epochs=1", *two))
    with pytest.raises(WeightsError, match=f"{first.output_dir}/latest is of other networks"):
        train(small_config("Global.epochs=2", *two, "Arch.models.1.Student.name=GhostNet_x1_0"), resume=True)


def test_what_is_incomplete_is_told(small_config: Callable[..., Config]) -> None:
    first = train(small_config("Global.epochs=1"))
    (first.output_dir / "latest.pdopt").unlink()
    with pytest.raises(WeightsError, match=r"latest\.pdopt is not there"):
        train(small_config(*TWICE), resume=True)


def test_two_checkpoints_to_go_on_from_are_one_too_many(small_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"--resume goes on from .*latest, but .* 'elsewhere/latest'"):
        train(small_config("Global.checkpoints=elsewhere/latest"), resume=True)


@pytest.mark.parametrize("other", ["--check", "--estimate"])
def test_it_goes_with_a_training(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "-c", "GhostNet_x0_5", "-o", "Global.device=cpu", "--resume", other]
    assert main(words) == 2
    assert "--resume goes with a training" in capsys.readouterr().err
