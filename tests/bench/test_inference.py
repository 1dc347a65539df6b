"""Comparing the speed of inference: who is measured, who is left out and why, and what the figures mean."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

from ppghost.bench import inference
from ppghost.bench.files import ModelFiles, Subject
from ppghost.bench.findings import Comparison, Measurement, Setting, Start
from ppghost.bench.inference import Plan, compare
from ppghost.bench.inference_report import (
    comparison_dict,
    comparison_lines,
    ratios_to_ours,
    summary_lines,
    write_plot,
)
from ppghost.bench.networks import centred, logit_error
from ppghost.bench.pictures import draw_pictures
from ppghost.bench.programs import DEFAULT_PATTERNS, PROGRAMS, Program, programs_named
from ppghost.bench.workers import LEAST_ROUNDS, Worker, WorkerEnded, cpus_for
from ppghost.cli import main
from ppghost.environments import PADDLE2ONNX, Environment
from ppghost.errors import ConfigError, ToolMissingError
from ppghost.vision import softmax

_ON_ONNX = ("onnxruntime", "openvino", "mnn", "ncnn")
TINY = Subject("GhostNet_x0_5", size=32)
ONE = Setting("GhostNet_x1_0", 1, 1)
EIGHT = Setting("GhostNet_x1_0", 1, 8)
FILES = Setting("GhostNet_x1_0", 1, None)


@pytest.fixture
def comparison() -> Comparison:
    """Return three rounds of four programs, the machine being disturbed in the last one."""
    names = ("ours", "ours_bf16", "paddle2", "openvino", "mnn", "openvino:fused")
    return Comparison(
        provenance={"machine": "x86_64", "cpus": 2, "date": "2026-01-01", "cpu": "A CPU"},
        programs={name: PROGRAMS[name] for name in names},
        frameworks=dict.fromkeys(names, "engine 1"),
        starts=[
            Start("GhostNet_x1_0", 1, "ours", 0.5, 0.25, 2**27, 2**24, 1e-6),
            Start("GhostNet_x1_0", 1, "ours_bf16", 0.5, 0.25, 2**27, 2**24, 2e-2, 0.9925),
        ],
        measurements=[
            Measurement(ONE, "ours", [2.0, 2.2, 6.0], 2**27),
            Measurement(ONE, "ours_bf16", [1.0, 1.1, 4.0], 2**27),
            Measurement(ONE, "paddle2", [8.0, 6.6, 60.0], 2**28),
            Measurement(ONE, "openvino", [3.0, 3.3, 9.0], 2**28, "latency hint", best_ms=2.8),
            Measurement(ONE, "mnn", [5.0, 5.5, 9.0], 2**28),
            Measurement(ONE, "openvino:fused", [2.5, 2.6, 9.0], 2**28, best_ms=2.5),
            Measurement(EIGHT, "ours", [12.0, 12.0], 2**27),
            Measurement(FILES, "ours", [4.0, 4.0], 2**27),
            Measurement(FILES, "paddle2", [16.0, 20.0], 2**27),
        ],
        parts={"GhostNet_x1_0": {"decode_ms": 1.0, "prepare_ms": 0.5}},
        missing=["ncnn is left out: no compiler"],
    )


def test_ratios_are_taken_within_a_round(comparison: Comparison) -> None:
    by_name = {one.program: one for one in comparison.measurements if one.setting == ONE}
    assert ratios_to_ours(comparison, by_name["paddle2"]) == pytest.approx([4.0, 3.0, 10.0])
    assert ratios_to_ours(comparison, by_name["ours"]) == [1.0, 1.0, 1.0]
    comparison.measurements = [one for one in comparison.measurements if one.program != "ours"]
    assert ratios_to_ours(comparison, by_name["paddle2"]) == []
    assert not [line for line in summary_lines(comparison) if "ours is" in line]


def test_the_table_tells_medians_spread_ratios_and_who_is_missing(comparison: Comparison) -> None:
    lines = comparison_lines(comparison)
    start = lines.index("GhostNet_x1_0, 1 thread(s), batch 1")
    rows = [line.split() for line in lines[start + 2 : start + 8]]
    assert [row[0] for row in rows] == ["ours_bf16", "ours", "openvino:fused", "openvino", "mnn", "paddle2"]
    [openvino] = [row for row in rows if row[0] == "openvino"]
    assert openvino[1:8] == ["3.30", "3.00..9.00", "1.50", "1.50..1.50", "303", "256", "3"]
    [start_row] = [line.split() for line in lines if line.startswith("ours_bf16") and "99." in line]
    assert start_row == ["ours_bf16", "0.50", "0.25", "128", "16.0", "2e-02", "99.2%", "engine", "1"]
    assert lines[-1] == "ncnn is left out: no compiler"


def test_the_summary_names_the_best_program_on_its_own_export(comparison: Comparison) -> None:
    first, exports, files = summary_lines(comparison)
    # mnn is slower; openvino on our graph and what is not float32 are no rivals.
    assert "4.00 times as fast as paddle2" in first
    assert "1.50 times as fast as the best other program, openvino;" in first
    assert "its bf16, ours_bf16, 2.00 times as fast as itself" in first
    assert exports.endswith("openvino:fused 1.20 (1.00..1.27), fastest calls 2.80 / 2.50 ms = 1.12.")
    # 1 + 0.5 + 12 / 8 ms are needed, 4 are taken.
    assert "4.50 times as fast as PaddleClas' way, Paddle 2" in files
    assert "at 250 pictures/s, 75% of what" in files


def test_json_holds_every_round(comparison: Comparison) -> None:
    written = json.loads(json.dumps(comparison_dict(comparison)))
    [paddle] = [one for one in written["measurements"] if (one["program"], one["batch"]) == ("paddle2", 1)]
    assert paddle["call_ms"] == [8.0, 6.6, 60.0]
    assert paddle["median_ms"] == statistics.median(paddle["call_ms"])
    assert written["programs"]["paddle2"]["environment"][0].startswith("paddlepaddle==2.")
    assert written["provenance"]["cpu"] == "A CPU"


def test_the_plot_is_a_picture(comparison: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib here: pip install matplotlib")
    write_plot(comparison, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_errors_are_seen_through_softmax() -> None:
    logits = np.random.RandomState(0).normal(0, 3, (4, 10)).astype(np.float32)
    moved = logits.copy()
    moved[2, 3] += 0.5
    truth = centred(logits)
    assert logit_error(centred(np.log(softmax(logits))), truth) < 1e-6
    # Centring takes a tenth of the difference away.
    expected = 0.45 / np.abs(logits - logits.mean(axis=1, keepdims=True)).max()
    assert logit_error(centred(np.log(softmax(moved))), truth) == pytest.approx(expected, rel=1e-4)
    assert logit_error(truth[:3], truth) == float("inf")
    assert logit_error(np.full_like(truth, np.nan), truth) == float("inf")


def test_programs_are_named_by_patterns() -> None:
    assert [one.name for one in programs_named(["openvino", "ours"])] == ["ours", "openvino"]
    assert {one.graph for one in programs_named(["ours:native:*"])} == {"stock", "folded", "fused"}
    asked = programs_named(["onnxruntime", "ours", "timm"], ["fused"])
    assert [one.name for one in asked] == ["ours", "onnxruntime", "timm", "onnxruntime:fused"]
    assert {one.name for one in programs_named(DEFAULT_PATTERNS)} >= {"ours", "paddle2", "timm", "ncnn"}
    with pytest.raises(ConfigError, match="'onnxruntime'"):
        programs_named(["onnxruntim"])


def test_drawn_pictures_are_always_the_same(tmp_path: Path) -> None:
    first, second = (draw_pictures(tmp_path / name, count=3) for name in "ab")
    assert [one.read_bytes() for one in first] == [one.read_bytes() for one in second]
    assert len({one.read_bytes() for one in first}) == len(first)


def test_a_program_keeps_to_as_many_cpus_as_it_has_threads() -> None:
    assert len(cpus_for(1)) <= 1
    assert len(set(cpus_for(2))) == len(cpus_for(2)) <= 2


def test_a_program_that_never_answers_or_dies_in_the_middle_is_gone(tmp_path: Path) -> None:
    """The first waits for ever, the second ends within a line."""
    for text, seconds, told in (
        ("sys.stdin.read()", 0.1, "gave no answer"),
        ("print('{', end='')", 99, "code 0"),
    ):
        (tmp_path / "stderr").write_text("")
        with subprocess.Popen(
            [sys.executable, "-c", f"import sys; {text}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            with pytest.raises(WorkerEnded, match=told):
                Worker(process, tmp_path / "stderr", longest_seconds=seconds).hear()


def test_who_dies_or_answers_wrongly_is_left_out_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The dead one has no such engine, the wrong one lacks a part of the weights."""
    dead = Program("dead", "dead", "no_such_engine", "artifact")
    wrong = Program("wrong", "wrong", "paddle", "paddle", options={"form": "json", "memory_optim": False})
    right = PROGRAMS["ours:native:stock"]
    notes: list[tuple[float, str]] = []

    class Damaging(ModelFiles):
        """Hands the wrong program weights with zeros in their middle."""

        def job_of(self, program: Program, threads: int) -> tuple[dict[str, Any], list[Path]]:
            job, files = super().job_of(program, threads)
            if program.name == "wrong":
                content = bytearray(files[-1].read_bytes())
                middle = len(content) // 2
                content[middle : middle + 2**16] = bytes(2**16)
                damaged = tmp_path / "damaged.pdiparams"
                damaged.write_bytes(content)
                job["files"][-1] = str(damaged)
            return job, files

    monkeypatch.setattr(inference, "ModelFiles", Damaging)
    result = compare(
        Plan([TINY], [dead, wrong, right], ["ours"], threads=[1], batches=[2, 1], rounds=9, budget_seconds=0),
        lambda done, note: notes.append((done, note)),
    )
    measured = [(one.program, one.setting.batch) for one in result.measurements]
    assert measured == [("ours:native:stock", 1), ("ours:native:stock", 2), ("ours", None)]
    assert all(len(one.call_ms) == LEAST_ROUNDS for one in result.measurements)
    assert all(0 < one.best_ms <= min(one.call_ms) for one in result.measurements)
    assert {one.program for one in result.starts} == {"ours:native:stock"}
    [start] = result.starts
    assert start.error is not None
    assert start.error < 1e-4
    assert start.first_seconds > start.load_seconds > 0
    assert 50e6 < start.peak_bytes < 50e9
    assert start.file_bytes > 1e6
    by_name = {sentence.split()[0]: sentence for sentence in result.missing}
    assert "KeyError: 'no_such_engine'" in by_name["dead"]
    assert re.search(r"its outputs for batch 1 are wrong: .* tolerated in fp32: 1e-03", by_name["wrong"])
    assert set(by_name) == {"dead", "wrong"}
    assert all(ms > 0 for ms in result.parts["GhostNet_x0_5"].values())
    stock = result.provenance["artifacts"]["GhostNet_x0_5"]["stock"]
    assert set(stock["sha256"]) >= {"inference.json", "inference.pdiparams"}
    assert notes[-1] == (3, "done")
    assert [done for done, _ in notes] == sorted(done for done, _ in notes)


