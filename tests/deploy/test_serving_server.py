"""The server of `deploy/serving` as it runs: Paddle Serving's pipeline, asked over HTTP and gRPC."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest

from ppghost.artifact import Artifact
from ppghost.predict import Classifier
from tests.deploy.serving_process import (
    PATH,
    ROOT,
    SECONDS,
    Served,
    body_of,
    python,
    result_of,
    same_predictions,
    wait_until,
)

LIMITS = (
    "worker_num=2",
    "limits.pictures=6",
    "limits.pixels=200000",
    "limits.request_bytes=400000",
    "limits.waiting_bytes=800000",
    "limits.header_seconds=0.6",
    "limits.body_seconds=0.6",
)


@pytest.fixture(scope="module")
def served(ghostnet: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with small limits and our own engine; every test asks it, none stops it."""
    server = Served(ghostnet.folder, tmp_path_factory.mktemp("served"), *LIMITS)
    yield server
    server.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five picture files of different sizes and kinds."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.RandomState(11)
    paths = [folder / name for name in ("a.jpg", "b.jpg", "c.png", "d.bmp", "e.jpg")]
    for number, path in enumerate(paths):
        noise = draw.randint(0, 256, (6 + number, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (70 + 9 * number, 90), interpolation=cv2.INTER_CUBIC))
    return paths


@pytest.fixture(scope="module")
def expected(ghostnet: Artifact, pictures: list[Path]) -> list[dict[str, Any]]:
    """What `infer` prints for them."""
    with Classifier.from_artifact(ghostnet.folder) as classifier:
        return [answer.to_dict() for answer in classifier.classify(pictures)]


def test_answers_equal_those_of_infer(
    served: Served, pictures: list[Path], expected: list[dict[str, Any]], ghostnet: Artifact
) -> None:
    assert served.facts["engine"] == "ghost"
    for path, wanted in zip(pictures, expected):
        status, _, body = served.ask(body_of(path.read_bytes()))
        assert status == 200
        result = result_of(body)
        assert result["model"] == {"name": ghostnet.facts.name, "version": ghostnet.facts.version}
        assert set(result["times_ms"]) == {"queue", "preprocess", "network", "total"}
        same_predictions(result["predictions"][0]["top_k"], wanted)


def test_many_pictures_and_top_k_in_one_request(
    served: Served, pictures: list[Path], expected: list[dict[str, Any]]
) -> None:
    result = result_of(served.ask(body_of(*(path.read_bytes() for path in pictures), top_k="2"))[2])
    assert len(result["predictions"]) == len(pictures)
    for found, wanted in zip(result["predictions"], expected):
        short = {key: wanted[key][:2] for key in ("class_ids", "label_names", "scores")}
        same_predictions(found["top_k"], short)
    body = body_of(*(path.read_bytes() for path in pictures[:2]))
    body["key"] = ["image_0", "image_1"]
    assert len(result_of(served.ask(body)[2])["predictions"]) == 2


def test_requests_at_once_each_get_their_own_answer(
    served: Served, pictures: list[Path], expected: list[dict[str, Any]]
) -> None:
    """Auto-batching joins them, the broken ones among them; nobody gets another one's answer."""
    failures: list[str] = []

    def client(number: int) -> None:
        for step in range(12):
            place = (number + step) % len(pictures)
            if (number + step) % 4 == 0:
                if served.ask(body_of(b"no picture"))[2]["err_no"] != 5002:
                    failures.append("a broken picture was answered")
                continue
            result = result_of(served.ask(body_of(pictures[place].read_bytes()))[2])
            try:
                same_predictions(result["predictions"][0]["top_k"], expected[place])
            except AssertionError as error:
                failures.append(str(error))

    _together([lambda number=number: client(number) for number in range(8)])
    assert not failures
    text = served.get("/metrics")[1]
    assert _figure(text, "ppghost_batch_pictures_sum") > _figure(text, "ppghost_batch_pictures_count")


