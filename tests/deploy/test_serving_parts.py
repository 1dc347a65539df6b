"""The parts of the server of `deploy/serving` that need no Paddle Serving."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import subprocess
import threading
from pathlib import Path
from typing import Any, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server.asks import Ask, Code, RefusalError, Rules, answer_text, make_request_id, parse_body, read_ask
from server.board import READY, Board
from server.folders import Variable
from server.gate import Gate
from server.job import Job
from server.records import _JsonLines
from server.settings import Settings, read_settings

from ppghost.environments import SERVING
from ppghost.errors import ConfigError
from ppghost.vision import Prediction

SERVING_FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "serving"
RULES = Rules(pictures=3, classes=10, top_k=5)


def _asked(body: bytes) -> Union[Ask, RefusalError]:
    """Return what a body asks, or why it is refused."""
    try:
        return read_ask(*parse_body(body), "id", RULES)
    except RefusalError as refusal:
        return refusal


@given(st.lists(st.binary(min_size=1), min_size=1, max_size=3), st.integers(1, 10))
def test_pictures_come_out_as_they_went_in(pictures: list[bytes], top_k: int) -> None:
    values = [base64.b64encode(picture).decode() for picture in pictures]
    body = json.dumps({"key": ["image"] * len(values) + ["top_k"], "value": [*values, str(top_k)]})
    ask = read_ask(*parse_body(body.encode()), "id", RULES)
    assert (list(ask.pictures), ask.top_k) == (pictures, top_k)


@given(st.text(alphabet="AZaz09+/= \n$-_é", max_size=24))
def test_base64_is_judged_as_the_standard_library_does(text: str) -> None:
    compact = "".join(text.split())
    try:
        expected = base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    # The library takes "ab==cd==" for what stands before the first padding, and "0000=" for "0000"; here both
    # are refused.
    if len(compact) % 4 or "=" in compact.rstrip("="):
        expected = b""
    answer = _asked(json.dumps({"key": ["image"], "value": [text]}).encode())
    assert (answer.pictures[0] if isinstance(answer, Ask) else b"") == expected


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("image"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["key", "value", "tensors", "name", "x"]), inner, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_any_json_is_an_ask_or_a_refusal(tree: Any) -> None:
    answer = _asked(json.dumps(tree).encode())
    if isinstance(answer, RefusalError):
        assert "\n" not in answer.sentence
        assert len(answer.sentence) < 400


@given(st.binary(max_size=60))
def test_any_bytes_are_an_ask_or_a_refusal(body: bytes) -> None:
    assert isinstance(_asked(body), RefusalError)


@given(st.text(max_size=80))
def test_a_request_id_is_plain_whatever_was_given(given_id: str) -> None:
    made = make_request_id(given_id)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", made)
    assert made == given_id or len(made) == 32


def test_an_answer_is_json_with_every_score_as_it_is() -> None:
    ask = Ask("id", (), 2, [[Prediction(3, "Zürich \u2028", 0.1 + 0.2), Prediction(0, None, 1e-9)]])
    ask.times_ms["total"] = 1.23456
    tree = json.loads(answer_text(ask, {"name": "net", "version": "1"}))
    assert tree == {
        "model": {"name": "net", "version": "1"},
        "request_id": "id",
        "predictions": [
            {
                "top_k": [
                    {"class_id": 3, "label": "Zürich \u2028", "score": 0.1 + 0.2},
                    {"class_id": 0, "label": None, "score": 1e-9},
                ]
            }
        ],
        "times_ms": {"total": 1.235},
    }


def test_every_code_has_its_own_number() -> None:
    assert len({code.err_no for code in Code}) == len(Code)


def test_a_log_line_is_one_line_of_json() -> None:
    record = logging.LogRecord("any", logging.INFO, "", 0, 'a\n{"event": "forged"}\x1b[2J', (), None)
    record.fields = {"request_id": "x\r\ny\u2028z", "err_msg": b"\xff"}
    [line] = _JsonLines().format(record).splitlines()
    assert json.loads(line)["event"] == 'a\n{"event": "forged"}\x1b[2J'
    assert line.isascii()
    assert line.isprintable()


def test_workers_count_for_themselves_and_each_tells_the_sum(tmp_path: Path) -> None:
    boards = [Board(tmp_path / "board", 2, row) for row in (0, 1)]
    for row, board in enumerate(boards):
        board.begin(row)
        board.count_request("http", 200, 0.02 + row, 3)
        board.count_request("grpc", 503, 0.001, 0)
        board.count_batch(3, 0.5, 0.25)
        board.add("under_way")
    boards[0].set_state(READY)
    assert boards[1].states() == [READY, 0.0]
    texts = [board.exposition({"name": 'a"b\\c\nd', "version": "1"}) for board in boards]
    assert texts[0] == texts[1]
    assert 'ppghost_model_info{name="a\\"b\\\\c\\nd",version="1"} 1\n' in texts[0]
    figures = dict(line.rsplit(" ", 1) for line in texts[0].splitlines() if not line.startswith("#"))
    expected = {
        "ppghost_workers": 2,
        "ppghost_workers_ready": 1,
        "ppghost_worker_restarts_total": 0,
        "ppghost_requests_under_way": 2,
        'ppghost_requests_total{protocol="http",status="200"}': 2,
        'ppghost_requests_total{protocol="grpc",status="503"}': 2,
        "ppghost_pictures_total": 6,
        'ppghost_request_seconds_bucket{le="0.01"}': 0,
        'ppghost_request_seconds_bucket{le="0.025"}': 1,
        'ppghost_request_seconds_bucket{le="2.5"}': 2,
        'ppghost_request_seconds_bucket{le="+Inf"}': 2,
        'ppghost_batch_pictures_bucket{le="2"}': 0,
        'ppghost_batch_pictures_bucket{le="4"}': 2,
        "ppghost_batch_pictures_sum": 6,
        "pd_inference_count_total": 2,
        "pd_query_request_failure_total": 2,
    }
    assert {name: float(figures[name]) for name in expected} == expected
    boards[1].clear(0)
    boards[1].begin(0)
    text = boards[1].exposition({})
    assert "ppghost_worker_restarts_total 1\n" in text
    assert "ppghost_requests_under_way 1\n" in text
    assert "ppghost_pictures_total 6\n" in text


def test_the_gate_holds_its_limits_and_waits_for_what_is_inside(tmp_path: Path) -> None:
    gate = Gate(queue=2, waiting_bytes=100, board=Board(tmp_path / "board", 1))
    gate.enter()
    gate.enter()
    with pytest.raises(RefusalError) as full:
        gate.enter()
    assert full.value.code is Code.BUSY
    gate.leave()
    with gate.receiving(60):
        with pytest.raises(RefusalError), gate.receiving(41):
            pass
        closing = threading.Thread(target=gate.close, args=(30.0,))
        closing.start()
        while not gate.is_closing:
            pass
        for late in (gate.enter, gate.receiving(1).__enter__):
            with pytest.raises(RefusalError) as stopping:
                late()
            assert stopping.value.code is Code.STOPPING
        gate.enter(is_received=True)
    gate.leave()
    assert closing.is_alive()
    gate.leave()
    closing.join(30)
    assert not closing.is_alive()


def test_the_settings_that_are_shipped_are_the_defaults() -> None:
    assert read_settings(None) == Settings()


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("http_port=70000", "65535"),
        ("http_port=-1", "http_port"),
        ("rpc_port=18080", "different"),
        ("worker_num=-1", "worker_num"),
        ("op.ghostnet.engine=tensorrt", "ghost"),
        ("op.ghostnet.concurency=2", "concurrency"),
        ("op.imagenet.concurrency=2", "ghostnet"),
        ("limits.pictures=0", "at least 1"),
        ("limits.body_seconds=0", "greater than 0"),
        ("limits.request_bytes=1000000000", "waiting_bytes"),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_a_sentence(override: str, word: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(word)):
        read_settings(None, [override])


def test_a_job_survives_its_line() -> None:
    job = Job(1, 2, "/a b", "/run/ü", "ghost", 5, 9993, read_settings(None, ["limits.pictures=7"]))
    line = job.to_json()
    assert "\n" not in line
    assert Job.from_json(line) == job


def test_a_variable_is_written_as_protobuf_writes_it() -> None:
    variable = Variable("feed", "x", "x", (3, 224, 224))
    assert variable.to_text() == (
        'feed_var {\n  name: "x"\n  alias_name: "x"\n  is_lod_tensor: false\n  feed_type: 1\n'
        "  shape: 3\n  shape: 224\n  shape: 224\n}\n"
    )
    # Worked out by hand: 224 is e0 01 in base 128.
    assert variable.to_wire().hex() == "0a120a017812017818002001280328e00128e001"


def test_the_environment_is_what_requirements_say() -> None:
    lines = (SERVING_FOLDER / "requirements.txt").read_text().splitlines()
    assert tuple(line for line in lines if not line.startswith("#")) == SERVING.bare_requirements
    assert SERVING.requirements == ()


def test_the_script_tells_how_it_is_used() -> None:
    ran = subprocess.run(
        ["bash", str(SERVING_FOLDER / "run.sh")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: ")
