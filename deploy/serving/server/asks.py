"""What a client may ask, what it is told, and why it is refused. Strings in, checked values out.

Nothing of a request becomes a path, a command or code: pictures are bytes, the rest is matched against what
is known. No Paddle Serving.
"""

from __future__ import annotations

import binascii
import enum
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ppghost.vision import Prediction

SERVICE = "ghostnet"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PICTURE_KEY = re.compile(r"image(_[0-9]{1,4})?")
_TOP_K = re.compile(r"[0-9]{1,7}")
_ENVELOPE = frozenset({"key", "value", "tensors", "name", "method", "logid", "clientip"})
_SHOWN = 40


class Code(enum.Enum):
    """Why there is no answer: Paddle Serving's `err_no` (in its ranges), and the status of HTTP."""

    MALFORMED = (5000, 400)
    TOO_LARGE = (5001, 413)
    BROKEN_PICTURE = (5002, 400)
    NO_SUCH_PATH = (5003, 404)
    WRONG_METHOD = (5004, 405)
    NO_LENGTH = (5005, 411)
    ENCODED = (5006, 415)
    TOO_SLOW = (6001, 408)
    NO_ANSWER = (6000, 504)
    BUSY = (3004, 503)
    STOPPING = (3001, 503)
    DEFECT = (10000, 500)

    def __init__(self, err_no: int, status: int) -> None:
        self.err_no = err_no
        self.status = status


class RefusalError(Exception):
    """A request that gets no answer, with the code and the sentence that it gets instead."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass
class Ask:
    """One request on its way through the pipeline, which fills in the last attributes.

    Attributes:
        request_id: names it in the log and in the answer.
        pictures: the bytes of the picture files.
        top_k: how many classes to name for each picture.
        predictions: the answer, for each picture the best classes first.
        refusal: why there is none.
        times_ms: how long it waited and was worked on.
        entered: when it came into the pipeline, by `time.perf_counter`.
    """

    request_id: str
    pictures: Sequence[bytes]
    top_k: int
    predictions: Sequence[Sequence[Prediction]] = ()
    refusal: Optional[RefusalError] = None
    times_ms: dict[str, float] = field(default_factory=dict)
    entered: float = 0.0


@dataclass(frozen=True)
class Rules:
    """What the values of a request are checked against.

    Attributes:
        pictures: the most in one request.
        classes: how many the network has, the largest top_k.
        top_k: what counts where a request says nothing.
    """

    pictures: int
    classes: int
    top_k: int


def make_request_id(given: Optional[str]) -> str:
    """Return the id that a client gave if it is well-formed, else a new one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def parse_body(body: bytes) -> tuple[Sequence[str], Sequence[str]]:
    """Return the keys and values of an HTTP body.

    Raises:
        RefusalError: it is no JSON object with two lists of strings.
    """
    try:
        tree = json.loads(body)
    except RecursionError:
        raise RefusalError(Code.MALFORMED, "The body is JSON nested too deeply.") from None
    except ValueError as error:
        raise RefusalError(Code.MALFORMED, f"The body is no JSON ({_fault(error)}). {_FORM}") from None
    if not isinstance(tree, dict):
        raise RefusalError(Code.MALFORMED, f"The body is JSON, but no object. {_FORM}")
    unknown = [name for name in tree if name not in _ENVELOPE]
    if unknown:
        raise RefusalError(Code.MALFORMED, f"The body has the unknown field {_shown(unknown[0])}. {_FORM}")
    if tree.get("tensors"):
        raise RefusalError(Code.MALFORMED, f"tensors are not accepted. {_FORM}")
    check_name(tree.get("name") or "")
    return _strings(tree, "key"), _strings(tree, "value")


