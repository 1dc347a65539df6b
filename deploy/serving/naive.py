"""The service as one would write it in an afternoon: one request, one run. bench.py measures against it.

    python deploy/serving/naive.py FOLDER --port 18090
    python deploy/serving/naive.py FOLDER --port 18090 --engine onednn

A thread for each connection decodes, and one network takes the pictures one after the other, with all
processors for each. It speaks the service's protocol and shows its page, and has nothing of what makes it a
service: no batches, no limit, no probes, no metrics, no log. It is no server for users.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import http.server
import json
import sys
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "ppghost").is_dir():
    sys.path.insert(1, str(ROOT))  # a checkout; the installed package finds itself

import cv2  # noqa: E402 - the checkout must be found first, here and below
import numpy as np  # noqa: E402
from protocol import MALFORMED, RESULT_KEY  # noqa: E402

from ppghost.artifact import read_artifact  # noqa: E402
from ppghost.cli.program import count, run_verb  # noqa: E402
from ppghost.errors import DataError  # noqa: E402
from ppghost.machine import usable_processors  # noqa: E402
from ppghost.predict import Classifier, Predictor  # noqa: E402

PAGE = Path(__file__).resolve().parent / "page" / "index.html"


class _OneAtATime:
    """A network that lets one thread at a time to it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._turn = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with self._turn:
            return self._predictor(images)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._predictor.__exit__(kind, error, traceback)


class Naive(http.server.ThreadingHTTPServer):
    """The server; its network is warm.

    Args:
        address: host and port; port 0 takes a free one.
        folder: the exported network.
        engine: what runs it; None for the usual one.
        threads: processors for a run.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], folder: Path, engine: Optional[str], threads: int) -> None:
        artifact = read_artifact(folder)
        self.classifier = Classifier.from_artifact(folder, engine=engine, threads=threads)
        self.classifier.predictor(np.zeros((1, *artifact.facts.input_shape), np.float32))
        self.classifier.predictor = _OneAtATime(self.classifier.predictor)
        self.model = {"name": artifact.facts.name, "version": artifact.facts.version}
        self.info = {"model": self.model, "transform_ops": artifact.pipeline.to_list()}
        super().__init__(address, Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: Naive
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one write, one packet

    def do_GET(self) -> None:
        """Send the page, or what the page wants to know."""
        if self.path == "/":
            self._send(HTTPStatus.OK, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path == "/info":
            self._send(HTTPStatus.OK, json.dumps(self.server.info).encode("utf-8"), "application/json")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"There is no such page.\n", "text/plain")

    def do_POST(self) -> None:
        """Classify the pictures of a request."""
        started = time.perf_counter()
        try:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pictures = [base64.b64decode(value, validate=True) for value in request["value"]]
            predictions = [
                {"top_k": [vars(found) for found in self.server.classifier.classify_one(picture)]}
                for picture in pictures
            ]
        except (KeyError, TypeError, AttributeError, ValueError, binascii.Error, DataError) as error:
            self._tell(HTTPStatus.BAD_REQUEST, MALFORMED, str(error) or repr(error), None)
            return
        took_ms = 1000 * (time.perf_counter() - started)
        result = {
            "model": self.server.model,
            "request_id": "",
            "predictions": predictions,
            "times_ms": {"total": took_ms},
        }
        self._tell(HTTPStatus.OK, 0, "", result)

    def _tell(self, status: HTTPStatus, number: int, message: str, result: Optional[dict[str, Any]]) -> None:
        texts = [] if result is None else [json.dumps(result, ensure_ascii=False)]
        told = {"err_no": number, "err_msg": message, "key": [RESULT_KEY] * len(texts), "value": texts}
        self._send(status, json.dumps(told).encode("utf-8"), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *words: object) -> None:
        """Log nothing: it would cost the baseline time."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the program's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="an exported folder")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=18090, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--engine", help="as of `ppghost infer` (default: the usual one)")
    parser.add_argument(
        "--threads", type=count, default=usable_processors(), help="of a run (default: %(default)s)"
    )
    parser.set_defaults(run=serve)
    return parser


def serve(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    cv2.setNumThreads(1)
    with Naive((options.host, options.port), options.folder, options.engine, options.threads) as server:
        url = f"http://{options.host}:{server.server_port}"
        print(json.dumps({"event": "ready", "http": url}), flush=True)
        server.serve_forever()
    return 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
