"""The service's protocol from the client's side: pictures to an answer, over HTTP or gRPC.

Both carry Paddle Serving's pipeline messages: lists of keys and values there, an error number, a message and
lists again back. HTTP needs the standard library alone; gRPC needs grpcio, and no Paddle Serving: the two
messages are encoded here, field by field.

A program's part; imports only the ground floor.

Source: pipeline_service.proto of paddle_serving_server 0.9.0 for the field numbers.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from ppghost import protobuf
from ppghost.errors import ConfigError, GhostError, ToolMissingError
from ppghost.results import printable
from ppghost.vision import Prediction

PATH = "/ghostnet/prediction"
GRPC_METHOD = "/baidu.paddle_serving.pipeline_serving.PipelineService/inference"
RESULT_KEY = "result"
# An answer for 1,000 pictures is smaller; what is longer is none of ours.
MOST_ANSWER_BYTES = 64 << 20
_BUSY_STATUSES = (http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE)

# Error numbers of the service, as far as a client acts on them.
SHUTTING_DOWN, BUSY = 3001, 3004
MALFORMED, TOO_LARGE, BROKEN_PICTURE = 5000, 5001, 5002

Told = Mapping[str, Any]


class ServiceError(GhostError):
    """The service cannot be reached, or its answer cannot be used."""

    exit_code = 1


class BusyError(ServiceError):
    """The service has as many requests as it takes; the same one may be sent again later."""


class RefusedError(GhostError):
    """The service refuses the request; the message is the service's own sentence."""


@dataclass(frozen=True)
class Answer:
    """What the service says about the pictures of one request.

    Attributes:
        model: the network's name.
        version: the artifact's version.
        request_id: under which the service logged the request.
        predictions: for each picture its classes, best first.
    """

    model: str
    version: str
    request_id: str
    predictions: tuple[tuple[Prediction, ...], ...]


def request_of(pictures: Sequence[bytes]) -> tuple[list[str], list[str]]:
    """Return keys and values of a request: `image` for one picture, `image_0`, `image_1`... for several."""
    values = [base64.b64encode(picture).decode("ascii") for picture in pictures]
    keys = ["image"] if len(values) == 1 else [f"image_{index}" for index in range(len(values))]
    return keys, values


def answer_of(told: Told, count: int) -> Answer:
    """Return what a response says.

    Args:
        told: `err_no`, `err_msg`, `key` and `value` of the response.
        count: how many pictures were sent.

    Raises:
        BusyError: the service is busy.
        RefusedError: it cannot or will not classify these pictures.
        ServiceError: it failed, or the response is of another form.
    """
    number, message = told.get("err_no"), printable(str(told.get("err_msg")))
    if number in (BUSY, SHUTTING_DOWN):
        raise BusyError(f"The service is busy: {message}")
    if number in (MALFORMED, TOO_LARGE, BROKEN_PICTURE):
        raise RefusedError(message)
    if number != 0:
        raise ServiceError(f"The service answers with error {number}: {message}")
    try:
        text = told["value"][told["key"].index(RESULT_KEY)]
        result = json.loads(text)
        predictions = tuple(tuple(map(_prediction, one["top_k"])) for one in result["predictions"])
        model = result["model"]
        answer = Answer(
            str(model["name"]), str(model["version"]), str(result.get("request_id", "")), predictions
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ServiceError(f"The service's answer cannot be read ({error!r}). Is it ghostnet's?") from error
    if len(predictions) != count:
        raise ServiceError(f"The service answered for {len(predictions)} pictures; {count} were sent.")
    return answer


def _prediction(found: Mapping[str, Any]) -> Prediction:
    score = float(found["score"])
    if not 0 <= score <= 1 or not math.isfinite(score):
        raise ValueError(f"{score} is no probability")
    label = found["label"]
    return Prediction(int(found["class_id"]), None if label is None else str(label), score)


class Connection(Protocol):
    """A way to the service; serves one thread at a time."""

    def ask(self, keys: Sequence[str], values: Sequence[str]) -> Told:
        """Send a request and return the response.

        Raises:
            BusyError: the service is busy.
            ServiceError: it cannot be reached, or answers something else.
        """
        ...

    def close(self) -> None:
        """Hang up."""
        ...


def connect(server: str, timeout_s: float) -> Connection:
    """Return a connection to a service; nothing is sent yet.

    Args:
        server: `http://host:port`, `https://...` or `grpc://host:port`. A path of it
            replaces `/ghostnet/prediction`.
        timeout_s: how long to wait for an answer.

    Raises:
        ConfigError: `server` is no such address.
        ToolMissingError: gRPC is wanted and grpcio is not installed.
    """
    address = urlsplit(server)
    try:
        is_accepted = address.scheme in ("http", "https", "grpc") and bool(address.hostname)
        port = address.port
    except ValueError:
        is_accepted, port = False, None
    if not is_accepted or (address.scheme == "grpc" and port is None):
        raise ConfigError(
            f"'{server}' is no address of a service. Accepted: http://HOST:PORT, https://HOST or "
            "grpc://HOST:PORT."
        )
    return (
        GrpcConnection(address, timeout_s) if address.scheme == "grpc" else HttpConnection(address, timeout_s)
    )


class HttpConnection:
    """One connection, kept open between requests."""

    def __init__(self, address: SplitResult, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._path = address.path if address.path not in ("", "/") else PATH
        if address.scheme == "https":
            self._line: http.client.HTTPConnection = http.client.HTTPSConnection(
                address.hostname or "", address.port, timeout=timeout_s, context=ssl.create_default_context()
            )
        else:
            self._line = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)

    def ask(self, keys: Sequence[str], values: Sequence[str]) -> Told:
        """Send a request and return the response; see `Connection`."""
        body = json.dumps({"key": list(keys), "value": list(values)}).encode("ascii")
        try:
            try:
                status, text = self._exchange(body)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # The service hung up between two requests, or a worker of it died; asking twice does no harm.
                self._line.close()
                status, text = self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            self._line.close()
            raise ServiceError(_unreachable(self._address.geturl(), self._timeout_s, error)) from error
        return self._read(status, text)

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        self._line.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = self._line.getresponse()
        text = response.read(MOST_ANSWER_BYTES)
        if not response.isclosed():
            self._line.close()
        return response.status, text

    def _read(self, status: int, text: bytes) -> Told:
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, dict) and "err_no" in told:
            return told
        # A proxy in front of the service answers in its own words.
        if status in _BUSY_STATUSES:
            raise BusyError(f"The service is busy: HTTP status {status}.")
        if status == http.client.REQUEST_ENTITY_TOO_LARGE:
            raise RefusedError("The request is larger than the way to the service admits (HTTP status 413).")
        raise ServiceError(
            f"{self._address.geturl()} answers with HTTP status {status} and no result. Is it ghostnet's "
            f"service, and is its path {self._path}?"
        )

    def close(self) -> None:
        """Hang up."""
        self._line.close()


