"""Result files: what goes in comes out, in every form, or no file appears."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppghost.errors import OutputError
from ppghost.results import results_file

name = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00\r"), max_size=12)
score = st.floats(0, 1).map(lambda value: round(value, 5))
results = st.lists(
    st.lists(st.tuples(st.integers(0, 999), score, name), min_size=1, max_size=5).flatmap(
        lambda rows: name.map(
            lambda file_name: {
                "class_ids": [row[0] for row in rows],
                "scores": [row[1] for row in rows],
                "file_name": file_name,
                "label_names": [row[2] for row in rows],
            }
        )
    ),
    max_size=4,
)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, content: list[dict[str, Any]]) -> None:
    with results_file(path) as write_one:
        for result in content:
            write_one(result)


@FEW
@given(results)
def test_json_comes_back(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    write(tmp_path / "r.jsonl", content)
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == content
    write(tmp_path / "r.json", content)
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == content


@FEW
@given(results)
def test_csv_comes_back(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    write(tmp_path / "r.csv", content)
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = [
        (result["file_name"], str(rank), str(class_id), str(score), label)
        for result in content
        for rank, (class_id, score, label) in enumerate(
            zip(result["class_ids"], result["scores"], result["label_names"]), start=1
        )
    ]
    assert [tuple(row.values()) for row in rows] == expected


def test_results_without_names_or_ids(tmp_path: Path) -> None:
    write(tmp_path / "r.csv", [{"class_ids": [4], "scores": [0.5], "file_name": "a", "label_names": []}])
    assert (tmp_path / "r.csv").read_text().splitlines()[1] == "a,1,4,0.5,"
    write(tmp_path / "r.csv", [{"scores": [0.25, 0.5], "file_name": "a"}])
    assert (tmp_path / "r.csv").read_text().splitlines()[1:] == ["a,1,0,0.25,", "a,2,1,0.5,"]


def test_a_file_name_that_is_no_utf8(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.jpg")
    for suffix in ("jsonl", "json"):
        write(tmp_path / f"r.{suffix}", [{"file_name": odd}])
    assert json.loads((tmp_path / "r.jsonl").read_text(encoding="utf-8"))["file_name"] == odd


def test_a_path_without_suffix_is_paddleclas_json(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "out", [])
    assert (tmp_path / "deep" / "out.json").read_text() == "[]\n"


def test_other_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"'r\.xlsx'\. Accepted: \.jsonl, \.csv, \.json"):
        write(tmp_path / "r.xlsx", [])


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json"])
def test_an_interrupted_run_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    path.write_text("old")

    def interrupted() -> None:
        with results_file(path) as write_one:
            write_one({"scores": [0.5], "file_name": "a"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]