def _bomb() -> bytes:
    """Return a PNG of a few hundred bytes whose header promises 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000)))


JPEG = cv2.imencode(".jpg", np.full((40, 40, 3), 99, np.uint8))[1].tobytes()
BAD_BODIES: dict[str, tuple[object, int, int]] = {
    "no JSON": (b"picture", 400, 5000),
    "no UTF-8": (b'{"key": ["\xff\xfe"]}', 400, 5000),
    "empty body": (b"", 400, 5000),
    "a list": ([], 400, 5000),
    "a number of 5,000 digits": (b'{"logid": ' + b"9" * 5000 + b"}", 400, 5000),
    "no key": ({"value": ["aaaa"]}, 400, 5000),
    "wrong key": ({"key": ["picture"], "value": ["aaaa"]}, 400, 5000),
    "a path as key": ({"key": ["../../etc/passwd"], "value": ["aaaa"]}, 400, 5000),
    "an unknown field": ({**body_of(JPEG), "cmd": "ls"}, 400, 5000),
    "tensors": ({**body_of(JPEG), "tensors": [{"byte_data": "gASVAAAA"}]}, 400, 5000),
    "another service": ({**body_of(JPEG), "name": "imagenet"}, 404, 5003),
    "empty value": ({"key": ["image"], "value": [""]}, 400, 5002),
    "no value": ({"key": ["image"], "value": []}, 400, 5000),
    "nothing at all": ({"key": [], "value": []}, 400, 5000),
    "top_k alone": ({"key": ["top_k"], "value": ["3"]}, 400, 5000),
    "broken base64": ({"key": ["image"], "value": ["$$$$"]}, 400, 5000),
    "cut base64": ({"key": ["image"], "value": ["aaaaa"]}, 400, 5000),
    "base64 that is no ASCII": ({"key": ["image"], "value": ["ääää"]}, 400, 5000),
    "a number": ({"key": ["image"], "value": [7]}, 400, 5000),
    "a list as value": ({"key": ["image"], "value": [["aaaa"]]}, 400, 5000),
    "a string for the list": ({"key": "image", "value": "aaaa"}, 400, 5000),
    "a text file": (body_of(b"Dear Sir or Madam,\n" * 20), 400, 5002),
    "truncated JPEG": (body_of(JPEG[: len(JPEG) // 2]), 400, 5002),
    "a bomb": (body_of(_bomb()), 400, 5002),
    "one broken among good ones": (body_of(JPEG, JPEG[:-40], JPEG), 400, 5002),
    "too many pictures": (body_of(*[b"x"] * 1000), 413, 5001),
    "deep JSON": (b'{"key": ' + b"[" * 100_000, 400, 5000),
    "negative top_k": (body_of(JPEG, top_k="-3"), 400, 5000),
    "top_k of no number": (body_of(JPEG, top_k="__import__('os')"), 400, 5000),
    "top_k beyond the classes": (body_of(JPEG, top_k="8"), 400, 5000),
    "top_k twice": ({"key": ["image", "top_k", "top_k"], "value": ["aaaa", "1", "2"]}, 400, 5000),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_bodies_get_a_code_and_a_sentence(served: Served, name: str) -> None:
    body, status, err_no = BAD_BODIES[name]
    found, headers, answer = served.ask(body)
    assert (found, answer["err_no"]) == (status, err_no), answer
    assert len(answer["err_msg"]) > 15
    assert answer["err_msg"].rstrip().endswith((".", "}"))
    assert (answer["key"], answer["value"]) == ([], [])
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])
    assert served.ask(body_of(JPEG))[0] == 200


def _raw(served: Served, data: bytes) -> bytes:
    """Return everything that comes back for bytes on the wire, until the server closes."""
    with socket.create_connection(("127.0.0.1", served.port), SECONDS) as wire:
        with contextlib.suppress(ConnectionError):
            wire.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := wire.recv(65536):
                answer += part
        return answer


HEAD = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: here\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + b"Content-Length: 104857600\r\n\r\n" + bytes(1000), 413),
        (HEAD + b"Content-Length: many\r\n\r\n{}", 400),
        (HEAD + b"Content-Length: -5\r\n\r\n{}", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n", 411),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 415),
        (HEAD + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n", 400),
        (HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(60_000)) + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60), 400),
        (HEAD + b"Content-Length: 500\r\n\r\n{", 408),
        (HEAD + b"X-Slow: ", 408),
        (b"", 408),
        (b"GET http://[x HTTP/1.1\r\nHost: here\r\n\r\n", 400),
        (b"GET http://here:99999/ HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", 404),
    ],
    ids=[
        "100 MB",
        "no number",
        "negative",
        "chunked",
        "gzip",
        "a long header",
        "many headers",
        "TLS",
        "slow body",
        "slow header",
        "nothing",
        "no URL",
        "a port that is none",
    ],
)
def test_bad_bytes_get_a_code_and_the_connection_ends(served: Served, data: bytes, status: int) -> None:
    answer = _raw(served, data)
    assert answer.startswith(b"HTTP/1."), answer
    assert int(answer.split()[1]) == status
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["err_no"] >= 5000
    assert body["err_msg"].endswith(".")
    assert served.ask(body_of(JPEG))[0] == 200


def test_a_client_that_goes_away_leaves_nothing_behind(served: Served) -> None:
    whole = json.dumps(body_of(JPEG)).encode()
    for sent in (whole[: len(whole) // 2], whole):
        with socket.create_connection(("127.0.0.1", served.port), SECONDS) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(whole) + sent)

    def is_idle() -> bool:
        text = served.get("/metrics")[1]
        names = ("ppghost_requests_under_way", "ppghost_waiting_bytes")
        return [_figure(text, name) for name in names] == [0.0, 0.0]

    wait_until(is_idle, "no request is under way")
    assert served.ask(body_of(JPEG))[0] == 200


@pytest.mark.parametrize(
    "ahead",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 100_000,
        HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}" + bytes(8 << 20),
    ],
    ids=["requests", "bytes behind an upgrade"],
)
def test_a_client_that_sends_and_never_reads_is_cut_off(served: Served, ahead: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), SECONDS) as wire:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                wire.sendall(ahead)
            raise AssertionError("it takes everything")
    assert served.ask(body_of(JPEG))[0] == 200


def test_some_requests_ahead_are_answered_in_order(served: Served) -> None:
    get = b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n"
    last = get[:-2] + b"Connection: close\r\n\r\n"
    answer = _raw(served, (get % b"/healthz") * 30 + get % b"/nothing" + last % b"/healthz")
    assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", answer)] == [200] * 30 + [404, 200]


FEW_DESCRIPTORS = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
runpy.run_module("server", run_name="__main__")
"""


