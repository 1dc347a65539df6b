"""Tuning: what is measured, remembered and measured again; an engine that dies takes nothing along."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppghost.artifact import TUNING_FILE, Artifact, check_artifact, placed, read_artifact
from ppghost.errors import GhostError, ToolMissingError
from ppghost.export import tuning
from ppghost.export.paddle_inference import ENGINES, PaddlePredictor
from ppghost.export.target import load_target
from ppghost.export.tuning import TURNS, Tuning, Wish, measure, recall, tune
from ppghost.export.tuning_worker import serve
from ppghost.predict import NamedPredictor

TARGET = load_target("paddle")
WISH = Wish(threads=1)

# Programs that stand for engines: they speak as `ppghost.export.tuning_worker` does, each in its own way.
BEGIN = "import json, os, sys, time; sys.stdin.readline(); say = lambda m: print(json.dumps(m), flush=True);"
STEADY = BEGIN + "say({'ready': True}); [say({'seconds': %s}) for _ in sys.stdin]"
ABORTS = BEGIN + "os.abort()"
DIES_LATER = BEGIN + "say({'ready': True}); sys.stdin.readline(); say({'seconds': 1}); os._exit(7)"
REFUSES = BEGIN + "say({'error': 'no such wheel'})"
BABBLES = BEGIN + "print('hello', flush=True); time.sleep(60)"
HANGS = BEGIN + "time.sleep(60)"


def programs(**sources: str) -> dict[str, list[str]]:
    return {name: [sys.executable, "-c", source] for name, source in sources.items()}


def test_an_engine_that_dies_takes_nothing_along() -> None:
    commands = programs(
        fast=STEADY % "0.001", crashes=ABORTS, slow=STEADY % "0.002", dies=DIES_LATER, refuses=REFUSES
    )
    seconds, failures = measure(commands, {name: {} for name in commands})
    assert seconds == {"fast": [0.001] * TURNS, "slow": [0.002] * TURNS}
    assert failures == {
        "crashes": "its process ended (code -6)",
        "dies": "its process ended (code 7)",
        "refuses": "no such wheel",
    }


def test_an_engine_that_hangs_or_babbles_is_ended() -> None:
    commands = programs(hangs=HANGS, babbles=BABBLES)
    seconds, failures = measure(commands, {name: {} for name in commands}, ready_seconds=2, turn_seconds=2)
    assert seconds == {}
    assert failures == {"hangs": "it did not answer within 2 s", "babbles": "it answered 'hello'"}


def test_auto_measures_once_and_remembers(
    copied: Callable[[], Artifact], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = copied()
    caplog.set_level("INFO")
    with TARGET.open(artifact, engine="auto", threads=1):
        pass
    found = recall(artifact, WISH, ENGINES)
    assert found is not None
    assert {"onednn", "native"} <= set(found.milliseconds)
    assert found.milliseconds[found.engine] == min(found.milliseconds.values())
    assert all(0.001 < time < 10_000 for time in found.milliseconds.values())
    assert f"Engine {found.engine}, the fastest here: " in caplog.text
    check_artifact(artifact)
    assert read_artifact(artifact.folder).facts == artifact.facts

    def no_more(*_: object) -> None:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(type(TARGET).__module__ + ".tune", no_more)
    for engine in ("auto", None):
        with TARGET.open(artifact, engine=engine, threads=1):
            pass
    with pytest.raises(AssertionError, match="measured again"):
        TARGET.open(artifact, engine="auto", threads=2)
    with placed(artifact.folder) as folder:  # the next export replaces a folder with a tuning.json in it
        (folder / "new").write_text("")


def test_wrong_numbers_are_no_speed(ghostnet: Artifact) -> None:
    """The worker refuses an engine whose golden outputs differ by more than is tolerated."""
    answers: list[dict[str, Any]] = []
    request = {"folder": str(ghostnet.folder), "options": {"engine": "native"}, "batch_size": 3, "rtol": -1.0}
    serve(io.StringIO(json.dumps(request) + "\n{}\n"), answers.append)
    assert len(answers) == 1
    assert "does not give the network's numbers" in answers[0]["error"]
    answers.clear()
    request["rtol"] = TARGET.rtol
    serve(io.StringIO(json.dumps(request) + "\n{}\n{}\n"), answers.append)
    assert answers[0] == {"ready": True}
    assert [set(answer) for answer in answers[1:]] == [{"seconds"}] * 2


def found_for(artifact: Artifact, wish: Wish = WISH, engine: str = "native") -> Tuning:
    return Tuning(engine, {engine: 1.0}, {}, tuning.holds_for(artifact, wish))


def test_an_answer_holds_for_what_it_was_measured_on(
    copied: Callable[[], Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = copied()
    tuning._store(artifact, found_for(artifact))
    assert recall(artifact, WISH, ENGINES) == found_for(artifact)
    for other in (Wish(2), Wish(1, 8), Wish(1, 1, "bf16")):
        assert recall(artifact, other, ENGINES) is None
        tuning._store(artifact, found_for(artifact, other, "onednn"))
    assert recall(artifact, WISH, ENGINES) == found_for(artifact)
    tuning._store(artifact, found_for(artifact, WISH, "openvino"))
    assert [answer.engine for answer in tuning._read(artifact.path_of(TUNING_FILE))] == (
        ["openvino", "onednn", "onednn", "onednn"]
    )
    for name, stand_in in (
        ("cpu_facts", lambda: ("Another CPU", frozenset({"sse2"}))),
        ("usable_processors", lambda: 96),
        ("_installed", lambda packages: {"paddlepaddle": "3.0.0"}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(tuning, name, stand_in)
            assert recall(artifact, WISH, ENGINES) is None, name
    facts = dataclasses.replace(artifact.facts, version="0" * 12)
    assert recall(dataclasses.replace(artifact, facts=facts), WISH, ENGINES) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[" * 100_000, "[]", "3", '{"schema": 9}', '{"schema": 1, "answers": [{"engine": 1}]}'],
    ids=lambda content: content[:30],
)
def test_a_file_that_is_none_of_ours_is_written_anew(
    copied: Callable[[], Artifact], content: str, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = copied()
    artifact.path_of(TUNING_FILE).write_text(content)
    caplog.set_level("INFO")
    assert recall(artifact, WISH, ENGINES) is None
    assert "written anew" in caplog.text
    tuning._store(artifact, found_for(artifact))
    assert recall(artifact, WISH, ENGINES) == found_for(artifact)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["engine", "milliseconds", "failures", "holds_for", "new"]), JSON)
def test_an_answer_is_of_our_form_or_none(field: str, value: object) -> None:
    answer = {"engine": "ghost", "milliseconds": {"ghost": 1.5}, "failures": {}, "holds_for": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.json"
        path.write_text(json.dumps({"schema": 1, "answers": [answer, {**answer, field: value}]}))
        for read in tuning._read(path):
            assert str(read).startswith("ghost ")
            assert read.engine == "ghost"


def test_an_engine_that_no_longer_is_does_not_count(copied: Callable[[], Artifact]) -> None:
    artifact = copied()
    tuning._store(artifact, found_for(artifact, engine="warp"))
    assert recall(artifact, WISH, ["warp"]) is not None
    assert recall(artifact, WISH, ENGINES) is None
    with TARGET.open(artifact, threads=1):
        pass


@settings(max_examples=30, deadline=None)
@given(JSON)
def test_no_json_brings_the_reader_down(tree: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for content in (tree, {"schema": 1, "answers": tree}, {"schema": 1, "answers": [tree]}):
            (Path(folder) / "t.json").write_text(json.dumps(content))
            assert tuning._read(Path(folder) / "t.json") == []


def test_a_folder_that_cannot_be_written_keeps_the_answer_in_the_cache(
    copied: Callable[[], Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    artifact = copied()
    home = tmp_path / "home"
    monkeypatch.setenv("PPGHOST_HOME", str(home))
    # A folder in the file's place cannot be written by anyone, root included.
    artifact.path_of(TUNING_FILE).mkdir()
    caplog.set_level("INFO")
    tuning._store(artifact, found_for(artifact))
    assert f"kept in {home}" in caplog.text
    assert recall(artifact, WISH, ENGINES) == found_for(artifact)
    monkeypatch.setenv("PPGHOST_HOME", os.devnull)
    tuning._store(artifact, found_for(artifact))
    assert "The choice is not kept" in caplog.text


def test_what_a_folder_says_of_itself_is_no_file_name(
    copied: Callable[[], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = copied()
    artifact.path_of(TUNING_FILE).mkdir()
    facts = dataclasses.replace(artifact.facts, version="../../elsewhere/planted")
    artifact = dataclasses.replace(artifact, facts=facts)
    monkeypatch.setenv("PPGHOST_HOME", str(tmp_path / "home"))
    tuning._store(artifact, found_for(artifact))
    assert recall(artifact, WISH, ENGINES) == found_for(artifact)
    assert [path.parent for path in tmp_path.rglob("*.json") if artifact.folder not in path.parents] == (
        [tmp_path / "home" / "tuning"]
    )


def test_a_form_has_answers_of_its_own(
    copied: Callable[[], Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = copied()
    measured = []

    def times(commands: dict[str, Any], _: object) -> tuple[dict[str, list[float]], dict[str, str]]:
        measured.append(sorted(commands))
        return {name: [1.0 if name == "native" else 2.0] for name in commands}, {}

    monkeypatch.setattr(tuning, "measure", times)
    for _ in range(2):
        with TARGET.open(artifact, engine="auto", threads=1, model_format="json") as predictor:
            assert isinstance(predictor, NamedPredictor)
            assert predictor.engine == "native"
    assert measured == [["native", "onednn"]]
    assert recall(artifact, WISH, ENGINES) is None
    assert recall(artifact, Wish(threads=1, model_format="json"), ENGINES) is not None


def test_what_another_machine_of_this_kind_found_is_followed_where_it_can_be(
    copied: Callable[[], Artifact], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two containers may differ in nothing but a compiler."""

    def no_compiler(*_: object) -> None:
        raise ToolMissingError("There is no compiler.")

    artifact = copied()
    tuning._store(artifact, found_for(artifact, engine="ghost"))
    monkeypatch.setattr(type(TARGET).__module__ + ".GhostPredictor", no_compiler)
    monkeypatch.setattr(tuning, "measure", lambda commands, _: ({name: [1.0] for name in commands}, {}))
    caplog.set_level("INFO", "ppghost")
    for engine in (None, "auto"):
        with TARGET.open(artifact, engine=engine, threads=1) as predictor:
            assert isinstance(predictor, PaddlePredictor)
    assert caplog.text.count("There is no compiler.") == 2


def test_two_tunings_take_turns(
    copied: Callable[[], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits, and takes the answer of the first."""
    artifact = copied()
    answers: list[Tuning] = []
    second = Thread(target=lambda: answers.append(tune(artifact, {"native": {}}, WISH, 1e-5)))
    measured = []

    def times(commands: dict[str, Any], _: object) -> tuple[dict[str, list[float]], dict[str, str]]:
        measured.append(list(commands))
        if len(measured) == 1:
            second.start()
            second.join(0.3)  # without turns it would measure now, and end
        return {name: [1.0] for name in commands}, {}

    monkeypatch.setenv("PPGHOST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tuning, "measure", times)
    answers.append(tune(artifact, {"native": {}}, WISH, 1e-5))
    second.join()
    assert measured == [["native"]]
    assert [answer.engine for answer in answers] == ["native"] * 2


def test_nothing_that_works_is_an_error(ghostnet: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "measure", lambda *_: ({}, {"native": "its process ended (code -11)"}))
    with pytest.raises(GhostError, match=r"No engine runs GhostNet_x0_5.*\n  native: its process ended"):
        tune(ghostnet, {"native": {"engine": "native"}}, WISH, 1e-5)
