"""The wire format of Protocol Buffers: fields of a message, read and written without a schema.

Source: the encoding's public description. Imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Union

Value = Union[int, memoryview]
"""A number, or the bytes of a text, a message or a fixed-width number."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


def read_fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield the number and the content of each field of a message.

    Raises:
        ValueError: a field or a number is cut off, or of a kind that does not exist.
    """
    for number, value, _ in read_pieces(data):
        yield number, value


def read_pieces(data: memoryview) -> Iterator[tuple[int, Value, memoryview]]:
    """Yield the number, the content and the whole encoding of each field of a message.

    Raises:
        ValueError: a field or a number is cut off, or of a kind that does not exist.
    """
    position = 0
    while position < len(data):
        start = position
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, value, data[start:position]
            continue
        if kind == _BYTES:
            length, position = _varint(data, position)
        elif kind in _WIDTHS:
            length = _WIDTHS[kind]
        else:
            raise ValueError(f"a field of kind {kind}")
        if position + length > len(data):
            raise ValueError(f"a field of {length} bytes where {len(data) - position} are left")
        yield key >> 3, data[position : position + length], data[start : position + length]
        position += length


def as_bytes(value: Value) -> memoryview:
    """Return the content of a field that is a message or a text.

    Raises:
        ValueError: it is a number.
    """
    if isinstance(value, int):
        raise ValueError("a number where a message must be")  # noqa: TRY004 - the file is wrong, not a type
    return value


def as_text(value: Value) -> str:
    """Return the content of a field that is a text; bytes that are no UTF-8 are replaced.

    Raises:
        ValueError: it is a number.
    """
    return bytes(as_bytes(value)).decode("utf-8", "replace")


def field(number: int, value: Union[int, bytes]) -> bytes:
    """Return the encoding of a field: a number from 0, or bytes with their length."""
    if isinstance(value, int):
        return _encoded(number << 3 | _VARINT) + _encoded(value)
    return _encoded(number << 3 | _BYTES) + _encoded(len(value)) + value


def message(fields: Iterable[tuple[int, Union[int, bytes]]]) -> bytes:
    """Return the encoding of a message."""
    return b"".join(field(number, value) for number, value in fields)


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the number that begins at `position`, and where it ends."""
    number = shift = 0
    while True:
        if position == len(data):
            raise ValueError("a number that is cut off")
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _encoded(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