def _unreachable(url: str, timeout_s: float, error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return f"{url} did not answer within {timeout_s:g} s. Wait longer (--timeout), or look at its log."
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return f"{url} cannot be reached ({reason}). Is the service running there? See /readyz of the same port."


class GrpcConnection:
    """One gRPC channel.

    Raises:
        ToolMissingError: grpcio is not installed.
    """

    def __init__(self, address: SplitResult, timeout_s: float) -> None:
        try:
            import grpc
        except ImportError as error:
            raise ToolMissingError(
                f"gRPC needs the package grpcio, which cannot be imported ({error}). Install it with "
                "`pip install grpcio`, or take HTTP: http://HOST:PORT"
            ) from error
        self._grpc = grpc
        self._url = address.geturl()
        self._timeout_s = timeout_s
        # The service limits what it takes; grpcio's own 4 MB stand in the way of answers for many pictures.
        limits = [("grpc.max_receive_message_length", MOST_ANSWER_BYTES)]
        self._channel = grpc.insecure_channel(address.netloc, options=limits)
        self._call = self._channel.unary_unary(
            GRPC_METHOD, request_serializer=None, response_deserializer=None
        )

    def ask(self, keys: Sequence[str], values: Sequence[str]) -> Told:
        """Send a request and return the response; see `Connection`."""
        grpc = self._grpc
        try:
            message = self._call(encode_request(keys, values), timeout=self._timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise BusyError(f"The service is busy: {error.details()}") from error
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ServiceError(_unreachable(self._url, self._timeout_s, socket.timeout())) from error
            raise ServiceError(
                f"{self._url} cannot be asked ({error.code().name}: {error.details()}). Is the service "
                "running there, and is this its gRPC port?"
            ) from error
        return decode_response(message)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


_REQUEST_KEY, _REQUEST_VALUE = 1, 2
_ERR_NO, _ERR_MSG, _RESPONSE_KEY, _RESPONSE_VALUE = 1, 2, 3, 4


def encode_request(keys: Sequence[str], values: Sequence[str]) -> bytes:
    """Return the message `Request`."""
    fields = [(_REQUEST_KEY, key) for key in keys] + [(_REQUEST_VALUE, value) for value in values]
    return protobuf.message((number, text.encode("utf-8")) for number, text in fields)


def decode_response(message: bytes) -> Told:
    """Return the message `Response` with the names that HTTP has; tensors are left out.

    Raises:
        ServiceError: it is no such message.
    """
    err_no, err_msg = 0, ""
    keys: list[str] = []
    values: list[str] = []
    try:
        for number, content in protobuf.read_fields(memoryview(message)):
            if isinstance(content, int):
                err_no = content if number == _ERR_NO else err_no
            elif number == _ERR_MSG:
                err_msg = _text(content)
            elif number in (_RESPONSE_KEY, _RESPONSE_VALUE):
                (keys if number == _RESPONSE_KEY else values).append(_text(content))
    except ValueError as error:
        raise ServiceError(f"The service's gRPC message cannot be read: {error}.") from error
    return {"err_no": err_no, "err_msg": err_msg, "key": keys, "value": values}


def _text(content: memoryview) -> str:
    """Return a text; UnicodeDecodeError, a ValueError, if it is none."""
    return bytes(content).decode("utf-8")
