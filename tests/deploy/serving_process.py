"""A server of `deploy/serving` in its isolated environment, for the tests that ask it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from ppghost.environments import SERVING, ensure_environment
from ppghost.errors import ToolMissingError

ROOT = Path(__file__).resolve().parents[2]
PATH = "/ghostnet/prediction"
SECONDS = 60.0


class Served:
    """A running server; ends with the test.

    Attributes:
        facts: what it told when it was ready.
        port: of HTTP.
    """

    def __init__(
        self, artifact: Path, folder: Path, *overrides: str, command: Optional[Sequence[str]] = None
    ) -> None:
        self.log = folder / "stderr.txt"
        folder.mkdir(parents=True, exist_ok=True)
        start = [str(python()), "-m", "server", str(artifact), "--folder", str(folder / "run")]
        given = [f"-o{override}" for override in ("http_port=0", "rpc_port=0", *overrides)]
        paths = os.pathsep.join([str(ROOT / "deploy/serving"), str(ROOT)])
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*(command or start), *given],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": paths, "PYTHON": sys.executable},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise AssertionError(self.log.read_text())
        self.facts: dict[str, Any] = json.loads(line)
        self.port = int(self.facts["http"].rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def ask(
        self,
        body: object,
        headers: Optional[Mapping[str, str]] = None,
        path: str = PATH,
        method: str = "POST",
    ) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and body (JSON or text) of one request on a connection of its own."""
        connection = self.connect()
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            text = response.read().decode()
            is_json = (response.getheader("Content-Type") or "").startswith("application/json")
            return response.status, dict(response.getheaders()), json.loads(text) if is_json else text
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a GET."""
        status, _, text = self.ask(None, path=path, method="GET")
        return status, text

    def lines(self) -> list[dict[str, Any]]:
        """Return the log; every line of it is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.stop()
        assert self.process.stdout is not None
        self.process.stdout.close()


def python() -> Path:
    """Return the interpreter of the serving environment, or skip the test."""
    try:
        return ensure_environment(SERVING)
    except ToolMissingError as error:
        pytest.skip(str(error))


def body_of(*pictures: bytes, **more: str) -> dict[str, Any]:
    """Return the body that asks for pictures."""
    values = [base64.b64encode(picture).decode() for picture in pictures]
    return {"key": ["image"] * len(values) + list(more), "value": values + list(more.values())}


def result_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a good answer holds."""
    assert (body["err_no"], body["err_msg"], body["key"]) == (0, "", ["result"]), body
    result: dict[str, Any] = json.loads(body["value"][0])
    return result


def wait_until(holds: Callable[[], bool], what: str, seconds: float = SECONDS) -> float:
    """Return after how many seconds something holds."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begin


def same_predictions(
    found: Sequence[Mapping[str, Any]], expected: Mapping[str, Any], atol: float = 1e-4
) -> None:
    """Compare the service's top-k of a picture with a line of `infer`."""
    assert [one["class_id"] for one in found] == expected["class_ids"]
    assert [one["label"] for one in found] == expected["label_names"]
    for one, score in zip(found, expected["scores"]):
        assert abs(one["score"] - score) <= atol
