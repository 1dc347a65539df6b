"""The front: HTTP in, HTTP out. Limits before work, a sentence for every refusal, health, metrics, the page.

One thread (asyncio) receives, checks and answers; it waits for the pipeline by futures, without threads.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import async_timeout
from aiohttp import web
from yarl import URL

from server.asks import (
    SERVICE,
    Ask,
    Code,
    RefusalError,
    Rules,
    answer_text,
    make_request_id,
    parse_body,
    read_ask,
)
from server.board import READY, Board
from server.gate import Gate
from server.records import LOG, tell
from server.settings import Limits

_PREDICTION = f"/{SERVICE}/prediction"
_JSON = "application/json"
# What a connection may send ahead of the answers to what it sent before.
_MOST_AHEAD = 64
_MOST_AHEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class Service:
    """What a worker serves; the front and the gRPC service share it.

    Attributes:
        begin: puts a request into the pipeline; the future gives it back with its answer or refusal.
        model: its name and version.
        info: what /info tells.
        rules: what requests are checked against.
        limits: see there.
        gate: how many may come in.
        board: where to count.
        page: the HTML page.
        logs_requests: whether each request is a line of the log.
    """

    begin: Callable[[Ask], Future[Ask]]
    model: Mapping[str, str]
    info: Mapping[str, Any]
    rules: Rules
    limits: Limits
    gate: Gate
    board: Board
    page: bytes
    logs_requests: bool

    def note(self, protocol: str, status: int, begin: float, request_id: str, **facts: object) -> None:
        """Count a request and write its line; `begin` is its start by `time.perf_counter`."""
        seconds = time.perf_counter() - begin
        self.board.count_request(protocol, status, seconds, int(str(facts.get("pictures", 0))))
        if self.logs_requests:
            tell(
                "request",
                protocol=protocol,
                status=status,
                request_id=request_id,
                ms=round(seconds * 1e3, 2),
                **facts,
            )


class Front:
    """The HTTP side of a service; `accept` is the factory of its connections."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop
        self._server = web.Server(self._handle, request_factory=self._make_request, loop=loop)
        self._paths = {
            "/": self._page,
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/info": self._info,
        }

    def accept(self) -> asyncio.Protocol:
        """Return the protocol of a new connection; beyond the limit one that refuses."""
        if len(self._server.connections) >= self._service.limits.connections:
            return _Full()
        return _Connection(self._server, self._loop, self._service.limits, self._count)

    def _count(self) -> None:
        self._service.board.set_connections(len(self._server.connections))

    def _make_request(self, message: Any, *parts: Any) -> web.BaseRequest:
        size = self._service.limits.request_bytes
        try:
            return web.BaseRequest(message, *parts, self._loop, client_max_size=size)
        except ValueError:  # a whole URL whose port is none: there is nothing at such a place
            message = message._replace(url=URL("/-"))
            return web.BaseRequest(message, *parts, self._loop, client_max_size=size)

    async def close(self) -> None:
        """Close every connection."""
        await self._server.shutdown(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection), "accept makes no others"
        connection.has_asked()
        try:
            if request.path == _PREDICTION:
                response = await self._predict(request)
            else:
                response = self._other(request)
        finally:
            connection.may_ask()
        if self._service.gate.is_closing:
            response.force_close()
        return response

    async def _predict(self, request: web.BaseRequest) -> web.Response:
        begin = time.perf_counter()
        request_id = make_request_id(request.headers.get("X-Request-Id"))
        facts: dict[str, Any] = {}
        try:
            text = await self._answer(request, request_id, facts)
            body, status = _envelope(text), 200
        except RefusalError as refusal:
            body, status = _refusal(refusal), refusal.code.status
            facts.update(err_no=refusal.code.err_no, err_msg=refusal.sentence)
        except (ConnectionError, asyncio.CancelledError):
            tell("client went away", request_id=request_id)
            raise
        except Exception:  # noqa: BLE001 - the last door: a defect is a line of the log and an answer
            LOG.exception("defect", extra={"fields": {"request_id": request_id}})
            defect = RefusalError(Code.DEFECT, "The server failed; its log tells more.")
            body, status = _refusal(defect), defect.code.status
        self._service.note("http", status, begin, request_id, **facts)
        response = web.Response(
            body=body, status=status, content_type=_JSON, headers={"X-Request-Id": request_id}
        )
        if status == 503:
            response.headers["Retry-After"] = "1"
        if status in (408, 413):
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest, request_id: str, facts: dict[str, Any]) -> str:
        service, limits = self._service, self._service.limits
        size = _check_head(request, limits)
        facts["bytes"] = size
        with service.gate.receiving(size):
            body = await _receive(request, limits.body_seconds)
            keys, values = parse_body(body)
            ask = read_ask(keys, values, request_id, service.rules)
            facts["pictures"] = len(ask.pictures)
            service.gate.enter(is_received=True)
        future = asyncio.wrap_future(_begin_and_leave(service, ask), loop=self._loop)
        # Not wait_for: it would cancel the future, which the pipeline settles in any case.
        if not (await asyncio.wait({future}, timeout=limits.answer_seconds))[0]:
            raise RefusalError(
                Code.NO_ANSWER, f"There was no answer within {limits.answer_seconds:g} seconds. Try again."
            )
        return answer_text(future.result(), service.model)

    def _other(self, request: web.BaseRequest) -> web.Response:
        handler = self._paths.get(request.path)
        if handler is None:
            accepted = ", ".join((_PREDICTION, *self._paths))
            return _plain_refusal(
                RefusalError(Code.NO_SUCH_PATH, f"There is nothing here. Accepted: {accepted}.")
            )
        if request.method not in ("GET", "HEAD"):
            return _plain_refusal(RefusalError(Code.WRONG_METHOD, "Accepted here: GET."))
        return handler()

    def _page(self) -> web.Response:
        headers = {"X-Content-Type-Options": "nosniff"}  # what it may load it says itself
        return web.Response(
            body=self._service.page, content_type="text/html", charset="utf-8", headers=headers
        )

    def _alive(self) -> web.Response:
        return web.Response(text="alive\n")

    def _ready(self) -> web.Response:
        states = self._service.board.states()
        ready = states.count(READY)
        is_ready = ready == len(states) and not self._service.gate.is_closing
        return web.Response(
            text=f"{ready} of {len(states)} workers are ready\n", status=200 if is_ready else 503
        )

    def _metrics(self) -> web.Response:
        text = self._service.board.exposition(dict(self._service.model))
        return web.Response(
            body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    def _info(self) -> web.Response:
        return web.Response(body=json.dumps(self._service.info).encode(), content_type=_JSON)


def _begin_and_leave(service: Service, ask: Ask) -> Future[Ask]:
    """Begin a request, whose place is given back when it is done, even when nobody waits any more."""
    try:
        future = service.begin(ask)
    except BaseException:
        service.gate.leave()
        raise
    future.add_done_callback(lambda _: service.gate.leave())
    return future


def _check_head(request: web.BaseRequest, limits: Limits) -> int:
    """Return the length of the body that is to come.

    Raises:
        RefusalError: it is too long, or not known.
    """
    if request.method != "POST":
        raise RefusalError(Code.WRONG_METHOD, "Accepted here: POST.")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise RefusalError(
            Code.ENCODED, "Accepted: a body without Content-Encoding; base64 does not compress."
        )
    size = request.content_length
    if size is None:
        raise RefusalError(Code.NO_LENGTH, "Accepted: a body with Content-Length.")
    if size > limits.request_bytes:
        raise RefusalError(
            Code.TOO_LARGE,
            f"The body has {size} bytes; accepted: {limits.request_bytes}. Send fewer pictures.",
        )
    return size


async def _receive(request: web.BaseRequest, seconds: float) -> bytes:
    try:
        async with async_timeout.timeout(seconds):
            return await request.read()
    except asyncio.TimeoutError:
        raise RefusalError(Code.TOO_SLOW, f"The body did not come within {seconds:g} seconds.") from None


def _envelope(text: str) -> bytes:
    tree = {"err_no": 0, "err_msg": "", "key": ["result"], "value": [text], "tensors": []}
    return json.dumps(tree, ensure_ascii=False).encode()


def _refusal(refusal: RefusalError) -> bytes:
    tree = {"err_no": refusal.code.err_no, "err_msg": refusal.sentence, "key": [], "value": [], "tensors": []}
    return json.dumps(tree).encode()


def _plain_refusal(refusal: RefusalError) -> web.Response:
    return web.Response(body=_refusal(refusal), status=refusal.code.status, content_type=_JSON)


class _Connection(web.RequestHandler):
    """A connection that does not wait for ever: for headers, nor between requests."""

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        count: Callable[[], None],
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,
            keepalive_timeout=limits.idle_seconds,
            auto_decompress=False,
            lingering_time=2.0,
            logger=logging.getLogger("ppghost.serving.connection"),
        )
        self._limits = limits
        self._count = count
        self._alarm: Optional[asyncio.TimerHandle] = None
        self._is_new = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first headers."""
        super().connection_made(transport)
        self._count()
        self._alarm = self._call_later(self._limits.header_seconds)

    def connection_lost(self, error: Optional[BaseException]) -> None:
        """Stop waiting."""
        self.has_asked()
        super().connection_lost(error)
        self._count()

    def data_received(self, data: bytes) -> None:
        """Read requests; a connection that sends many and does not wait for answers ends after the next one.

        aiohttp keeps all that is sent ahead, without a limit, in `_messages` or (behind an Upgrade) in
        `_message_tail`, and lets a URL pass that its own URL class then refuses.
        """
        try:
            super().data_received(data)
        except ValueError:
            self._refuse(RefusalError(Code.MALFORMED, "The address of the request is no URL."))
        if len(self._messages) > _MOST_AHEAD or len(self._message_tail) > _MOST_AHEAD_BYTES:
            while len(self._messages) > 1:
                self._messages.pop()
            self.close()

    def has_asked(self) -> None:
        """Note that headers came whole."""
        self._is_new = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def may_ask(self) -> None:
        """Wait for the next request."""
        if self.transport is not None:
            self._alarm = self._call_later(self._limits.idle_seconds)

    def _call_later(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self._is_new:
            self._refuse(RefusalError(Code.TOO_SLOW, "The headers did not come in time."))
        self.force_close()

    def _refuse(self, refusal: RefusalError) -> None:
        """Answer what is no request, and close."""
        if self.transport is not None:
            self.transport.write(_raw(refusal))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: Optional[BaseException] = None,
        message: Optional[str] = None,
    ) -> web.StreamResponse:
        """Return our form of an answer for what is no HTTP, and for defects."""
        self.has_asked()
        if status < 500:
            refusal = RefusalError(
                Code.MALFORMED, "The request is no HTTP that is accepted here (lines of at most 8 KB)."
            )
        else:
            LOG.error("defect", exc_info=exc)
            refusal = RefusalError(Code.DEFECT, "The server failed; its log tells more.")
        response = _plain_refusal(refusal)
        response.force_close()
        return response


class _Full(asyncio.Protocol):
    """A connection beyond the limit: told so, and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse."""
        assert isinstance(transport, asyncio.WriteTransport), "TCP"
        transport.write(
            _raw(RefusalError(Code.BUSY, "The server is busy: it has as many connections as it takes."))
        )
        transport.close()


def _raw(refusal: RefusalError) -> bytes:
    """Return an answer as it goes over the wire where no request could be read."""
    body = _refusal(refusal)
    head = f"HTTP/1.1 {refusal.code.status} {refusal.code.name}\r\nContent-Type: {_JSON}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def read_page() -> bytes:
    """Return the page that lies beside the server."""
    return (Path(__file__).parents[1] / "page" / "index.html").read_bytes()
