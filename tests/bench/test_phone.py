"""Results of phones: what is complete passes, what nobody could repeat or believe is refused, by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppghost.bench.phone import read_result, statistics_of, warnings_of
from ppghost.bench.phone_table import HEAD, PUBLISHED_TITLE, table_markdown
from ppghost.cli import main
from ppghost.errors import DataError

TIMES = [13_100_000, 12_900_000, 12_700_000, 14_000_000]


def cell(model: str, threads: int, number: int) -> dict[str, Any]:
    return {
        "model": model,
        "threads": threads,
        "round": number,
        "times_ns": list(TIMES),
        "average_ns": 13_175_000,
        "median_ns": 13_000_000,
        "p90_ns": 14_000_000,
        "min_ns": 12_700_000,
        "max_ns": 14_000_000,
        "frequencies_before_khz": [2_841_600, None],
        "frequencies_after_khz": None,
        "thermal_before": 0,
        "thermal_after": None,
        "charging": False,
        "battery_saver": None,
        "golden_passed": True,
    }


def model(name: str) -> dict[str, Any]:
    return {
        "id": f"{name}/armv8.fp32",
        "name": name,
        "version": "5eb3ae0c0fad",
        "graph": "stock",
        "arch": "armv8",
        "precision": "fp32",
        "input_shape": [1, 3, 224, 224],
        "class_num": 1000,
        "file": "inference.arm.fp32.nb",
        "size_bytes": 20_939_974,
        "sha256": "0f" * 32,
        "meta_version": 2,
        "opt_version": "v2.13-rc",
    }


@pytest.fixture
def tree() -> dict[str, Any]:
    """A whole result: two models, two numbers of threads, two rounds; one cell was skipped."""
    names = ["GhostNet_x0_5", "GhostNet_x1_0"]
    ids = [f"{name}/armv8.fp32" for name in names]
    places = [(one, threads, number) for one in ids for threads in (1, 4) for number in (1, 2)]
    *measured, skipped = places
    return {
        "format": 1,
        "kind": "ppghost-phone-benchmark",
        "created": "2026-01-31T12:00:00Z",
        "program": {"name": "ppghost-android", "version": "0.1.0"},
        "plan": {
            "models": ids,
            "threads": [1, 4],
            "power_mode": "LITE_POWER_HIGH",
            "batch": 1,
            "warmup": 10,
            "repeats": 4,
            "rounds": 2,
            "seed": None,
            "pause_seconds": 5,
        },
        "device": {
            "manufacturer": "Maker",
            "model": "Phone|1",
            "soc": None,
            "os": "Android 11 (API 30)",
            "os_build": None,
            "abi": "arm64-v8a",
            "cpu_count": 2,
            "page_size_bytes": 4096,
        },
        "engine": {"name": "Paddle Lite", "version": "v2.13-rc"},
        "models": [model(name) for name in names],
        "cells": [cell(*place) for place in measured],
        "skipped": [dict(zip(("model", "threads", "round"), skipped), reason="thermal status 3")],
    }


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        path = tmp_path / "bench.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every key below a value; of a list the first item stands for all."""
    if isinstance(value, dict):
        return [way for key in value for way in ([*path, key], *paths_of(value[key], (*path, key)))]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return paths_of(value[0], (*path, 0))
    return []


def at(value: Any, path: Any) -> Any:
    for key in path:
        value = value[key]
    return value


def test_a_whole_result_passes(tree: dict[str, Any], written: Callable[[Any], Path]) -> None:
    result = read_result(written(tree))
    assert len(result.cells) == 7
    assert [warning for warning in warnings_of(result) if "skipped" in warning]


