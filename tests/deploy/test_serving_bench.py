"""The load test: its clients count what happens, its checks notice what is wrong, its figures are right."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import bench
import cv2
import numpy as np
import pytest
from closed_loop import Measured, Request, http_request, run_clients
from hypothesis import given
from hypothesis import strategies as st
from load_report import NO_SERVER, SERVICE, Checked, Load, Row, load_lines, ratios_of, write_plot
from naive import Handler
from processes import family_of, memory_bytes, started
from protocol import PATH, request_of
from soak_cases import Expected, bad_cases, good_cases, leaving_cases, mixed, what_is_wrong

from ppghost.artifact import Artifact
from ppghost.environments import SERVING, ensure_environment
from ppghost.errors import GhostError, ToolMissingError
from ppghost.predict import Classifier
from tests.deploy.naive_service import serving

COUNT = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of JPEGs."""
    folder = tmp_path_factory.mktemp("jpegs")
    for index in range(COUNT):
        picture = np.random.RandomState(index).randint(0, 256, (60, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index}.jpg"), cv2.blur(picture, (9, 9)))
    return folder


@pytest.fixture(scope="module")
def good(ghostnet: Artifact, pictures: Path) -> dict[Request, Expected]:
    data = [path.read_bytes() for path in sorted(pictures.iterdir())]
    with Classifier.from_artifact(ghostnet.folder) as classifier:
        return good_cases(data, [classifier.classify_one(one) for one in data])


@pytest.fixture(scope="module")
def service(ghostnet: Artifact) -> Iterator[tuple[str, int]]:
    with serving(ghostnet.folder) as url:
        host, _, port = url.rpartition("/")[2].partition(":")
        yield host, int(port)


def test_every_request_is_answered_once_and_rightly(
    service: tuple[str, int], good: dict[Request, Expected]
) -> None:
    checked = Checked(good)
    requests = itertools.islice(itertools.cycle(good), 40)
    measured = run_clients(service, requests, checked, clients=5)
    assert (checked.right, checked.busy, checked.wrong) == (40, 0, 0), checked.sentences
    assert len(measured.latencies_s) == 40
    assert not measured.lost
    assert 0 < min(measured.latencies_s) <= max(measured.latencies_s) <= measured.seconds


def test_it_ends_with_its_time(service: tuple[str, int], good: dict[Request, Expected]) -> None:
    measured = run_clients(service, itertools.cycle(good), Checked(good), clients=2, seconds=0.2)
    assert measured.latencies_s
    assert measured.seconds >= 0.2


def test_a_wrong_answer_is_noticed(service: tuple[str, int], good: dict[Request, Expected]) -> None:
    first, second = list(good)[:2]
    swapped = {first: good[second], second: good[first]}
    checked = Checked(swapped)
    run_clients(service, list(swapped), checked, clients=1)
    assert checked.wrong == 2
    assert first.name in checked.sentences[0]


class HangsUp(Handler):
    """Never answers."""

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        """Close the connection."""
        self.close_connection = True


def test_an_answer_that_does_not_come_is_counted(ghostnet: Artifact, good: dict[Request, Expected]) -> None:
    with serving(ghostnet.folder, HangsUp) as url:
        host, _, port = url.rpartition("/")[2].partition(":")
        some = list(good)[:3]
        measured = run_clients((host, int(port)), some, Checked(good), clients=2)
    assert measured.lost == {request.name: 1 for request in some}
    assert not measured.latencies_s


def test_clients_that_leave_do_not_disturb_the_others(
    service: tuple[str, int], good: dict[Request, Expected]
) -> None:
    first = next(iter(good))
    checked = Checked(good)
    leaving = leaving_cases(first)
    assert [request.leaves_after for request in leaving] == [40, len(first.content) // 2, len(first.content)]
    everything = [*leaving, first, *leaving, first]
    measured = run_clients(service, everything, checked, clients=1)
    assert checked.right == len(measured.latencies_s) == 2
    assert not measured.lost


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_answers_are_read_however_they_are_cut(step: int) -> None:
    body = b'{"a": 1}'
    answer = b"HTTP/1.1 200 OK\r\ncontent-length:  %d\r\n\r\n" % len(body) + body
    request = Request("one", http_request("/", b"x" * 300_000))
    seen: list[tuple[int, bytes]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                for _ in range(2):
                    left = len(request.content)
                    while left:
                        left -= len(line.recv(min(left, 1 << 16)))
                    for place in range(0, len(answer), step):
                        line.sendall(answer[place : place + step])

        thread = threading.Thread(target=serve)
        thread.start()
        address = listener.getsockname()
        run_clients(address, [request] * 2, lambda _, status, told: seen.append((status, told)), clients=1)
        thread.join()
    assert seen == [(200, body)] * 2


def test_bad_requests_are_what_they_are_called(good: dict[Request, Expected], pictures: Path) -> None:
    picture = (pictures / "0.jpg").read_bytes()
    bad = bad_cases(picture, most_pictures=4)
    assert len({request.name for request in bad}) == len(bad) >= 12
    bodies = {request.name: request.content.partition(b"\r\n\r\n")[2] for request in bad}
    assert len(json.loads(bodies["too many pictures"])["value"]) == 5
    assert len(bodies["a decompression bomb"]) < 1000
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(bodies["no JSON"])
    order = list(mixed([1], [2], [3], 1000))
    assert [order.count(kind) for kind in (1, 2, 3)] == [780, 200, 20]
    assert order == list(mixed([1], [2], [3], 1000))


def test_what_is_wrong_says_what(good: dict[Request, Expected]) -> None:
    expected = next(iter(good.values()))
    [best] = expected.predictions
    rows = [vars(one) for one in best]

    def told(rows: list[dict[str, object]]) -> bytes:
        text = {"model": {"name": "", "version": ""}, "predictions": [{"top_k": rows}]}
        return json.dumps(
            {"err_no": 0, "err_msg": "", "key": ["result"], "value": [json.dumps(text)]}
        ).encode()

    assert what_is_wrong(expected, 200, told(rows)) is None
    close = [{**row, "score": min(1.0, float(str(row["score"])) + 5e-5)} for row in rows]
    assert what_is_wrong(expected, 200, told(close)) is None
    far = [{**rows[0], "score": float(str(rows[0]["score"])) / 2}, *rows[1:]]
    assert "score differs" in str(what_is_wrong(expected, 200, told(far)))
    assert "classes" in str(what_is_wrong(expected, 200, told(rows[::-1])))
    assert "classes" in str(what_is_wrong(expected, 200, told(rows[:-1])))
    assert "classes" in str(what_is_wrong(expected, 200, told([{**row, "label": "x"} for row in rows])))
    assert "status 500" in str(what_is_wrong(expected, 500, told(rows)))
    assert "no JSON" in str(what_is_wrong(expected, 200, b"\xff"))
    assert "without a message" in str(what_is_wrong(Expected(400, 5000), 400, b'{"err_no": 5000}'))


def row(server: str, clients: int, latencies_s: list[list[float]], seconds: float = 1.0) -> Row:
    turns = [Measured(latencies_s=each, seconds=seconds, cpu_s=0.1) for each in latencies_s]
    return Row(server, clients, Checked({}), turns)


@given(values=st.lists(st.floats(0.001, 10), min_size=1, max_size=300), percent=st.sampled_from([50, 95, 99]))
def test_percentiles_leave_so_many_below(values: list[float], percent: int) -> None:
    found = row("one", 1, [values]).percentile_ms(percent) / 1000
    at_most = sum(value <= found * (1 + 1e-9) for value in values)
    below = sum(value < found * (1 - 1e-9) for value in values)
    assert below <= (len(values) - 1) * percent / 100 + 1e-9
    assert at_most >= (len(values) - 1) * percent // 100 + 1


def test_figures_of_a_load(tmp_path: Path) -> None:
    load = Load(
        {"model": "net", "machine": "x", "cpus": 2, "date": "today", "rounds": 2, "seconds": 1.0},
        [
            row(SERVICE, 1, [[0.01] * 50, [0.01] * 50]),
            row("naive", 1, [[0.01] * 50, [0.01] * 50]),
            row(SERVICE, 16, [[0.02] * 300, [0.04] * 100]),
            row("naive", 16, [[0.05] * 100, [0.05] * 100]),
            row(NO_SERVER, 2, [[0.001] * 400, [0.001] * 400]),
        ],
        {SERVICE: (2**20, 2**21), "naive": (2**20, 2**20)},
    )
    ratios = ratios_of(load)
    assert ratios == pytest.approx(
        {
            "requests/s at 16 clients, service / naive": 2.0,
            "requests/s at 16 clients, service / no server": 0.5,
            "p99 at 16 clients / p50 at 1 client": 4.0,
        }
    )
    lines = load_lines(load)
    assert "service: 1 MB before, 2 MB after" in lines
    assert any(line.split()[:4] == ["service", "16", "200.0", "100.0..300.0"] for line in lines)
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; pip install matplotlib")
    write_plot(load, tmp_path / "load.png")
    assert cv2.imread(str(tmp_path / "load.png")).std() > 5


def test_memory_counts_children() -> None:
    program = "import subprocess, sys; b = bytearray(40 << 20); subprocess.run(sys.argv[1:])"
    child = [sys.executable, "-c", "b = bytearray(60 << 20); print('up', flush=True); input()"]
    with subprocess.Popen(
        [sys.executable, "-c", program, *child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert len(family_of(process.pid)) == 2
        assert 100 << 20 < memory_bytes(process.pid) < 200 << 20
        assert process.pid in family_of(os.getpid())
        process.communicate(b"\n")


def test_a_server_that_does_not_start_is_told(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]
    with pytest.raises(GhostError, match="the port is taken"):
        with started(words, tmp_path / "log"):
            pytest.fail("it did not start")
    with pytest.raises(GhostError, match="cannot be started"):
        with started([str(tmp_path / "absent")], tmp_path / "log"):
            pytest.fail("it did not start")


@pytest.fixture(scope="module")
def environment() -> None:
    """Paddle Serving's environment."""
    try:
        ensure_environment(SERVING)
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("environment")
def test_the_service_is_loaded_beside_the_naive_ones(
    ghostnet: Artifact, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = str(ghostnet.folder), tmp_path / "load.json"
    words = [folder, str(pictures), "--clients", "2", "--seconds", "1", "--rounds", "1"]
    assert bench.main([*words, "--output", str(output)]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    rows = json.loads(output.read_text())["rows"]
    assert [row["server"] for row in rows][:1] == [SERVICE]
    assert rows[-1]["server"] == NO_SERVER
    assert all(row["right"] > 0 and not row["wrong"] for row in rows[:-1])
    assert "MB before" in out


@pytest.mark.usefixtures("environment")
def test_the_service_stands_a_soak(
    ghostnet: Artifact, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "soak.json"
    words = [str(ghostnet.folder), str(pictures), "--soak", "1500", "--output", str(output)]
    assert bench.main(words) in (0, 1)  # 1 where memory grew, which so few requests cannot tell
    found = json.loads(output.read_text())
    assert (found["wrong"], found["lost"], found["busy"]) == (0, 0, 0), found["sentences"]
    assert found["right"] == 1500 - 1500 // 50
    assert "right" in capsys.readouterr().out


def test_the_commands_of_the_readme_are_accepted() -> None:
    readme = Path(bench.__file__).with_name("README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    python deploy/serving/bench.py (.*)$", readme, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert callable(bench.build_parser().parse_args(shlex.split(command)).run)


def test_requests_are_http(good: dict[Request, Expected], pictures: Path) -> None:
    head, _, body = next(iter(good)).content.partition(b"\r\n\r\n")
    assert head.splitlines()[0].decode() == f"POST {PATH} HTTP/1.1"
    assert f"Content-Length: {len(body)}".encode() in head
    keys, values = request_of([(pictures / "0.jpg").read_bytes()])
    assert json.loads(body) == {"key": keys, "value": values}
