"""Batch accuracy: the figures are exact, an interrupted run ends like any other, and faults are told."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from toys import CLASS_NUM, LABELS, PIPELINE

from ppghost.accuracy.counting import CONFUSIONS, Accuracy, Agreement, Answer, answer_of
from ppghost.artifact import Artifact
from ppghost.cli import main
from ppghost.errors import VerificationError
from ppghost.offline.scoring import best_classes, rank_of
from ppghost.predict import Scored

COUNT = 23
BATCH = 4


def names_of(count: int) -> list[str]:
    special = ["with blanks 1 2.png", "山羊.png", "sub/deep.png"]
    return special + [f"{index}.png" for index in range(count - len(special))]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noisy pictures with a list; read only."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "sub").mkdir()
    rng = np.random.RandomState(3)
    lines = []
    for index, name in enumerate(names_of(COUNT)):
        picture = np.clip(rng.normal(rng.uniform(0, 255, 3), 60, (36 + index, 40, 3)), 0, 255)
        (folder / name).write_bytes(cv2.imencode(".png", picture.astype(np.uint8))[1].tobytes())
        lines.append(f"{name} {rng.randint(CLASS_NUM)}\n")
    (folder / "list.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def evaluate(shipped: Artifact, pictures: Path, tmp_path: Path) -> Any:
    """A caller of the verb: (exit code, content of --json)."""

    def run(*words: str, data: Path = pictures / "list.txt", batch: int = BATCH) -> tuple[int, Any]:
        report = tmp_path / "report.json"
        report.unlink(missing_ok=True)
        options = ["--engine", "native", "--threads", "1", "--batch-size", str(batch), "--json", str(report)]
        code = main(["eval", "--artifact", str(shipped.folder), "--data", str(data), *options, *words])
        return code, json.loads(report.read_text(encoding="utf-8")) if report.exists() else None

    return run


def listed(folder: Path) -> list[tuple[str, int]]:
    lines = (folder / "list.txt").read_text(encoding="utf-8").splitlines()
    return [(line[:-2], int(line[-1])) for line in lines]


def ordered_classes(net: nn.Layer, folder: Path) -> list[list[int]]:
    """Return the classes of each picture, best first, from the trained network itself."""
    net.eval()
    with paddle.no_grad():
        rows = [
            net(paddle.to_tensor(PIPELINE.to_chw((folder / name).read_bytes())[None]))[0].numpy()
            for name, _ in listed(folder)
        ]
    net.train()
    return [sorted(range(CLASS_NUM), key=lambda one: -row[one]) for row in rows]


def test_the_figures_are_those_of_an_independent_count(
    toy: nn.Layer, evaluate: Any, pictures: Path, tmp_path: Path
) -> None:
    code, report = evaluate("--output", str(tmp_path / "all.jsonl"), "--csv", str(tmp_path / "all.csv"))
    assert code == 0
    order, truth = ordered_classes(toy, pictures), listed(pictures)
    hits = [sum(label in row[:k] for row, (_, label) in zip(order, truth)) for k in range(1, 6)]
    assert report["hits"] == hits
    assert (report["top1"], report["top5"]) == (hits[0] / COUNT, hits[4] / COUNT)
    assert (report["pictures"], report["counted"], report["broken"]) == (COUNT, COUNT, 0)
    assert report["engine"] == "native"
    assert report["pictures_per_second"] == report["measured_pictures"] / report["seconds"]
    support = Counter(label for _, label in truth)
    assert {one["class_id"]: one["pictures"] for one in report["classes"]} == support
    wrong = Counter((label, row[0]) for row, (_, label) in zip(order, truth) if row[0] != label)
    for one in report["classes"]:
        assert one["name"] == LABELS.names[one["class_id"]]
        assert all(wrong[one["class_id"], taken_for] == count for taken_for, count in one["confusions"])
        missed = sum(count for (label, _), count in wrong.items() if label == one["class_id"])
        assert round(one["top1"] * one["pictures"]) == one["pictures"] - missed
    run, *answers = map(json.loads, (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines())
    assert run.items() <= {**report, "ppghost_eval": 1}.items()
    assert [(one["file_name"], one["label"]) for one in answers] == truth
    assert [one["class_ids"] for one in answers] == [row[:5] for row in order]
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file_name"], int(row["label"])) for row in rows] == truth
    assert [row["class_name"] for row in rows] == [LABELS.names[row[0]] for row in order]
    ranks = [row.index(label) + 1 for row, (_, label) in zip(order, truth)]
    assert [row["rank"] for row in rows] == [str(rank) if rank <= 5 else "" for rank in ranks]


def test_the_terminal_shows_the_figures_and_the_worst_classes(
    evaluate: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    _, report = evaluate()
    out = capfd.readouterr().out
    assert f"[Eval][Epoch 0][Avg]top1: {report['top1']:.5f}, top5: {report['top5']:.5f}\n" in out
    worst = report["classes"][0]
    [row] = [line for line in out.splitlines() if line.startswith(f"{worst['class_id']} {worst['name']} ")]
    assert row.split()[2:5] == [str(worst["pictures"]), f"{worst['top1']:.5f}", f"{worst['top5']:.5f}"]


def test_threads_change_nothing_but_the_speed(
    shipped: Artifact, pictures: Path, evaluate: Any, tmp_path: Path
) -> None:
    for threads in ("1", "3"):
        assert evaluate("--threads", threads, "--output", str(tmp_path / threads))[0] == 0
    answers = [(tmp_path / threads).read_text(encoding="utf-8").split("\n")[1:] for threads in ("1", "3")]
    assert answers[0] == answers[1]


def without_speed(report: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in report.items()
        if key not in ("seconds", "pictures_per_second", "measured_pictures")
    }


def test_a_run_cut_anywhere_ends_like_a_whole_one(evaluate: Any, tmp_path: Path) -> None:
    _, whole = evaluate("--output", str(tmp_path / "whole"), "--csv", str(tmp_path / "whole.csv"))
    content = (tmp_path / "whole").read_bytes()
    ends = [index + 1 for index in range(len(content)) if content[index : index + 1] == b"\n"]
    part = tmp_path / "part"
    # Nothing, within the first line, at a line's end, within a line, within a batch, all but a line end, all.
    for length in (0, 9, ends[0], ends[0] + 7, ends[6], ends[6] - 1, len(content) - 1, len(content)):
        part.write_bytes(content[:length])
        code, resumed = evaluate("--output", str(part), "--resume", "--csv", str(tmp_path / "part.csv"))
        assert code == 0
        assert part.read_bytes() == content
        assert (tmp_path / "part.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
        assert without_speed(resumed) == without_speed(whole)
        kept = max(content[:length].count(b"\n") - 1, 0)
        fresh = COUNT - (COUNT if kept == COUNT else kept // BATCH * BATCH)
        assert resumed["measured_pictures"] == fresh
        assert (resumed["pictures_per_second"] is None) == (fresh == 0)


def test_a_killed_process_goes_on(shipped: Artifact, pictures: Path, tmp_path: Path) -> None:
    """Kill a run for good after a broken picture, whose report tells how far it is, and let it go on."""
    source, lines = pictures / "0.png", []
    for index in range(700):
        name = f"{index}.png"
        if index == 30:
            (tmp_path / name).write_bytes(b"broken")
        else:
            os.link(source, tmp_path / name) if hasattr(os, "link") else shutil.copy(source, tmp_path / name)
        lines.append(f"{name} {index % CLASS_NUM}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    words = ["eval", "--artifact", str(shipped.folder), "--data", str(tmp_path / "list.txt")]
    words += ["--engine", "native", "--threads", "1", "--batch-size", "8"]
    killed = tmp_path / "killed.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "ppghost", *words, "--output", str(killed)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert any("30.png" in line for line in process.stdout)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    held = killed.read_bytes().count(b"\n") - 1
    assert 30 <= held < 700
    with killed.open("ab") as stream:
        stream.write(b'{"file_name": "31.p')
    reports = []
    for path, resume in ((killed, ["--resume"]), (tmp_path / "whole.jsonl", [])):
        report = tmp_path / "report.json"
        assert main([*words, "--output", str(path), *resume, "--json", str(report)]) == 1
        reports.append(without_speed(json.loads(report.read_text())))
    assert reports[0] == reports[1]
    assert reports[0]["broken"] == 1
    assert killed.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_file_of_another_run_is_not_gone_on_with(
    evaluate: Any, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--output", str(tmp_path / "run.jsonl"))
    assert evaluate(*words)[0] == 0
    content = (tmp_path / "run.jsonl").read_bytes()
    shorter = tmp_path / "shorter.txt"
    shorter.write_text((pictures / "list.txt").read_text(encoding="utf-8").split("\n")[0], encoding="utf-8")
    rooted = ("--image-root", str(pictures))
    for changed, sentence in (
        (lambda: evaluate(*words), "add --resume"),
        (lambda: evaluate(*words, "--resume", batch=8), "batch_size: 4 in the file, 8 now"),
        (
            lambda: evaluate(*words, "--resume", "--engine", "onednn"),
            "engine: 'native' in the file, 'onednn'",
        ),
        (lambda: evaluate(*words, *rooted, "--resume", data=shorter), "pictures: 23 in the file, 1 now"),
    ):
        assert changed() == (2, None)
        assert sentence in capfd.readouterr().err
        assert (tmp_path / "run.jsonl").read_bytes() == content


def in_line_4(old: bytes, new: bytes) -> Any:
    """Return what changes the fourth of some lines."""
    return lambda lines: [*lines[:3], re.sub(old, new, lines[3]), *lines[4:]]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda lines: [*lines[:3], b"{}\n", *lines[4:]], "run.jsonl:4 is no prediction"),
        (lambda lines: [*lines[:3], b"\0\0\n", *lines[4:]], "run.jsonl:4 is no prediction"),
        (lambda lines: [*lines[:3], *lines[4:]], r"run.jsonl:4 is about"),
        (in_line_4(rb'"class_ids": \[\d', b'"class_ids": [7'), "not have"),
        (in_line_4(rb'"class_ids": \[\d', b'"class_ids": [2, 2'), "run.jsonl:4 is no prediction"),
        (in_line_4(rb'"scores": \[.*?\]', b'"scores": []'), "run.jsonl:4 is no prediction"),
        (in_line_4(rb'"scores": \[[^,]*', b'"scores": ["x"'), "run.jsonl:4 is no prediction"),
        (in_line_4(rb'"scores": \[[^,]*', b'"scores": [NaN'), "run.jsonl:4 is no prediction"),
        (in_line_4(rb"}$", b', "failure": 3}'), "run.jsonl:4 is no prediction"),
        (lambda lines: [*lines, lines[-1]], "24 predictions for 23 pictures"),
        (lambda lines: [b"my notes\n"], "is no file of predictions"),
        (lambda lines: [b"my notes"], "is no file of predictions"),
    ],
)
def test_a_damaged_file_is_told_and_left_alone(
    evaluate: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil: Any, sentence: str
) -> None:
    path = tmp_path / "run.jsonl"
    evaluate("--output", str(path))
    spoilt = b"".join(spoil(path.read_bytes().splitlines(keepends=True)))
    path.write_bytes(spoilt)
    assert evaluate("--output", str(path), "--resume") == (2, None)
    assert sentence in capfd.readouterr().err
    assert path.read_bytes().startswith(spoilt[:9])


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            ["0.png 1", "1.png 7"],
            "list.txt:2: label 7 is not in 0 to 6; 1 of 2 lines are like that. Toy has 7",
        ),
        (["0.png 1", "1.png -1"], "list.txt:2: label -1"),
        (["0.png 1", "gone.png 2"], "list.txt:2: the picture .*gone.png' does not exist; 1 of 2"),
        (["0.png 1", "1.png 1", "0.png 2"], "list.txt:3: '0.png' stands in line 1 already, with label 1"),
        (["0.png"], "has no label"),
        (["0.png\t1"], "delimiter"),
        ([], "names no picture"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(
    evaluate: Any,
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    lines: list[str],
    sentence: str,
) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    assert evaluate("--image-root", str(pictures), data=tmp_path / "list.txt") == (2, None)
    assert re.search(sentence, capfd.readouterr().err)


def test_tabs_part_path_and_label_where_asked(evaluate: Any, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("with blanks 1 2.png\t3\n0.png\t2\n")
    words = ("--image-root", str(pictures), "--delimiter", "\\t")
    code, report = evaluate(*words, data=tmp_path / "list.txt")
    assert (code, report["counted"]) == (0, 2)


def test_an_empty_delimiter_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "--artifact", "folder", "--data", "list", "--delimiter", ""])
    assert "--delimiter: an empty text parts nothing" in capfd.readouterr().err


def test_where_figures_cannot_be_written_nothing_is_measured(
    shipped: Artifact, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    words = ["--data", str(pictures / "list.txt"), "--json", str(tmp_path / "file" / "report.json")]
    out = tmp_path / "run.jsonl"
    assert main(["eval", "--artifact", str(shipped.folder), *words, "--output", str(out)]) == 2
    assert not out.exists()


def test_broken_pictures_are_counted_apart(
    evaluate: Any, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{name} {label}\n" for name, label in listed(pictures)]
    for name in ("first.png", "last.png"):
        (tmp_path / name).write_bytes(b"no picture")
    root = tmp_path / "root"
    shutil.copytree(pictures, root)
    for name in ("first.png", "last.png"):
        shutil.move(tmp_path / name, root / name)
    (root / "list.txt").write_text("".join(["first.png 0\n", *lines, "last.png 1\n"]), encoding="utf-8")
    table = tmp_path / "all.csv"
    code, report = evaluate("--csv", str(table), data=root / "list.txt")
    told = capfd.readouterr().out
    _, sound = evaluate()
    assert code == 1
    assert (report["pictures"], report["counted"], report["broken"]) == (COUNT + 2, COUNT, 2)
    assert (report["hits"], report["classes"]) == (sound["hits"], sound["classes"])
    assert "first.png: " in told
    assert f"2 of {COUNT + 2} pictures could not be read" in told
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [bool(row["failure"]) for row in rows] == [True, *[False] * COUNT, True]
    (root / "list.txt").write_text("first.png 0\n")
    assert evaluate(data=root / "list.txt") == (2, None)
    assert "None of the 1 pictures" in capfd.readouterr().err


def test_two_runs_are_compared_picture_by_picture(
    evaluate: Any, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    _, report = evaluate("--output", str(other))
    head, *lines = other.read_text(encoding="utf-8").splitlines()
    changed = [json.loads(line) for line in lines]
    for answer in changed[:3]:
        answer["class_ids"].reverse()
    changed[3] = {**{key: changed[3][key] for key in ("file_name", "label")}, "failure": "broken there"}
    other.write_text("".join(f"{line}\n" for line in [head, *map(json.dumps, changed)]))
    code, compared = evaluate("--against", str(other))
    assert code == 0
    right = sum(one["class_ids"][0] == one["label"] for one in changed if "failure" not in one)
    agreement = compared["agreement"]
    assert (agreement["pictures"], agreement["same_top1"]) == (COUNT - 1, COUNT - 4)
    assert agreement["share"] == (COUNT - 4) / (COUNT - 1)
    assert agreement["other_top1"] == right / (COUNT - 1)
    assert compared["hits"] == report["hits"]
    assert f"on {COUNT - 4} of {COUNT - 1} pictures" in capfd.readouterr().out
    other.write_text("".join(f"{line}\n" for line in [head, *lines[:-1]]))
    assert evaluate("--against", str(other)) == (2, None)
    assert f"for {COUNT - 1} pictures, but the list names {COUNT}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Give either"),
        (["-c", "GhostNet_x0_5", "--artifact", "folder"], "Give either"),
        (["-c", "GhostNet_x0_5", "--data", "list", "--resume"], "--data, --resume"),
        (["-c", "GhostNet_x0_5", "--threads", "2"], "--threads"),
        (["--artifact", "folder"], "--data"),
        (["--artifact", "folder", "--data", "list", "--resume"], "--output"),
        (["--artifact", "folder", "--data", "list", "-o", "a=b"], "-o and -p"),
        (["--artifact", "folder", "--data", "list", "--json", "x", "--csv", "./x"], "one file"),
        (["--artifact", "folder", "--data", "list"], "folder"),
        (["--artifact", "folder", "--data", "list", "--json", "/"], "Cannot write /: it is a folder"),
        (["--artifact", "folder", "--data", "list", "--output", "/"], "Cannot write /: it is a folder"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *words]) == 2
    assert sentence in capsys.readouterr().err


def scored(*row: float) -> Scored:
    return Scored("x.png", np.array(row, np.float32))


def test_fewer_classes_than_five_and_ties() -> None:
    answer = answer_of("x.png", 2, scored(0.25, 0.5, 0.25), gives_logits=False)
    assert answer.class_ids == (1, 0, 2)
    assert answer.rank == 2
    assert answer.scores == (0.5, 0.25, 0.25)
    accuracy = Accuracy()
    accuracy.add(answer)
    assert accuracy.tally.top_n().hits == (0, 0, 1, 1, 1)


def test_logits_are_ordered_before_softmax_makes_them_equal() -> None:
    answer = answer_of("x.png", 2, scored(0, 500, 700), gives_logits=True)
    assert answer.class_ids == (2, 1, 0)
    assert answer.scores == (1, 0, 0)


def test_an_output_that_is_no_number_is_no_answer() -> None:
    with pytest.raises(VerificationError, match=r"x.png.*not finite"):
        answer_of("x.png", 0, scored(0, float("nan")), gives_logits=True)


# Few different values, so that ties are the rule.
rows = st.integers(2, 9).flatmap(
    lambda classes: st.lists(
        st.tuples(
            st.lists(st.sampled_from([0.0, 0.125, 0.25, -0.0]), min_size=classes, max_size=classes),
            st.integers(0, classes - 1),
            st.booleans(),
        ),
        max_size=20,
    )
)


@settings(deadline=None)
@given(rows)
def test_counting_equals_sorting_everything(cases: list[tuple[list[float], int, bool]]) -> None:
    accuracy, agreement, sound = Accuracy(), Agreement(), []
    for row, label, is_broken in cases:
        order = [class_id for _, class_id in sorted((-score, class_id) for class_id, score in enumerate(row))]
        array = np.array(row, np.float32)
        assert best_classes(array) == order[:5]
        assert rank_of(array, label) == order.index(label)
        source = Scored("x", None, "broken") if is_broken else Scored("x", array)
        answer = answer_of("x", label, source, gives_logits=False)
        accuracy.add(answer)
        agreement.add(answer, Answer("x", label, (0,), (1.0,)))
        if not is_broken:
            sound.append((order, label))
    assert (accuracy.pictures, accuracy.broken) == (len(cases), len(cases) - len(sound))
    assert (agreement.pictures, agreement.same) == (len(sound), sum(order[0] == 0 for order, _ in sound))
    if sound:
        hits = tuple(sum(label in order[:k] for order, label in sound) for k in range(1, 6))
        assert accuracy.tally.top_n().hits == hits
    classes = accuracy.classes()
    assert sorted(one.class_id for one in classes) == sorted({label for _, label in sound})
    assert [one.score.accuracy(1) for one in classes] == sorted(one.score.accuracy(1) for one in classes)
    for one in classes:
        wrong = Counter(order[0] for order, label in sound if label == one.class_id and order[0] != label)
        expected = sorted(wrong.items(), key=lambda pair: (-pair[1], pair[0]))[:CONFUSIONS]
        assert list(one.confusions) == expected
