"""What the first bytes of a picture file say: its kind and its size. Nothing is decoded here.

A decoder allocates what a header asks for, so the header is read first, by code that allocates nothing. The
size read here is the one that the decoders read: where a format can state it twice, the larger one counts.

Sources: ITU-T T.81 annex B (JPEG), PNG third edition section 11, TIFF 6.0 section 2, GIF89a, RFC 9649 (WebP),
Microsoft's BITMAPCOREHEADER and BITMAPINFOHEADER. Imports only the errors.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ppghost.errors import DataError

ACCEPTED = "JPEG, PNG, BMP, WebP, TIFF, GIF"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_APNG_CHUNKS = (b"acTL", b"fcTL", b"fdAT")
# Of a JPEG segment: any but filling bytes, 0xFF 0x00, and the markers that stand alone, 0x01 and 0xD0 to 0xD9.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xda-\xfe]")
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_WEBP_ANIMATION, _WEBP_EXIF = 0b10, 0b1000
_TIFF_SIDES = {256: "width", 257: "height", 322: "width of a tile", 323: "height of a tile"}


@dataclass(frozen=True)
class Header:
    """What a picture file says about itself.

    Attributes:
        kind: "JPEG", "PNG", "BMP", "WEBP", "TIFF" or "GIF", as Pillow calls them.
        width: pixels from left to right, before the EXIF orientation is applied.
        height: pixels from top to bottom.
        is_extended: it is animated, or a WebP file with EXIF: OpenCV's versions disagree about those.
    """

    kind: str
    width: int
    height: int
    is_extended: bool = False


def read_header(data: bytes) -> Header:
    """Return the header of a picture file.

    Raises:
        DataError: the bytes are no picture of an accepted kind, or their header is broken or cut off.
    """
    for signature, read in _READERS:
        if data.startswith(signature):
            try:
                header = read(data)
            except (struct.error, IndexError):
                raise DataError(f"The picture is truncated: {len(data)} bytes are not all of it.") from None
            if header.width < 1 or header.height < 1:
                raise DataError(f"The picture is broken: {header.width} x {header.height} pixels.")
            return header
    raise DataError(
        f"This is no picture ({len(data)} bytes, first bytes {data[:4].hex(' ')}). Accepted: {ACCEPTED}."
    )


def is_whole_jpeg(data: bytes) -> bool:
    """Say whether the end marker follows the beginning of the first scan.

    Within a scan the marker cannot occur by chance; a thumbnail's own one lies before it.
    """
    start = next((place for marker, place in _segments(data) if marker == _START_OF_SCAN), len(data))
    return data.rfind(b"\xff\xd9") > start


def without_animation(data: bytes) -> bytes:
    """Return a PNG file without its animation: the picture that a reader without APNG shows."""
    kept = [_PNG_SIGNATURE]
    kept += [data[start:end] for name, start, end in _chunks(data) if name not in _APNG_CHUNKS]
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment of a JPEG file and where its length stands, up to the first scan."""
    place = 2
    # Decoders skip what stands between segments, and so does this.
    while (found := _MARKER.search(data, place)) and found.end() + 2 <= len(data):
        place = found.end()
        marker = data[place - 1]
        yield marker, place
        if marker == _START_OF_SCAN:
            return
        place += struct.unpack_from(">H", data, place)[0]


def _jpeg(data: bytes) -> Header:
    for marker, place in _segments(data):
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, place + 3)
            return Header("JPEG", width, height)
    raise IndexError(len(data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk of a PNG file, up to its end.

    OpenCV 5.0 allocates the length that a chunk states before it looks how much is there: up to 4 GB.

    Raises:
        IndexError: the bytes end before a chunk does, or before IEND.
    """
    name, end = b"", len(_PNG_SIGNATURE)
    while name != b"IEND":
        start = end
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            raise IndexError(end)
        yield name, start, end


def _png(data: bytes) -> Header:
    name, width, height = struct.unpack_from(">4sII", data, len(_PNG_SIGNATURE) + 4)
    if name != b"IHDR":
        raise DataError("The picture is broken: a PNG file that does not begin with IHDR.")
    names = {chunk for chunk, _, _ in _chunks(data)}
    return Header("PNG", width, height, not names.isdisjoint(_APNG_CHUNKS))


def _bmp(data: bytes) -> Header:
    [size] = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("BMP", width, abs(height))  # a negative height: the rows are stored from top to bottom


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("GIF", width, height)


def _webp(data: bytes) -> Header:
    kind = data[8:16]
    if kind == b"WEBPVP8X":
        flags, width, width_high, height, height_high = struct.unpack_from("<B3xHBHB", data, 20)
        is_extended = bool(flags & (_WEBP_ANIMATION | _WEBP_EXIF))
        return Header("WEBP", (width_high << 16 | width) + 1, (height_high << 16 | height) + 1, is_extended)
    if kind == b"WEBPVP8L":
        [bits] = struct.unpack_from("<I", data, 21)
        return Header("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF)
    raise DataError(f"This is a RIFF file, but no WebP picture. Accepted: {ACCEPTED}.")


def _tiff(data: bytes) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    [place] = struct.unpack_from(order + "I", data, 4)
    [count] = struct.unpack_from(order + "H", data, place)
    # A tag that comes twice counts with the larger number. Tiles are decoded whole, so theirs counts too.
    sides = dict.fromkeys(_TIFF_SIDES.values(), 0)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, form = struct.unpack_from(order + "HH", data, entry)
        if tag not in _TIFF_SIDES:
            continue
        if form not in (3, 4):
            raise DataError(f"The picture is broken: a TIFF file whose tag {tag} is of type {form}.")
        [side] = struct.unpack_from(order + ("H" if form == 3 else "I"), data, entry + 8)
        sides[_TIFF_SIDES[tag]] = max(sides[_TIFF_SIDES[tag]], side)
    if not sides["width"] or not sides["height"]:
        return Header("TIFF", sides["width"], sides["height"])
    return Header(
        "TIFF",
        max(sides["width"], sides["width of a tile"]),
        max(sides["height"], sides["height of a tile"]),
    )


_READERS = (
    (b"\xff\xd8\xff", _jpeg),
    (_PNG_SIGNATURE, _png),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
)
