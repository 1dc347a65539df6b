"""The reader of train.log: what was written comes back, resumed runs too; PaddleClas' lines; torn ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppghost.errors import DataError
from ppghost.train.history import EMA, EVAL, STEP, TRAIN, find_logs, read_history
from ppghost.train.log import Clock, Meters, epoch_line, train_line
from tools.plot_training import main

HEAD = "[2026/11/22 00:00:00] ppcls INFO: "


def step(epoch: int, index: int, loss: float, *, steps: int = 4, rates: Iterable[str] = ("Cosine",)) -> str:
    meters, clock = Meters(), Clock()
    meters.add({"top1": 0.25, "CELoss": loss, "loss": loss})
    clock.batch_cost.add(0.5)
    return train_line(
        epoch=epoch,
        epochs=9,
        step=index,
        steps=steps,
        rates=[(kind, 0.1 / epoch) for kind in rates],
        meters=meters,
        clock=clock,
        batch_size=8,
    )


def trained(epoch: int, loss: float) -> str:
    return epoch_line("Train", f"{epoch}/9", f"top1: 0.50000, loss: {loss:.5f}")


def judged(epoch: int, top1: float, what: str = "metric") -> list[str]:
    return [
        epoch_line("Eval", str(epoch), "loss: 1.50000", f"top1: {top1:.5f}"),
        f"[Eval][Epoch {epoch}][best {what}: {top1}]",
    ]


def write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{HEAD}{line}\n" for line in lines), encoding="utf-8")
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    lines = [
        step(1, 0, 3.0),
        step(1, 2, 2.5),
        trained(1, 2.25),
        *judged(1, 0.5),
        *judged(1, 0.625, "metric ema"),
    ]
    history = read_history(
        write(tmp_path / "train.log", ["Global:", "    epochs : 9", *lines, step(2, 0, 2.0)])
    )
    assert history.curve(STEP, "loss") == ([0.25, 0.75, 1.25], [3.0, 2.5, 2.0])
    assert history.curve(STEP, "lr(Cosine)") == ([0.25, 0.75, 1.25], [0.1, 0.1, 0.05])
    assert history.curve(TRAIN, "loss") == ([1.0], [2.25])
    assert history.curve(EVAL, "top1") == ([1.0], [0.5])
    assert history.curve(EMA, "top1") == ([1.0], [0.625])
    assert (history.rewound, history.broken) == (0, [])


@given(st.lists(st.integers(0, 19), min_size=1, max_size=6))
def test_whatever_was_done_again_counts_once(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    """A run of 20 steps that goes back at some of them: the log tells each step as it was done last."""
    lines, last, start = [], {}, 0
    for session, stop in enumerate([*stops, 19]):
        for place in range(min(start, stop), stop + 1):
            last = {one: value for one, value in last.items() if one < place}
            last[place] = float(session)
            lines.append(step(place // 4 + 1, place % 4, session))
            if place % 4 == 3:
                lines += [trained(place // 4 + 1, session), *judged(place // 4 + 1, 0.5)]
        start = max(0, stop - 2)
    history = read_history(write(tmp_path_factory.mktemp("log") / "train.log", lines))
    epochs, losses = history.curve(STEP, "loss")
    assert dict(zip(np.round(np.array(epochs) * 4 - 1).astype(int).tolist(), losses)) == last
    assert len(epochs) == len(last)
    assert history.curve(TRAIN, "loss") == ([1, 2, 3, 4, 5], [last[place] for place in (3, 7, 11, 15, 19)])
    assert history.curve(EVAL, "top1")[0] == [1, 2, 3, 4, 5]


def test_lines_of_paddleclas(tmp_path: Path) -> None:
    """With two schedules, memory at the end, and the one `lr` of older releases."""
    log = write(
        tmp_path / "train.log",
        [
            "[Train][Epoch 1/2][Iter: 0/1]lr(Cosine): 0.10000000, lr(Cosine): 0.20000000, top1: 0.10000, "
            "loss: 6.90000, batch_cost: 1.00000s, reader_cost: 0.50000, ips: 8.00000 samples/s, "
            "eta: 1:00:00, max_mem_reserved: 7.00 MB",
            "[Train][Epoch 2/2][Iter: 0/1]lr: 0.05000000, loss: nan, batch_cost: 1.00000s, reader_cost: "
            "0.50000, ips: 8.00000 samples/s, eta: 0:00:00",
            "[Eval][Epoch 2][Iter: 0/1]CELoss: 6.50000, loss: 6.50000, top1: 0.11000, top5: 0.20000",
            "[Eval][Epoch 2][Avg]CELoss: 6.50000, loss: 6.50000, top1: 0.11000, top5: 0.20000",
        ],
    )
    history = read_history(log)
    assert history.names()[:4] == ["lr(Cosine)", "lr(Cosine) 2", "top1", "loss"]
    assert history.curve(STEP, "lr(Cosine) 2") == ([1.0], [0.2])
    assert history.curve(STEP, "lr") == ([2.0], [0.05])
    assert np.isnan(history.curve(STEP, "loss")[1][1])
    assert history.curve(EVAL, "top1") == ([2.0], [0.11])
    assert history.broken == []


def test_torn_lines_are_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = step(1, 0, 3.0)
    torn = [f"{HEAD}{whole[: whole.index(', eta')]}\n", f"{HEAD}[Eval][Epoch 1][Avg]top1: 0.4\n"]
    resumed = f"{HEAD}{whole[:60]}{HEAD}{step(1, 1, 2.0)}\n"
    log = tmp_path / "train.log"
    log.write_text(f"{HEAD}{whole}\n{''.join(torn)}{resumed}", encoding="utf-8")
    history = read_history(log)
    assert history.curve(STEP, "loss") == ([0.25, 0.5], [3.0, 2.0])
    assert history.curve(EVAL, "top1") == ([], [])
    assert history.broken == [2, 3]
    pytest.importorskip("matplotlib", reason="no matplotlib here: pip install matplotlib")
    assert main([str(log), "--output", str(tmp_path / "x.png")]) == 0
    assert "2 lines are incomplete and were left out, the first in line 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "0 bytes"),
        (b"\x00\xff" * 500, "tells of no training"),
        (b"[2026/11/22 00:00:00] ppcls INFO: [Train][Epoch 1/2][Iter: 0/", "1 lines begin"),
    ],
)
def test_logs_without_a_training(tmp_path: Path, content: bytes | None, words: str) -> None:
    log = tmp_path / "train.log"
    if content is not None:
        log.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_history(log)


def test_runs_are_named_after_their_folders(tmp_path: Path) -> None:
    one, two, three = (write(tmp_path / name / "train.log", []) for name in ("a/out", "b/out", "b/best"))
    assert find_logs([one.parent]) == {"out": one}
    assert find_logs([one, two]) == {"a/out": one, "b/out": two}
    assert find_logs([tmp_path / "b"]) == {"best": three, "out": two}
    other = write(one.parent / "eval.log", [])
    assert list(find_logs([one, other]))[0].endswith("a/out/train.log")
    with pytest.raises(DataError, match="given twice"):
        find_logs([one, one.parent])
    with pytest.raises(DataError, match=r"no train\.log in"):
        find_logs([tmp_path])


def test_runs_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib here: pip install matplotlib")
    import cv2

    for name in ("plain", "with $dollars$"):
        lines = [
            line for epoch in (1, 2) for line in (step(epoch, 0, 3.0 / epoch), trained(epoch, 2.0 / epoch))
        ]
        write(tmp_path / name / "train.log", [*lines, *judged(2, 0.5), *judged(2, 0.625, "metric ema")])
    assert main([str(tmp_path), "--output", str(tmp_path / "both.png")]) == 0
    assert cv2.imread(str(tmp_path / "both.png")).std() > 1
    assert "plain: " in capsys.readouterr().out


def test_only_what_a_log_has_is_drawn(tmp_path: Path) -> None:
    """The log of an evaluation has no learning rate; three panels would leave one empty."""
    pytest.importorskip("matplotlib", reason="no matplotlib here: pip install matplotlib")
    import cv2

    few = write(tmp_path / "few" / "train.log", judged(1, 0.5))
    all_three = write(tmp_path / "all" / "train.log", [step(1, 0, 3.0), *judged(1, 0.5)])
    for log in (few, all_three):
        assert main([str(log), "--output", str(log.parent / "x.png")]) == 0
    heights = [len(cv2.imread(str(log.parent / "x.png"))) for log in (few, all_three)]
    assert heights[0] * 3 == heights[1] * 2


def test_what_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write(tmp_path / "train.log", ["[Train][Epoch 1/2][Avg]top5: 0.50000"])
    assert main([str(log), "--output", "x.pdf"]) == 2
    assert "end with .png" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(log), "--output", str(tmp_path / "x.png")]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err


def test_a_picture_takes_so_many_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib here: pip install matplotlib")
    logs = [write(tmp_path / str(number) / "train.log", [trained(1, 2.0)]) for number in range(21)]
    output = str(tmp_path / "x.png")
    assert main([*map(str, logs[:20]), "--output", output]) == 0
    assert main([*map(str, logs), "--output", output]) == 2
    assert "21 runs are too many" in capsys.readouterr().err
    (tmp_path / "0" / "train.log").write_text("[Train][Epoch 1/2][Avg]top5: 0.50000\n")
    assert main([str(logs[0]), "--output", output]) == 2
    assert "None of the logs" in capsys.readouterr().err