def test_ctrl_c_keeps_what_was_measured() -> None:
    def interrupt(done: float, _: str) -> None:
        if done > 1:
            raise KeyboardInterrupt

    plan = Plan([TINY], [PROGRAMS["ours:native:stock"]], [], [1], [1, 2], rounds=2, budget_seconds=0)
    result = compare(plan, interrupt)
    assert [one.setting.batch for one in result.measurements] == [1]
    assert [one.program for one in result.starts] == ["ours:native:stock"]
    [sentence] = result.missing
    assert "Ctrl-C" in sentence


def test_nothing_to_measure_is_an_error_with_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    lost = Program("lost", "lost", "timm", "timm", environment=Environment("lost", "9.9", ()))
    plan = Plan([TINY], [lost], [], threads=[1], batches=[1], rounds=1, budget_seconds=0)
    with pytest.raises(ToolMissingError, match=r"lost cannot be measured: Python 9\.9 is needed"):
        compare(plan)


def test_the_programs_of_others_give_the_networks_outputs() -> None:
    """Asks those whose environments have been made already, by `ppghost bench`."""
    here = [
        PROGRAMS[name]
        for name in ("paddle2", *(one + graph for one in _ON_ONNX for graph in ("", ":fused")))
        if has_been_made(PROGRAMS[name].environment) and has_been_made(PADDLE2ONNX)
    ]
    if not here:
        pytest.skip("no environment of another engine here: ppghost bench --programs onnxruntime")
    result = compare(Plan([TINY], here, [], threads=[1], batches=[1, 3], rounds=2, budget_seconds=0))
    assert result.missing == []
    names = [one.name for one in here]
    assert [(one.setting.batch, one.program) for one in result.measurements] == [
        (batch, name) for batch in (1, 3) for name in names
    ]
    assert max(one.error or 0.0 for one in result.starts) < 1e-4


def has_been_made(environment: Optional[Environment]) -> bool:
    return environment is not None and (environment.folder / "complete.json").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sizes", "64"], "--sizes has no effect"),
        (["--train", "--batches", "1"], "--batches has no effect on --train"),
        (["--batches", "0"], "--batches is 0"),
        (["--threads", "4096"], "may use"),
        (["--programs", "nobody"], "No program is called 'nobody'"),
        (
            ["--models", "GhostNet_x0_5", "GhostNet_x1_0", "--weights", "x"],
            "--weights belongs to one network",
        ),
        (["--pictures", "/nowhere"], "/nowhere"),
        (["--train", "--programs", "openvino"], "Accepted with --train"),
        (["--train", "--threads", "1", "2"], "one number"),
        (["--plot", "bench.png"], "pip install matplotlib"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_before_measuring(
    words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", *words]) == 2
    assert expected in capsys.readouterr().err
