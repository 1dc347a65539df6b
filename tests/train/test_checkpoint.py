"""Checkpoints: the files, their content, and that a kill at any moment leaves one that loads."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import paddle
import pytest

from ppghost.errors import OutputError, WeightsError
from ppghost.train.checkpoint import Position, read_checkpoint, write_checkpoint


def files_of(name: str, value: float, epoch: int) -> dict[str, Any]:
    """Return a tiny checkpoint whose every file carries `value` or `epoch`."""
    return {
        f"{name}.pdparams": {"weight": paddle.full([3], value)},
        f"{name}.pdopt": [
            {"weight_velocity_0": paddle.full([3], value), "LR_Scheduler": {"last_epoch": epoch}}
        ],
        f"{name}.pdstates": Position(epoch=epoch, best_metric=value, arch="GhostNet_x1_0").to_states(),
    }


def value_of(folder: Path, name: str = "latest") -> float:
    """Return the value of the checkpoint that loads, after checking that all its files are of one set."""
    checkpoint = read_checkpoint(str(folder / name), ema=False)
    value = float(checkpoint.params["weight"][0])
    assert float(checkpoint.optimizers[0]["weight_velocity_0"][0]) == value
    assert checkpoint.position.best_metric == value
    assert checkpoint.position.epoch == int(value)
    return value


def test_round_trip_keeps_every_field(tmp_path: Path) -> None:
    position = Position(3, 7, 1234, 0.75, 2, 0.5, 0.7, "GhostNet_x0_5", 10, 2, {"scale": 128.0})
    files = {**files_of("latest", 3.0, 3), "latest.pdstates": position.to_states()}
    prefix = write_checkpoint(tmp_path, "latest", files)
    assert prefix == tmp_path / "latest"
    assert read_checkpoint(str(prefix), ema=False).position == position
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest.pdopt",
        "latest.pdparams",
        "latest.pdstates",
    ]


def test_states_are_those_that_paddleclas_reads() -> None:
    states = Position(epoch=4, metric=0.5).to_states()
    assert (states["epoch"], states["metric"]) == (4, 0.5)


def test_states_of_paddleclas_give_epoch_and_metric(tmp_path: Path) -> None:
    write_checkpoint(
        tmp_path, "latest", {**files_of("latest", 1.0, 1), "latest.pdstates": {"metric": 0.4, "epoch": 9}}
    )
    position = read_checkpoint(str(tmp_path / "latest"), ema=False).position
    assert (position.epoch, position.best_metric, position.step) == (9, 0.4, 0)


def test_with_ema_the_weights_file_holds_the_average(tmp_path: Path) -> None:
    files = {**files_of("latest", 1.0, 1), "latest.pdema": {"weight": paddle.full([3], 8.0)}}
    write_checkpoint(tmp_path, "latest", files)
    checkpoint = read_checkpoint(str(tmp_path / "latest"), ema=True)
    assert float(checkpoint.params["weight"][0]) == 8.0
    assert checkpoint.ema is not None
    assert float(checkpoint.ema["weight"][0]) == 1.0


def killed_after(events: int, folder: Path) -> bool:
    """Write value 2 over value 1 in a child that dies at the given file-system event; say whether it died."""
    child = os.fork()
    if child == 0:
        left = events

        def die(event: str, _: Any) -> None:
            nonlocal left
            if event == "open" or event.startswith(("os.", "shutil.")):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(die)
        write_checkpoint(folder, "latest", files_of("latest", 2.0, 2))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork; run on Linux or macOS")
def test_a_kill_at_any_file_system_event_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    seen = []
    for events in range(200):
        folder = tmp_path / str(events)
        write_checkpoint(folder, "latest", files_of("latest", 1.0, 1))
        died = killed_after(events, folder)
        seen.append(value_of(folder))
        if not died:
            break
    else:
        pytest.fail("the write did not end within 200 events; the test no longer covers all of it")
    assert seen[0] == 1.0
    assert seen[-1] == 2.0
    assert seen == sorted(seen), "once committed, a checkpoint must not go back"
    assert len(seen) > 10, "the hook saw too few events to prove anything"


def test_an_unwritable_folder_is_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(OutputError, match=r"Global\.output_dir"):
        write_checkpoint(blocker, "latest", files_of("latest", 1.0, 1))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full; run on Linux")
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, "latest", files_of("latest", 1.0, 1))
    save = paddle.save

    def save_to_full_disk(content: Any, path: str) -> None:
        if path.endswith(".pdopt"):
            Path(path).symlink_to("/dev/full")
        save(content, path)

    monkeypatch.setattr(paddle, "save", save_to_full_disk)
    with pytest.raises(OutputError, match="No space left"):
        write_checkpoint(tmp_path, "latest", files_of("latest", 2.0, 2))
    assert value_of(tmp_path) == 1.0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_missing_checkpoint_lists_those_that_are_there(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "epoch_7", files_of("epoch_7", 1.0, 1))
    with pytest.raises(WeightsError, match=r"epoch_7.*Global\.checkpoints"):
        read_checkpoint(str(tmp_path / "latest"), ema=False)


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".pdstates"])
@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"\x80\x04half"])
def test_a_broken_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    write_checkpoint(tmp_path, "latest", files_of("latest", 1.0, 1))
    (tmp_path / f"latest{suffix}").write_bytes(content)
    with pytest.raises(WeightsError, match=f"latest{suffix}"):
        read_checkpoint(str(tmp_path / "latest"), ema=False)


def test_a_checkpoint_of_the_future_is_refused(tmp_path: Path) -> None:
    states = Position().to_states()
    states["ppghost"]["version"] = 99
    write_checkpoint(tmp_path, "latest", {**files_of("latest", 1.0, 1), "latest.pdstates": states})
    with pytest.raises(WeightsError, match="newer"):
        read_checkpoint(str(tmp_path / "latest"), ema=False)


class Malicious:
    """Pickles into a call of a program."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt", ".pdstates"])
def test_reading_a_checkpoint_executes_nothing(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path, "latest", files_of("latest", 1.0, 1))
    (tmp_path / f"latest{suffix}").write_bytes(pickle.dumps([Malicious()]))
    with pytest.raises(WeightsError, match=f"latest{suffix}"):
        read_checkpoint(str(tmp_path / "latest"), ema=False)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "states",
    [
        None,
        [1],
        {"metric": None, "epoch": 1},
        {"metric": 0.5, "epoch": "x"},
        {"metric": 0.5, "epoch": -5},
        {"metric": 0.5, "epoch": 1, "ppghost": "x"},
        {"metric": 0.5, "epoch": 1, "ppghost": {"version": 1, "unknown": 3}},
    ],
)
def test_states_that_say_nothing_are_refused(tmp_path: Path, states: Any) -> None:
    write_checkpoint(tmp_path, "latest", {**files_of("latest", 1.0, 1), "latest.pdstates": states})
    with pytest.raises(WeightsError, match=r"latest\.pdstates"):
        read_checkpoint(str(tmp_path / "latest"), ema=False)