def test_a_worker_without_file_descriptors_listens_again_when_it_has_some(
    ghostnet: Artifact, tmp_path: Path
) -> None:
    start = [str(python()), "-c", FEW_DESCRIPTORS, str(ghostnet.folder), "--folder", str(tmp_path / "run")]
    served = Served(ghostnet.folder, tmp_path, "worker_num=1", command=start)
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(120):
                stack.enter_context(socket.create_connection(("127.0.0.1", served.port), SECONDS))
            told = "no connection can be taken"
            wait_until(lambda: told in served.log.read_text(), "the log says it")
        assert served.ask(body_of(JPEG))[0] == 200
    finally:
        served.close()


def test_request_ids_are_honoured_or_made_and_cannot_forge_the_log(served: Served) -> None:
    status, headers, body = served.ask(body_of(JPEG), {"X-Request-Id": "order-66.b_7"})
    assert (status, headers["X-Request-Id"]) == (200, "order-66.b_7")
    assert result_of(body)["request_id"] == "order-66.b_7"
    for bad in ("a b", "x" * 65, "é", "${jndi:ldap}", ""):
        given = bad.encode("latin-1")
        answer = _raw(
            served,
            HEAD + b"Connection: close\r\nX-Request-Id: " + given + b"\r\nContent-Length: 2\r\n\r\n{}",
        )
        made = re.search(rb"X-Request-Id: ([0-9a-f]{32})\r\n", answer)
        assert made, answer
    forged = b'x\n{"event": "forged"}'
    for given in (forged, b"a\0b"):
        assert _raw(served, HEAD + b"X-Request-Id: " + given + b"\r\n\r\n").split()[1] == b"400"
    served.ask({"key": ['k\n{"event": "forged"}'], "value": ["aaaa"]})
    events = {line["event"] for line in served.lines()}
    assert "forged" not in events
    assert any(line.get("request_id") == "order-66.b_7" for line in served.lines())


def test_other_paths_and_methods(served: Served) -> None:
    status, page = served.get("/")
    assert status == 200
    assert "<html" in page.lower()
    assert served.get("/healthz")[0] == 200
    assert served.get("/readyz") == (200, "2 of 2 workers are ready\n")
    info = json.loads(json.dumps(served.ask(None, path="/info", method="GET")[2]))
    assert (info["model"]["classes"], info["engine"], info["limits"]["pictures"]) == (7, "ghost", 6)
    assert served.ask(None, path="/../../etc/passwd", method="GET")[2]["err_no"] == 5003
    assert served.ask(None, path="/admin", method="GET")[0] == 404
    assert served.ask(None, method="GET")[0] == 405
    assert served.ask(b"x", path="/metrics")[0] == 405


