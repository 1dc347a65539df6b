"""What clients send to the service, good and bad, and what it has to answer to each.

A program's part; imports only the ground floor.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from closed_loop import Request, http_request
from protocol import BROKEN_PICTURE, MALFORMED, PATH, TOO_LARGE, Answer, answer_of, request_of

from ppghost.errors import GhostError
from ppghost.vision import Prediction

TOLERANCE = 1e-4
"""Largest difference of a score from that of `ppghost infer`."""

# One in so many requests is bad; one in so many is given up halfway by its client.
BAD_EVERY, LEAVE_EVERY = 5, 50
_BOMB_SIDE = 60000


@dataclass(frozen=True)
class Expected:
    """What has to come back.

    Attributes:
        status: of HTTP.
        err_no: of the message.
        predictions: for each picture; empty for an error.
    """

    status: int
    err_no: int
    predictions: tuple[tuple[Prediction, ...], ...] = ()


def good_cases(
    pictures: Sequence[bytes], predictions: Sequence[tuple[Prediction, ...]]
) -> dict[Request, Expected]:
    """Return a request for each picture, and one for three pictures, with their answers."""
    cases = {
        _request(f"picture {index}", *request_of([picture])): Expected(200, 0, (best,))
        for index, (picture, best) in enumerate(zip(pictures, predictions))
    }
    some = slice(0, 3)
    cases[_request("several pictures", *request_of(pictures[some]))] = Expected(
        200, 0, tuple(predictions[some])
    )
    return cases


def bad_cases(picture: bytes, most_pictures: int) -> dict[Request, Expected]:
    """Return requests that the service refuses, with its status and error number.

    Args:
        picture: a whole JPEG.
        most_pictures: the service's limit for one request.
    """
    [whole] = request_of([picture])[1]
    malformed, broken = Expected(400, MALFORMED), Expected(400, BROKEN_PICTURE)
    return {
        _raw("no JSON", b"a picture, please"): malformed,
        _raw("no object", b"[1, 2]"): malformed,
        _raw("no key", b'{"value": ["aGVsbG8="]}'): malformed,
        _request("wrong key", ["../../etc/passwd\n"], [whole]): malformed,
        _request("empty value", ["image"], [""]): broken,
        _request("more keys than values", ["image", "image"], [whole]): malformed,
        _request("broken base64", ["image"], ["*" + whole[1:]]): malformed,
        _raw("a number as value", b'{"key": ["image"], "value": [7]}'): malformed,
        _request("a text file", *request_of([b"hello\n" * 20])): broken,
        _request("a truncated JPEG", *request_of([picture[: len(picture) // 2]])): broken,
        _request("a decompression bomb", *request_of([_bomb()])): broken,
        _request("too many pictures", *request_of([b"GIF89a"] * (most_pictures + 1))): Expected(
            413, TOO_LARGE
        ),
    }


def leaving_cases(request: Request) -> list[Request]:
    """Return clients that go away: in the head, in the body, and before the answer comes."""
    length = len(request.content)
    return [
        Request(f"leaves after {count} bytes", request.content, count) for count in (40, length // 2, length)
    ]


def mixed(
    good: Sequence[Request], bad: Sequence[Request], leaving: Sequence[Request], count: int
) -> Iterator[Request]:
    """Yield `count` requests in a fixed order: good ones, bad ones and clients that leave among them."""
    for index in range(count):
        if index % LEAVE_EVERY == LEAVE_EVERY - 1:
            yield leaving[index // LEAVE_EVERY % len(leaving)]
        elif index % BAD_EVERY == 0:
            yield bad[index // BAD_EVERY % len(bad)]
        else:
            yield good[index % len(good)]


def what_is_wrong(expected: Expected, status: int, body: bytes) -> Optional[str]:
    """Compare an answer with what has to come back; return None if it is right, else a sentence."""
    try:
        told: Mapping[str, Any] = json.loads(body)
    except ValueError:
        return f"status {status} and no JSON: {body[:80]!r}"
    if not isinstance(told, dict):
        return f"status {status} and no JSON object: {body[:80]!r}"
    if (status, told.get("err_no")) != (expected.status, expected.err_no):
        return (
            f"status {status}, error {told.get('err_no')} ({told.get('err_msg')}) instead of status "
            f"{expected.status}, error {expected.err_no}"
        )
    if expected.err_no:
        return None if told.get("err_msg") else "an error without a message"
    try:
        answer: Answer = answer_of(told, len(expected.predictions))
    except GhostError as error:
        return str(error)
    return next(filter(None, map(_difference, answer.predictions, expected.predictions)), None)


def _difference(found: Sequence[Prediction], wanted: Sequence[Prediction]) -> Optional[str]:
    if [one.label for one in found] != [one.label for one in wanted] or [one.class_id for one in found] != [
        one.class_id for one in wanted
    ]:
        return f"classes {[one.class_id for one in found]} instead of {[one.class_id for one in wanted]}"
    largest = max(abs(one.score - other.score) for one, other in zip(found, wanted))
    return f"a score differs by {largest:.2g}" if largest > TOLERANCE else None


def _request(name: str, keys: Sequence[str], values: Sequence[str]) -> Request:
    return _raw(name, json.dumps({"key": list(keys), "value": list(values)}).encode("ascii"))


def _raw(name: str, body: bytes) -> Request:
    return Request(name, http_request(PATH, body))


def _bomb() -> bytes:
    """Return a PNG of a few bytes that claims to be 3.6 thousand million pixels."""
    header = struct.pack(">IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
