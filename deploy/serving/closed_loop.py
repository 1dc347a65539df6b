"""Clients that ask a server over and over, each waiting for its answer before it asks again.

All of them live in one thread, over sockets that do not block and requests that are encoded beforehand, since
they share the processors with the server that they measure.

A program's part; the standard library alone.
"""

from __future__ import annotations

import errno
import re
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Callable, Optional

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_READ_BYTES = 1 << 18
_SILENT_S = 60.0
_HUNG_UP = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED)


@dataclass(frozen=True)
class Request:
    """One thing that a client does.

    Attributes:
        name: for reports.
        content: the bytes to send, HTTP head included.
        leaves_after: hang up after so many bytes and wait for no answer; None waits.
    """

    name: str
    content: bytes
    leaves_after: Optional[int] = None


def http_request(path: str, body: bytes, headers: str = "") -> bytes:
    """Return a POST with its head."""
    head = f"POST {path} HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body


@dataclass
class Measured:
    """What came of a closed loop.

    Attributes:
        latencies_s: of each answered request, from its first byte sent to the last of its answer.
        seconds: how long the loop ran.
        cpu_s: processor time of the clients.
        lost: requests whose connection ended without an answer, by name.
    """

    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_s: float = 0.0
    lost: dict[str, int] = field(default_factory=dict)


Check = Callable[[Request, int, bytes], None]


class _Client:
    """One connection and what it is doing."""

    def __init__(self, address: tuple[str, int], loop: _Loop) -> None:
        self._address = address
        self._loop = loop
        self._line: Optional[socket.socket] = None
        self._request: Optional[Request] = None

    def ask(self, request: Optional[Request]) -> None:
        """Begin a request, or hang up for None."""
        self._request = request
        if request is None:
            self._hang_up()
            return
        self._answer = bytearray()
        self._needed: Optional[int] = None
        self._unsent = memoryview(request.content)[: request.leaves_after]
        self.started = time.perf_counter()
        if self._line is None:
            self._line = socket.create_connection(self._address)
            self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._line.setblocking(False)
            self._loop.selector.register(self._line, selectors.EVENT_READ, self)
        self._send()

    def handle(self, events: int) -> None:
        """Go on where the socket is ready."""
        if events & selectors.EVENT_WRITE:
            self._send()
        if events & selectors.EVENT_READ and self._line is not None:
            self._receive()

    def _send(self) -> None:
        assert self._line is not None
        assert self._request is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[self._line.send(self._unsent) :]
        except BlockingIOError:
            self._loop.selector.modify(self._line, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
            return
        except OSError as error:
            if error.errno not in _HUNG_UP:
                raise
            self._unsent = self._unsent[:0]  # a server that refuses early may have answered already
        if self._request.leaves_after is not None:
            self._hang_up()
            self._loop.left(self)
        else:
            self._loop.selector.modify(self._line, selectors.EVENT_READ, self)

    def _receive(self) -> None:
        assert self._line is not None
        try:
            read = self._line.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in _HUNG_UP:
                raise
            read = b""
        self._answer += read
        if self._needed is None:
            self._read_head()
        if self._needed is not None and len(self._answer) >= self._needed:
            self._finish()
        elif not read:
            self._hang_up()
            self._loop.lost(self, self._request)

    def _read_head(self) -> None:
        end = self._answer.find(_HEAD_END)
        if end >= 0:
            length = _LENGTH.search(self._answer, 0, end)
            if length is None:
                raise ValueError(f"An answer has no length: {bytes(self._answer[:end])!r}")
            self._body = end + len(_HEAD_END)
            self._needed = self._body + int(length[1])

    def _finish(self) -> None:
        assert self._request is not None
        status = int(self._answer[9:12])
        body = bytes(self._answer[self._body : self._needed])
        # What is not sent any more would be taken for the next request.
        if self._unsent or _CLOSES.search(self._answer, 0, self._body):
            self._hang_up()
        self._loop.answered(self, self._request, status, body)

    def _hang_up(self) -> None:
        if self._line is not None:
            self._loop.selector.unregister(self._line)
            self._line.close()
            self._line = None


class _Loop:
    """The clients of one measurement."""

    def __init__(self, requests: Iterator[Request], check: Check, until: float) -> None:
        self.selector = selectors.DefaultSelector()
        self.measured = Measured()
        self.busy = 0
        self._requests = requests
        self._check = check
        self._until = until

    def next(self, client: _Client) -> None:
        """Let a client go on, or end."""
        request = next(self._requests, None) if time.perf_counter() < self._until else None
        self.busy -= request is None
        client.ask(request)

    def answered(self, client: _Client, request: Request, status: int, body: bytes) -> None:
        self.measured.latencies_s.append(time.perf_counter() - client.started)
        self._check(request, status, body)
        self.next(client)

    def lost(self, client: _Client, request: Optional[Request]) -> None:
        if request is not None:
            self.measured.lost[request.name] = self.measured.lost.get(request.name, 0) + 1
            self.next(client)

    def left(self, client: _Client) -> None:
        self.next(client)


def run_clients(
    address: tuple[str, int],
    requests: Iterable[Request],
    check: Check,
    *,
    clients: int,
    seconds: float = float("inf"),
) -> Measured:
    """Let clients ask until the requests or the seconds are used up; requests under way are waited for.

    Args:
        address: host and port.
        requests: taken by whichever client is free.
        check: called with each request, the status and the body of its answer.
        clients: how many ask at the same time.
        seconds: after which no further request begins.

    Raises:
        OSError: the server cannot be reached.
        TimeoutError: no client got anything for a minute.
        ValueError: an answer is no HTTP with a length.
    """
    started, cpu = time.perf_counter(), time.process_time()
    loop = _Loop(iter(requests), check, started + seconds)
    with loop.selector:
        everyone = [_Client(address, loop) for _ in range(clients)]
        loop.busy = clients
        try:
            for client in everyone:
                loop.next(client)
            while loop.busy:
                ready = loop.selector.select(_SILENT_S)
                if not ready:
                    raise TimeoutError(f"{address[0]}:{address[1]} said nothing for {_SILENT_S:g} s.")
                for key, events in ready:
                    key.data.handle(events)
        finally:
            for client in everyone:
                client.ask(None)
    loop.measured.seconds = time.perf_counter() - started
    loop.measured.cpu_s = time.process_time() - cpu
    return loop.measured