def _fault(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"at byte {error.pos}"
    return "no UTF-8" if isinstance(error, UnicodeDecodeError) else "a number in it is too long"


def check_name(name: object) -> None:
    """Make sure that the service that a client names is this one; "" names none.

    Raises:
        RefusalError: it is another one.
    """
    if name not in ("", SERVICE):
        raise RefusalError(
            Code.NO_SUCH_PATH, f"The service {_shown(name)} is not here; accepted: '{SERVICE}'."
        )


def _strings(tree: Mapping[str, Any], name: str) -> Sequence[str]:
    values = tree.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RefusalError(Code.MALFORMED, f"'{name}' is no list of strings. {_FORM}")
    return values


def read_ask(keys: Sequence[str], values: Sequence[str], request_id: str, rules: Rules) -> Ask:
    """Return what a client asks for.

    Args:
        keys: "image" or "image_<number>" for each picture, in order; "top_k" at most once.
        values: base64 of a picture file, or a whole number.
        request_id: names the request.
        rules: see there.

    Raises:
        RefusalError: a key is unknown, a value cannot be read, or there are too many.
    """
    if len(keys) != len(values) or not keys:
        raise RefusalError(
            Code.MALFORMED, f"There are {len(keys)} keys and {len(values)} values; accepted: as many. {_FORM}"
        )
    top_k, encoded = None, []
    for key, value in zip(keys, values):
        if _PICTURE_KEY.fullmatch(key):
            encoded.append((key, value))
        elif key == "top_k" and top_k is None:
            top_k = _read_top_k(value, rules.classes)
        else:
            raise RefusalError(Code.MALFORMED, f"The key {_shown(key)} is unknown or comes twice. {_FORM}")
    if not encoded:
        raise RefusalError(Code.MALFORMED, f"There is no picture in the request. {_FORM}")
    if len(encoded) > rules.pictures:
        raise RefusalError(
            Code.TOO_LARGE, f"The request has {len(encoded)} pictures; accepted: {rules.pictures} at once."
        )
    pictures = [_decode(key, value, place) for place, (key, value) in enumerate(encoded, start=1)]
    return Ask(request_id, pictures, rules.top_k if top_k is None else top_k)


def _read_top_k(value: str, classes: int) -> int:
    if not _TOP_K.fullmatch(value) or not 1 <= int(value) <= classes:
        raise RefusalError(
            Code.MALFORMED, f"top_k is {_shown(value)}; accepted: a whole number, 1 to {classes}."
        )
    return int(value)


def _decode(key: str, value: str, place: int) -> bytes:
    """Return the bytes of a base64 text; line breaks in it are left out."""
    picture = _decode_strictly(value)
    if picture is None:
        picture = _decode_strictly("".join(value.split()))
    if picture is None:
        raise RefusalError(
            Code.MALFORMED,
            f"Picture {place} ('{key}') is no base64; accepted: the standard alphabet with its padding.",
        )
    if not picture:
        raise RefusalError(Code.BROKEN_PICTURE, f"Picture {place} ('{key}') is empty (0 bytes).")
    return picture


def _decode_strictly(value: str) -> Optional[bytes]:
    """Return the bytes of a base64 text, None where it is none."""
    try:
        data = binascii.a2b_base64(value)
    except ValueError:  # binascii.Error, and characters that are no ASCII
        return None
    # Characters outside the alphabet are skipped there: then fewer bytes come out than the length promises.
    padding = 2 if value.endswith("==") else int(value.endswith("="))
    return data if len(data) == len(value) // 4 * 3 - padding and len(value) % 4 == 0 else None


def answer_text(ask: Ask, model: Mapping[str, str]) -> str:
    """Return the JSON text of an answer: model, request_id, predictions, times_ms.

    Raises:
        RefusalError: there is none.
    """
    if ask.refusal is not None:
        raise ask.refusal
    predictions = [
        {"top_k": [{"class_id": one.class_id, "label": one.label, "score": one.score} for one in best]}
        for best in ask.predictions
    ]
    times = {name: round(value, 3) for name, value in ask.times_ms.items()}
    tree = {"model": model, "request_id": ask.request_id, "predictions": predictions, "times_ms": times}
    return json.dumps(tree, ensure_ascii=False)


def _shown(text: object) -> str:
    """Return a client's word as it may stand in a sentence: short, printable, in quotes."""
    given = str(text) if isinstance(text, (str, int, float)) else type(text).__name__
    return ascii(given if len(given) <= _SHOWN else given[:_SHOWN] + "...")


_FORM = (
    'Accepted: {"key": ["image"], "value": ["<base64 of a picture file>"]}, for several pictures "image" '
    'again or "image_0", "image_1", ..., and "top_k" with a whole number.'
)
