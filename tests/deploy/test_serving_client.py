"""The client: the same lines as `ppghost infer`, and a sentence for everything that goes wrong."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import client
import cv2
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st
from naive import Handler
from protocol import BUSY, GRPC_METHOD, ServiceError, answer_of, decode_response, encode_request, request_of

from ppghost.artifact import Artifact
from ppghost.cli import main as ppghost
from ppghost.errors import GhostError
from tests.deploy.naive_service import serving

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "deploy" / "serving" / "README.md").read_text(encoding="utf-8")
PROGRAM = ROOT / "deploy" / "serving" / "client.py"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def service(ghostnet: Artifact) -> Iterator[str]:
    with serving(ghostnet.folder) as url:
        yield url


@pytest.fixture
def pictures(tmp_path: Path, seeded: np.random.RandomState) -> Path:
    """A folder of nine pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(9):
        picture = seeded.randint(0, 256, (40 + index, 50, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder


def lines_of(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("options", [(), ("--concurrency", "3", "--batch", "4"), ("--concurrency", "1")])
def test_lines_are_those_of_infer(
    service: str, pictures: Path, ghostnet: Artifact, capsys: Capture, options: tuple[str, ...]
) -> None:
    assert ppghost(["infer", "--artifact", str(ghostnet.folder), str(pictures)]) == 0
    wanted = lines_of(capsys)
    assert client.main(["--server", service, *options, str(pictures)]) == 0
    found = lines_of(capsys)
    assert [line["file_name"] for line in found] == [line["file_name"] for line in wanted]
    for one, other in zip(found, wanted):
        assert one.keys() == other.keys()
        assert one["class_ids"] == other["class_ids"]
        assert one["label_names"] == other["label_names"]
        assert np.abs(np.subtract(one["scores"], other["scores"])).max() <= 1e-4


def test_results_are_files_of_the_usual_forms(service: str, pictures: Path, tmp_path: Path) -> None:
    for name in ("results.jsonl", "results.csv"):
        assert client.main(["--server", service, "--output", str(tmp_path / name), str(pictures)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [Path(row["file_name"]).name for row in rows] == [f"{index}.png" for index in range(9)]
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 9 * 5
    assert [row["label_name"] for row in table[:5]] == rows[0]["label_names"]


@pytest.mark.parametrize("batch", ["1", "5"])
def test_a_broken_picture_costs_the_others_nothing(
    service: str, pictures: Path, capsys: Capture, batch: str
) -> None:
    (pictures / "3a.jpg").write_text("a list of things to buy")
    assert client.main(["--server", service, "--batch", batch, str(pictures)]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 9
    assert "3a.jpg" in err
    assert "no picture" in err
    assert "1 of 10 pictures could not be read" in err


def test_the_only_picture_is_an_error(service: str, tmp_path: Path, capsys: Capture) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("text")
    assert client.main(["--server", service, str(text)]) == 2
    assert "no picture" in capsys.readouterr().err
    assert client.main(["--server", service, str(tmp_path / "absent.jpg")]) == 2
    assert "absent.jpg" in capsys.readouterr().err


def test_nobody_there_is_told(pictures: Path, capsys: Capture) -> None:
    with serving_nothing() as url:
        assert client.main(["--server", url, str(pictures)]) == 1
    err = capsys.readouterr().err
    assert "cannot be reached" in err
    assert "Traceback" not in err


class serving_nothing:  # noqa: N801 - reads as a verb
    """A port that was free a moment ago, and is held so that nobody else listens there."""

    def __enter__(self) -> str:
        import socket

        self.line = socket.socket()
        self.line.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{self.line.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.line.close()


@pytest.mark.parametrize(
    "server", ["127.0.0.1:18080", "ftp://host", "http://", "grpc://127.0.0.1", "http://host:port"]
)
def test_addresses_that_are_none_are_refused(server: str, pictures: Path, capsys: Capture) -> None:
    assert client.main(["--server", server, str(pictures)]) == 2
    assert "http://HOST:PORT" in capsys.readouterr().err


class Busy(Handler):
    """Says that it is busy, a number of times: first in the service's words, then in a proxy's."""

    left = 0

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """Refuse, or answer."""
        Busy.left -= 1
        if Busy.left < 0:
            super().do_POST()
            return
        self.rfile.read(int(self.headers["Content-Length"]))
        if Busy.left % 2:
            self._tell(503, BUSY, "There are 64 requests under way.", None)  # type: ignore[arg-type]
        else:
            self.send_error(503)


def test_a_busy_service_is_asked_again_and_not_for_ever(
    ghostnet: Artifact, pictures: Path, capsys: Capture
) -> None:
    one = str(pictures / "1.png")
    with serving(ghostnet.folder, Busy) as url:
        Busy.left = 2
        assert client.main(["--server", url, one]) == 0
        Busy.left = 2
        assert client.main(["--server", url, "--retries", "1", one]) == 1
    err = capsys.readouterr().err
    assert "It was asked 2 times" in err
    assert "--retries" in err


class Odd(Handler):
    """Answers with what it is told to."""

    status, body = 200, b""

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(Odd.status, Odd.body, "text/html")  # type: ignore[arg-type]


ENDLESS_CLASS = json.dumps(
    {
        "err_no": 0,
        "key": ["result"],
        "value": ['{"predictions": [{"top_k": [{"class_id": Infinity, "label": null, "score": 1}]}]}'],
    }
).encode()


@pytest.mark.parametrize(
    ("status", "body", "code", "says"),
    [
        (200, b"<html>hello", 1, "status 200"),
        (502, b"<html>Bad Gateway", 1, "status 502"),
        (413, b"<html>Too Large", 2, "larger"),
        (500, b'{"err_no": 10000, "err_msg": "our defect", "key": [], "value": []}', 1, "our defect"),
        (200, b'{"err_no": 0, "err_msg": "", "key": [], "value": []}', 1, "cannot be read"),
        (200, b'{"err_no": 0, "key": ["result"], "value": ["{}"]}', 1, "cannot be read"),
        (200, b'{"err_no": 0, "key": ["result"], "value": ["[1"]}', 1, "cannot be read"),
        (200, b'{"err_no": ' + b"[" * 100_000, 1, "status 200"),
        (200, b'{"err_no": 0, "key": ["result"], "value": ["' + b"[" * 100_000 + b'"]}', 1, "cannot be read"),
        (200, ENDLESS_CLASS, 1, "cannot be read"),
        (
            200,
            json.dumps(
                {
                    "err_no": 0,
                    "key": ["result"],
                    "value": ['{"model": {"name": "", "version": ""}, "predictions": []}'],
                }
            ).encode(),
            1,
            "0 pictures; 1 were sent",
        ),
    ],
)
def test_an_answer_that_is_none_is_told(
    ghostnet: Artifact, pictures: Path, capsys: Capture, status: int, body: bytes, code: int, says: str
) -> None:
    Odd.status, Odd.body = status, body
    with serving(ghostnet.folder, Odd) as url:
        assert client.main(["--server", url, str(pictures / "1.png")]) == code
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


class HangsUp(Handler):
    """Answers every connection once and hangs up without saying so."""

    def handle(self) -> None:
        """Serve one request."""
        self.close_connection = True
        self.handle_one_request()


def test_a_connection_that_the_service_closed_is_opened_again(
    ghostnet: Artifact, pictures: Path, capsys: Capture
) -> None:
    with serving(ghostnet.folder, HangsUp) as url:
        assert client.main(["--server", url, "--concurrency", "1", str(pictures)]) == 0
    assert len(lines_of(capsys)) == 9


def test_it_runs_as_a_program_and_explains_itself(service: str, pictures: Path) -> None:
    words = [sys.executable, str(PROGRAM), "--server", service, str(pictures / "0.png")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=pictures)
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)["class_ids"]) == 5
    told = subprocess.run([*words[:2], "--help"], capture_output=True, text=True, check=False).stdout
    assert "grpc://127.0.0.1:9993" in told
    assert subprocess.run([*words, "--batch", "0"], capture_output=True, check=False).returncode == 2


COMMANDS = re.findall(r"^    python deploy/serving/client.py (.*)$", README, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_run(
    service: str, pictures: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "photos").mkdir()
    for name in ("photos/a.png", "photos/b.png", "picture.jpg"):
        shutil.copyfile(pictures / "1.png", pictures / name)
    monkeypatch.chdir(pictures)
    words = shlex.split(command)
    if "--server" in words:
        assert words[words.index("--server") + 1] == "grpc://127.0.0.1:9993"
    assert client.main([*words, "--server", service]) == 0
    if "--output" in words:
        assert Path(words[words.index("--output") + 1]).read_text()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    result=st.fixed_dictionaries(
        {},
        optional={
            "model": PLAIN | st.fixed_dictionaries({"name": PLAIN, "version": PLAIN}),
            "predictions": PLAIN
            | st.lists(
                st.fixed_dictionaries(
                    {
                        "top_k": PLAIN
                        | st.lists(st.fixed_dictionaries({"class_id": PLAIN, "label": PLAIN, "score": PLAIN}))
                    }
                ),
                min_size=1,
                max_size=1,
            ),
        },
    )
)
def test_any_result_is_an_answer_or_a_sentence(result: dict[str, Any]) -> None:
    told = {"err_no": 0, "err_msg": "", "key": ["result"], "value": [json.dumps(result)]}
    try:
        answer = answer_of(told, 1)
    except GhostError:
        return
    assert all(0 <= one.score <= 1 for best in answer.predictions for one in best)


def _messages() -> tuple[Any, Any]:
    """Return Request and Response as Google's protocol buffers know them, from Paddle Serving's fields."""
    file = descriptor_pb2.FileDescriptorProto(name="pipeline.proto", package="serving", syntax="proto3")
    kinds = {"string": 9, "int32": 5, "int64": 3, "float": 2}
    for name, fields in {
        "Request": [("key", 1, "string", 3), ("value", 2, "string", 3), ("logid", 6, "int64", 1)],
        "Response": [
            ("err_no", 1, "int32", 1),
            ("err_msg", 2, "string", 1),
            ("key", 3, "string", 3),
            ("value", 4, "string", 3),
            ("floats", 7, "float", 3),
        ],
    }.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            message.field.add(name=field, number=number, type=kinds[kind], label=label)  # type: ignore[arg-type]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}"))
        for name in ("Request", "Response")
    )
    return request, response


REQUEST, RESPONSE = _messages()
TEXTS = st.lists(st.text(max_size=200), max_size=4)


@given(keys=TEXTS, values=TEXTS)
def test_grpc_requests_are_protocol_buffers(keys: list[str], values: list[str]) -> None:
    message = REQUEST.FromString(encode_request(keys, values))
    assert (list(message.key), list(message.value)) == (keys, values)


@given(
    number=st.integers(0, 2**31 - 1),
    text=st.text(),
    keys=TEXTS,
    values=TEXTS,
    floats=st.lists(st.floats(width=32)),
)
def test_grpc_responses_are_read(
    number: int, text: str, keys: list[str], values: list[str], floats: list[float]
) -> None:
    message = RESPONSE(err_no=number, err_msg=text, key=keys, value=values, floats=floats)
    told = decode_response(message.SerializeToString())
    assert told == {"err_no": number, "err_msg": text, "key": keys, "value": values}


@given(message=st.binary())
def test_any_bytes_are_a_response_or_a_sentence(message: bytes) -> None:
    try:
        assert set(decode_response(message)) == {"err_no", "err_msg", "key", "value"}
    except ServiceError:
        pass


def test_grpc_carries_what_http_carries(
    service: str, pictures: Path, ghostnet: Artifact, capsys: Capture
) -> None:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed; pip install grpcio")
    assert client.main(["--server", service, str(pictures)]) == 0
    wanted = lines_of(capsys)
    asked: list[Any] = []

    def inference(message: bytes, _: object) -> bytes:
        """Pass a request on to the HTTP service, as Paddle Serving's gateway does the other way round."""
        from protocol import connect

        request = REQUEST.FromString(message)
        asked.append(list(request.key))
        with contextlib.closing(connect(service, 30.0)) as line:
            told = line.ask(list(request.key), list(request.value))
        answer: bytes = RESPONSE(**told).SerializeToString()
        return answer

    _, _, place = GRPC_METHOD.rpartition("/")
    handler = grpc.method_handlers_generic_handler(
        GRPC_METHOD.split("/")[1], {place: grpc.unary_unary_rpc_method_handler(inference)}
    )
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert client.main(["--server", f"grpc://127.0.0.1:{port}", "--batch", "4", str(pictures)]) == 0
        assert lines_of(capsys) == wanted
    finally:
        server.stop(None).wait()
    assert sorted(map(len, asked)) == [1, 4, 4]
    assert client.main(["--server", f"grpc://127.0.0.1:{port}", str(pictures)]) == 1
    assert "UNAVAILABLE" in capsys.readouterr().err


def test_several_pictures_have_keys_of_their_own() -> None:
    assert request_of([b"a"]) == (["image"], ["YQ=="])
    assert request_of([b"a", b"b"]) == (["image_0", "image_1"], ["YQ==", "Yg=="])