def test_every_key_is_needed_and_none_is_ignored(
    tree: dict[str, Any], written: Callable[[Any], Path]
) -> None:
    for path in paths_of(tree):
        *way, key = path
        lacking = copy.deepcopy(tree)
        del at(lacking, way)[key]
        with pytest.raises(DataError, match=key if key != "kind" else "no result"):
            read_result(written(lacking))
    tree["cells"][0]["note"] = "fast"
    with pytest.raises(DataError, match="note"):
        read_result(written(tree))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["created"], "yesterday", "created"),
        (["created"], "2026-01-31T12:00:00", "created"),
        (["device", "model"], " ", "device.model is empty"),
        (["engine", "version"], "", "engine.version is empty"),
        (["models", 0, "sha256"], "abc", "64 hex digits"),
        (["models", 0, "size_bytes"], 0, "size_bytes"),
        (["models", 0, "input_shape"], [2, 3, 224, 224], "batch is 1"),
        (["models", 0, "id"], "other", "not those of models"),
        (["plan", "batch"], 8, "batch"),
        (["plan", "threads"], [1, 1], "names one twice"),
        (["plan", "threads"], [1, 2, 4], "neither in cells nor in skipped"),
        (["plan", "repeats"], 30, "4 times, and 30 were planned"),
        (["plan", "power_mode"], "HIGH", "power_mode"),
        (["cells", 0, "threads"], 8, "was not planned"),
        (["cells", 0, "round"], 2, "is there 2 times"),
        (["cells", 0, "times_ns"], [0, 1, 2, 3], "times_ns"),
        (["cells", 0, "times_ns"], [], "0 times"),
        (["cells", 0, "median_ns"], 12_000_000, "median_ns is 12000000, but the times give 13000000"),
        (["cells", 0, "p90_ns"], 13_100_000, "p90_ns"),
        (["cells", 0, "average_ns"], float("nan"), "average_ns"),
        (["cells", 0, "thermal_after"], 7, "thermal_after"),
        (["cells", 0, "frequencies_before_khz"], [1], "2 processors"),
        (["cells", 0, "golden_passed"], False, "no result"),
        (["cells", 0, "charging"], "no", "charging"),
        (["cells", 0, "charging"], 0, "cells.0.charging is 0 and should be false"),
        (["cells", 0, "times_ns", 1], "1e7", 'cells.0.times_ns.1 is "1e7"'),
        (["cells", 0, "times_ns"], [10**400] * 4, "times_ns"),
        (["plan", "rounds"], 10**12, "cells are planned"),
        (["cells"], None, "cells is null"),
        (["models", 0, "arch"], "x86", "arm64-v8a cannot run"),
        (["device", "model"], "a\n| 1.00 |", "cannot be printed"),
        (["device", "soc"], "\ud800", "cannot be printed"),
    ],
)
def test_what_cannot_be_is_refused(
    tree: dict[str, Any], written: Callable[[Any], Path], path: list[Any], value: Any, said: str
) -> None:
    at(tree, path[:-1])[path[-1]] = value
    with pytest.raises(DataError, match=said.replace("(", r"\(")):
        read_result(written(tree))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"kind": 1, "kind": 1}', b"[" * 100_000]
)
def test_what_is_no_result_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bench.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no JSON|no result"):
        read_result(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "missing.json")


def test_what_is_nested_without_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text('{"kind": "ppghost-phone-benchmark", "cells": ' + "[" * 900 + "]" * 900 + "}")
    with pytest.raises(DataError, match="no complete result|no JSON"):
        read_result(path)


@given(st.lists(st.integers(1, 10**11), min_size=1, max_size=60))
def test_statistics_are_those_of_numpy(times: list[int]) -> None:
    found = statistics_of(times)
    assert found["average_ns"] == pytest.approx(np.mean(times))
    assert found["median_ns"] == pytest.approx(np.median(times))
    assert found["p90_ns"] == np.percentile(times, 90, method="inverted_cdf")
    assert (found["min_ns"], found["max_ns"]) == (min(times), max(times))


def test_table_keeps_published_figures_apart(tree: dict[str, Any], written: Callable[[Any], Path]) -> None:
    tree["cells"][0]["thermal_after"] = 2
    tree["models"][1]["input_shape"] = [1, 3, 128, 128]
    lines = table_markdown([read_result(written(tree))])
    rows = [[part.strip() for part in line.replace("\\|", "/").strip("|").split("|")] for line in lines[:6]]
    assert tuple(rows[0]) == HEAD
    assert HEAD[-1] == PUBLISHED_TITLE
    assert all(len(row) == len(HEAD) for row in rows)
    by_place = {(row[0], row[1]): row for row in rows[2:]}
    assert by_place["GhostNet_x0_5", "1"][2] == "13.00*"
    assert by_place["GhostNet_x0_5", "4"][2] == "13.00"
    assert by_place["GhostNet_x0_5", "1"][-1] == "5.28"
    # Another size is another measurement: nothing was published for it.
    assert by_place["GhostNet_x1_0", "1"][-1] == ""
    assert "*" in lines[-1]


def test_command_line(
    tree: dict[str, Any], written: Callable[[Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(written(tree))
    assert main(["bench", "check", path]) == 0
    assert "7 of 8 cells" in capsys.readouterr().out
    assert main(["bench", "table", path, path]) == 0
    assert capsys.readouterr().out.count("GhostNet_x0_5") == 4
    del tree["device"]["soc"]
    assert main(["bench", "check", str(written(tree))]) == 2
    assert "soc" in capsys.readouterr().err