def test_metrics_are_prometheus_text_and_count(served: Served) -> None:
    before = served.get("/metrics")[1]
    served.ask(body_of(JPEG, JPEG))
    served.ask(b"x")
    after = served.get("/metrics")[1]
    sample = re.compile(r'[a-z_]+(\{([a-z]+="[^"\n]*",?)+\})? [0-9.e+-]+')
    for line in after.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line

    def gained(name: str) -> float:
        return _figure(after, name) - _figure(before, name)

    assert gained('ppghost_requests_total{protocol="http",status="200"}') == 1
    assert gained('ppghost_requests_total{protocol="http",status="400"}') == 1
    assert gained("ppghost_pictures_total") == 2
    assert gained("ppghost_request_seconds_count") == 1
    assert gained("pd_query_request_success_total") == 1
    assert gained("pd_query_request_failure_total") == 1
    assert _figure(after, "ppghost_workers_ready") == 2
    buckets = [float(value) for value in re.findall(r"ppghost_request_seconds_bucket\S+ (\S+)", after)]
    assert buckets == sorted(buckets)


def _figure(text: str, name: str) -> float:
    [value] = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def _together(tasks: list[Callable[[], None]]) -> None:
    """Run tasks at once, each in a thread; raise what the first of them raised."""
    errors: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    if errors:
        raise errors[0]


GRPC_CLIENT = """
import base64, json, pickle, sys
import grpc, numpy as np
from io import BytesIO
from paddle_serving_server.pipeline.proto import pipeline_service_pb2 as pb
from paddle_serving_server.pipeline.proto import pipeline_service_pb2_grpc as service

class Run:
    def __reduce__(self):
        return (open, (sys.argv[2], "w"))

stub = service.PipelineServiceStub(grpc.insecure_channel(sys.argv[1]))
def ask(metadata=(), **fields):
    try:
        response, call = stub.inference.with_call(pb.Request(**fields), metadata=metadata, timeout=30)
        told = dict(call.trailing_metadata()).get("x-request-id")
        return [response.err_no, response.err_msg, list(response.key), list(response.value), told]
    except grpc.RpcError as error:
        return [error.code().name]

pictures = [base64.b64encode(open(path, "rb").read()).decode() for path in sys.argv[3:]]
packed = BytesIO()
np.save(packed, np.array([Run()], object), allow_pickle=True)
print(json.dumps({
    "all": ask(key=["image"] * len(pictures), value=pictures, metadata=[("x-request-id", "mine")]),
    "named": ask(name="ghostnet", key=["image", "top_k"], value=[pictures[0], "1"]),
    "other": ask(name="imagenet", key=["image"], value=pictures[:1]),
    "profile": ask(key=["image", "pipeline.profile"], value=[pictures[0], "1"]),
    "broken": ask(key=["image"], value=["aaaa"]),
    "uneven": ask(key=["image", "image"], value=pictures[:1]),
    "nothing": ask(),
    "pickle": ask(tensors=[pb.Tensor(name="x", elem_type=13, byte_data=packed.getvalue())]),
    "long": ask(key=["image"], value=["a" * 2_000_000]),
}))
"""


