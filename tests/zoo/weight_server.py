"""A real HTTP server on 127.0.0.1 whose misbehaviour a test can choose."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Shelf:
    """What the server offers and what it was asked.

    Attributes:
        files: path -> content.
        etag: version it claims for every file; empty for none.
        statuses: answers given before the server comes to its senses, oldest first.
        cuts: numbers of bytes after which it breaks the connection, oldest first.
        html: answer every request with a log-in page.
        asked: set when the first request has come.
        may_answer: cleared by a test that wants the server to wait.
        requests: (path, Range header) of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"v1"'
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    html: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its server's shelf says."""

    server: Server

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        shelf = self.server.shelf
        shelf.requests.append((self.path, self.headers.get("Range", "")))
        shelf.asked.set()
        shelf.may_answer.wait(timeout=60)
        if shelf.statuses:
            self.send_error(shelf.statuses.pop(0))
        elif shelf.html:
            self.answer(200, b"<!DOCTYPE html><html><body>Please log in</body></html>")
        elif self.path not in shelf.files:
            self.send_error(404)
        else:
            self.serve(shelf.files[self.path])

    def serve(self, content: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match and self.headers.get("If-Range") == self.server.shelf.etag else 0
        if match and start >= len(content):
            self.send_error(416)
        else:
            self.answer(206 if start else 200, content, start)

    def answer(self, status: int, content: bytes, start: int = 0) -> None:
        shelf = self.server.shelf
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) - start))
        if shelf.etag:
            self.send_header("ETag", shelf.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : start + shelf.cuts.pop(0)] if shelf.cuts else content[start:])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class Server(http.server.ThreadingHTTPServer):
    """A server with a shelf."""

    shelf: Shelf


@contextmanager
def serving() -> Iterator[Shelf]:
    """Run the server for the length of a `with` block."""
    shelf = Shelf()
    shelf.may_answer.set()
    server = Server(("127.0.0.1", 0), Handler)
    server.shelf = shelf
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    shelf.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield shelf
    finally:
        shelf.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()
