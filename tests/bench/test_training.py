"""Comparing the speed of training: who is measured, who is left out and why, and what the figures mean."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ppghost.bench import training
from ppghost.bench.training import Comparison, Competitor, Measurement, Setting, compare, settings_of
from ppghost.bench.training_report import comparison_dict, comparison_lines, ratios_to_ours, write_plot
from ppghost.bench.workers import LEAST_ROUNDS
from ppghost.cli import main
from ppghost.environments import Environment
from ppghost.errors import ToolMissingError
from ppghost.nets.native import native_kernels

TINY = Setting("GhostNet_x0_5", 32, 2)


@pytest.fixture
def comparison() -> Comparison:
    """Return three rounds of two programs, the machine being disturbed in the last one."""
    return Comparison(
        threads=2,
        machine={"cpus": 2},
        frameworks={"ours": "paddle 3", "timm": "torch 2"},
        measurements=[
            Measurement(TINY, "ours", [100.0, 110.0, 300.0], 2**30),
            Measurement(TINY, "timm", [200.0, 220.0, 900.0], 2**31),
        ],
        missing=["PaddleClas is left out: no network"],
    )


def test_ratios_are_taken_within_a_round(comparison: Comparison) -> None:
    ours, theirs = comparison.measurements
    assert ratios_to_ours(comparison, theirs) == [2.0, 2.0, 3.0]
    assert ratios_to_ours(comparison, ours) == [1.0, 1.0, 1.0]
    comparison.measurements.remove(ours)
    assert ratios_to_ours(comparison, theirs) == []


def test_the_table_tells_medians_spread_memory_and_who_is_missing(comparison: Comparison) -> None:
    lines = comparison_lines(comparison)
    [row] = [line.split() for line in lines if "timm, PyTorch" in line and "220" in line]
    assert row[3:] == ["32", "2", "220", "200..900", "2.00", "2.00..3.00", "2048", "3"]
    assert lines[-1] == "PaddleClas is left out: no network"
    assert json.loads(json.dumps(comparison_dict(comparison)))["measurements"][1]["median_ms"] == 220.0


def test_the_plot_is_a_picture(comparison: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib here: pip install matplotlib")
    write_plot(comparison, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_every_size_has_its_batch() -> None:
    settings = settings_of(["GhostNet_x1_0"], [64, 96, 224])
    assert [(one.size, one.batch) for one in settings] == [(64, 64), (96, 32), (224, 16)]


@pytest.mark.skipif(native_kernels() is None, reason="no compiled kernels here: install a C compiler")
def test_a_program_that_dies_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Competitor("dead", "no_such_framework", "x", lambda model: (model, {}))
    monkeypatch.setitem(training.COMPETITORS, "dead", dead)
    notes: list[tuple[float, str]] = []
    result = compare(
        [TINY],
        ["dead", "ours"],
        rounds=5,
        budget_seconds=0,
        threads=1,
        progress=lambda done, note: notes.append((done, note)),
    )
    [ours] = result.measurements
    assert (ours.competitor, ours.setting) == ("ours", TINY)
    assert len(ours.step_ms) == LEAST_ROUNDS, "the time was over, but two rounds are promised"
    assert min(ours.step_ms) > 0
    assert 50e6 < ours.peak_bytes < 50e9
    [sentence] = result.missing
    assert sentence.startswith("dead is left out for GhostNet_x0_5 at 32 px")
    assert "KeyError: 'no_such_framework'" in sentence
    assert notes[-1] == (1, "done")
    assert [done for done, _ in notes] == sorted(done for done, _ in notes)


def test_nothing_to_measure_is_an_error_with_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    lost = Competitor("lost", "torch", "x", lambda model: (model, {}), Environment("lost", "9.9", ()))
    monkeypatch.setitem(training.COMPETITORS, "lost", lost)
    with pytest.raises(ToolMissingError, match=r"lost is left out: Python 9\.9 is needed"):
        compare([TINY], ["lost"], rounds=1, budget_seconds=0)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--train", "--rounds", "0"], "--rounds is 0"),
        (["--train", "--threads", "-1"], "--threads is -1"),
        (["--train", "--plot", "bench.png"], "pip install matplotlib"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_before_measuring(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", *words]) == 2
    assert expected in capsys.readouterr().err