def test_grpc_answers_as_http_does_and_unpickles_nothing(
    served: Served, pictures: list[Path], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    trap = tmp_path / "was run"
    command = [str(python()), "-c", GRPC_CLIENT, served.facts["rpc"], str(trap), *map(str, pictures)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    err_no, _, keys, values, request_id = told["all"]
    assert (err_no, keys, request_id) == (0, ["result"], "mine")
    predictions = json.loads(values[0])["predictions"]
    assert len(predictions) == len(pictures)
    for found, wanted in zip(predictions, expected):
        same_predictions(found["top_k"], wanted)
    assert len(json.loads(told["named"][3][0])["predictions"][0]["top_k"]) == 1
    codes = {name: answer[0] for name, answer in told.items() if name not in ("all", "named")}
    assert codes == {
        "other": 5003,
        "profile": 5000,
        "broken": 5002,
        "uneven": 5000,
        "nothing": 5000,
        "pickle": 5000,
        "long": "RESOURCE_EXHAUSTED",
    }
    assert not trap.exists()
    assert pickle.dumps(trap)  # the trap is one: NumPy can pack it
    assert served.ask(body_of(JPEG))[0] == 200


def test_a_killed_worker_is_replaced_and_readiness_tells(ghostnet: Artifact, tmp_path: Path) -> None:
    server = Served(ghostnet.folder, tmp_path, "worker_num=2")
    try:
        before = _figure(server.get("/metrics")[1], "ppghost_request_seconds_count")
        server.ask(body_of(JPEG))
        os.kill(server.facts["worker_pids"][0], signal.SIGKILL)

        def status() -> int:
            try:
                return server.get("/readyz")[0]
            except (OSError, ValueError):  # the connection was the dead worker's
                return 0

        wait_until(lambda: status() == 503, "readiness fails")
        assert server.ask(body_of(JPEG))[0] == 200, "the other worker answers"
        wait_until(lambda: status() == 200, "the worker is back")
        text = server.get("/metrics")[1]
        assert _figure(text, "ppghost_worker_restarts_total") == 1
        assert _figure(text, "ppghost_request_seconds_count") >= before + 2
        assert server.stop() == 0
        assert any(line["event"] == "worker died" and line["code"] == -9 for line in server.lines())
    finally:
        server.close()


def test_sigterm_under_load_loses_no_accepted_request(ghostnet: Artifact, tmp_path: Path) -> None:
    server = Served(ghostnet.folder, tmp_path, "worker_num=2")
    body = json.dumps(body_of(JPEG)).encode()
    head = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    enough, codes, problems = threading.Event(), [], []

    def client() -> None:
        """Ask on one connection after another, until the port is closed."""
        while True:
            try:
                wire = socket.create_connection(("127.0.0.1", server.port), SECONDS)
            except ConnectionRefusedError:
                return
            with wire:
                try:
                    wire.sendall(head + body)
                    answer = wire.makefile("rb").readline()
                except ConnectionError:
                    answer = b""
                # A connection that nobody took before the port was closed is reset without a byte.
                if answer:
                    codes.append(int(answer.split()[1]))
                    if len(codes) > 100:
                        enough.set()
                elif not stopping.is_set():
                    problems.append("a request was lost while the server ran")

    stopping = threading.Event()
    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(SECONDS)
    stopping.set()
    assert server.stop() == 0
    for thread in threads:
        thread.join(SECONDS)
    server.close()
    assert not problems
    assert set(codes) <= {200, 503}
    noted = [line["status"] for line in server.lines() if line["event"] == "request"]
    assert sorted(noted) == sorted(codes), "each request that was taken got its answer"
    assert all(line["answered_all"] for line in server.lines() if line["event"] == "worker has stopped")


def test_a_full_queue_answers_busy_at_once(ghostnet: Artifact, tmp_path: Path) -> None:
    server = Served(ghostnet.folder, tmp_path, "worker_num=1", "limits.queue=1", "limits.pictures=200")
    try:
        picture = cv2.imencode(".png", np.zeros((1500, 1500, 3), np.uint8))[1].tobytes()
        codes: list[int] = []
        waits: list[str] = []

        def client() -> None:
            status, headers, body = server.ask(body_of(*[picture] * 20))
            codes.append(status)
            if status == 503:
                assert body["err_no"] == 3004
                waits.append(headers["Retry-After"])

        _together([client] * 6)
        assert set(codes) == {200, 503}
        assert set(waits) == {"1"}
        assert server.ask(body_of(JPEG))[0] == 200
    finally:
        server.close()


def test_paddles_engine_gives_the_same_answers(
    ghostnet: Artifact, tmp_path: Path, pictures: list[Path], expected: list[dict[str, Any]]
) -> None:
    server = Served(ghostnet.folder, tmp_path, "worker_num=1", "op.ghostnet.engine=paddle")
    try:
        assert server.facts["engine"] == "paddle"
        result = result_of(server.ask(body_of(*(path.read_bytes() for path in pictures)))[2])
        for found, wanted in zip(result["predictions"], expected):
            same_predictions(found["top_k"], wanted)
        assert server.stop() == 0
    finally:
        server.close()


def _refused(artifact: Path, folder: Path, *given: str) -> str:
    """Return what the server says when it does not start."""
    paths = os.pathsep.join([str(ROOT / "deploy/serving"), str(ROOT)])
    ran = subprocess.run(
        [str(python()), "-m", "server", str(artifact), "--folder", str(folder), *given],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr


def test_what_cannot_be_served_is_a_sentence(
    copied: Callable[[], Artifact], served: Served, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert "There is no folder" in _refused(tmp_path / "none", folder)
    artifact = copied()
    taken = _refused(artifact.folder, folder, "-o", f"http_port={served.port}")
    assert f"127.0.0.1:{served.port} cannot be taken" in taken
    rpc_port = served.facts["rpc"].rpartition(":")[2]
    held = served.log.parent / "run"
    assert "belongs to another server" in _refused(artifact.folder, held, "-o", "http_port=0")
    assert "cannot be written" in _refused(artifact.folder, artifact.path_of("labels.txt") / "run")
    assert "rpc_port" in _refused(artifact.folder, folder, "-o", "http_port=0", "-o", f"rpc_port={rpc_port}")
    assert "http_prt" in _refused(artifact.folder, folder, "-o", "http_prt=80")
    assert "op.ghostnet.batch_size" in _refused(artifact.folder, folder, "-o", "op.ghostnet.batch_size=0")
    assert "worker_num" in _refused(
        artifact.folder, folder, "-o", "op.ghostnet.engine=paddle", "-o", "op.ghostnet.concurrency=2"
    )
    with artifact.path_of("inference.pdiparams").open("r+b") as file:
        file.write(b"changed")
    assert "was changed" in _refused(artifact.folder, folder)


README = (ROOT / "deploy" / "serving" / "README.md").read_text(encoding="utf-8")
STARTS = re.findall(r"^    ((?:bash|python) deploy/serving/(?:run\.sh|serve\.py) .*)$", README, re.MULTILINE)


@pytest.mark.parametrize("command", STARTS)
def test_the_commands_of_the_page_start_it(ghostnet: Artifact, tmp_path: Path, command: str) -> None:
    program, *words = [
        str(ROOT / word) if word.startswith("deploy/") else word for word in shlex.split(command)
    ]
    (tmp_path / "inference").symlink_to(ghostnet.folder)
    cv2.imwrite(str(tmp_path / "picture.jpg"), np.full((50, 60, 3), 200, np.uint8))
    start = [{"bash": "bash", "python": sys.executable}[program], *words]
    server = Served(ghostnet.folder, tmp_path, command=start)
    try:
        [asked] = re.findall(r"^(curl [^`]*)$", README, re.MULTILINE)
        if shutil.which("curl"):
            asked = asked.replace("127.0.0.1:18080", f"127.0.0.1:{server.port}")
            ran = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, check=True)
            assert len(result_of(json.loads(ran.stdout))["predictions"]) == 1
        assert server.stop() == 0
    finally:
        server.close()
    assert (tmp_path / "serving_run" / "serving_server" / "serving_server_conf.prototxt").is_file()


FOLDER_READER = """
import sys
from google.protobuf import text_format
from paddle_serving_server.proto import general_model_config_pb2 as messages
for path in sys.argv[1:]:
    text = text_format.Merge(open(path + ".prototxt").read(), messages.GeneralModelConfig())
    wire = messages.GeneralModelConfig.FromString(open(path + ".stream.prototxt", "rb").read())
    assert text == wire
    [feed], [fetch] = text.feed_var, text.fetch_var
    print(feed.name, feed.alias_name, feed.feed_type, list(feed.shape), feed.is_lod_tensor)
    print(fetch.name, fetch.alias_name, fetch.fetch_type, list(fetch.shape), fetch.is_lod_tensor)
"""


def test_paddle_serving_reads_the_folders(ghostnet: Artifact, tmp_path: Path) -> None:
    from server.folders import write_folders

    server, client = write_folders(ghostnet, tmp_path)
    assert write_folders(ghostnet, tmp_path) == (server, client), "they may be written again"
    stems = [str(server / "serving_server_conf"), str(client / "serving_client_conf")]
    ran = subprocess.run(
        [str(python()), "-c", FOLDER_READER, *stems],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    model = ghostnet.facts.model("pdmodel")
    shape = list(ghostnet.facts.input_shape)
    lines = [f"{model.input} {model.input} 1 {shape} False", f"{model.output} prediction 1 [7] False"]
    assert ran.stdout.splitlines() == 2 * lines
    for name, source in (("inference.pdmodel", model.graph), ("inference.pdiparams", model.weights)):
        assert (server / name).read_bytes() == ghostnet.path_of(str(source)).read_bytes()
