"""The picture reader: the right pixels or a DataError for every file, and no more memory than the limit."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ppghost.errors import ConfigError, DataError
from ppghost.vision.decode import decode_with_opencv, decode_with_pillow, read_picture
from ppghost.vision.header import read_header

DECODERS = (decode_with_opencv, lambda data: np.asarray(decode_with_pillow(data)))


def ramp(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth picture without two equal corners: JPEG keeps it nearly, and every turn shows."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 / (width - 1), y * 255 / (height - 1), (x + y) * 255 / (width + height - 2)]
    return np.stack(planes, axis=2).astype(np.uint8)


RGB = ramp()
PICTURE = Image.fromarray(RGB)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def saved16(array: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


GREY = PICTURE.convert("L")
PALETTE = PICTURE.quantize(16)
FRAMES = {"save_all": True, "append_images": [ImageOps.flip(PICTURE)]}
CMYK_JPEG = saved(PICTURE.convert("CMYK"), "JPEG", quality=95)  # as Adobe stores it, inverted


def without_adobe(data: bytes) -> bytes:
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + struct.unpack_from(">H", data, start + 2)[0] :]


def rgba(kind: str) -> bytes:
    return saved(Image.merge("RGBA", [*PICTURE.split(), GREY]), kind, lossless=True)


# What is stored without loss: the file and the pixels that it means.
EXACT: dict[str, tuple[bytes, np.ndarray]] = {
    "png": (saved(PICTURE, "PNG"), RGB),
    "bmp": (saved(PICTURE, "BMP"), RGB),
    "tiff": (saved(PICTURE, "TIFF"), RGB),
    "tiff lzw": (saved(PICTURE, "TIFF", compression="tiff_lzw"), RGB),
    "webp": (saved(PICTURE, "WEBP", lossless=True), RGB),
    "gif": (saved(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    "grey png": (saved(GREY, "PNG"), np.asarray(GREY.convert("RGB"))),
    "grey bmp": (saved(GREY, "BMP"), np.asarray(GREY.convert("RGB"))),
    "two colours": (saved(PICTURE.convert("1"), "PNG"), np.asarray(PICTURE.convert("1").convert("RGB"))),
    "palette": (saved(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "palette bmp": (saved(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB"))),
    "transparent palette": (saved(PALETTE, "PNG", transparency=3), np.asarray(PALETTE.convert("RGB"))),
    "transparent colour": (saved(PICTURE, "PNG", transparency=(0, 0, 0)), RGB),
    "alpha png": (rgba("PNG"), RGB),
    "grey and alpha": (saved(Image.merge("LA", [GREY, GREY]), "PNG"), np.asarray(GREY.convert("RGB"))),
    "16-bit png": (saved16(RGB[:, :, ::-1].astype(np.uint16) * 256 + 255, ".png"), RGB),
    "16-bit tiff": (saved16(RGB[:, :, ::-1].astype(np.uint16) * 257, ".tiff"), RGB),
    "animated gif": (saved(PALETTE, "GIF", **FRAMES), np.asarray(PALETTE.convert("RGB"))),
    "animated webp": (saved(PICTURE, "WEBP", lossless=True, **FRAMES), RGB),
    "animated png": (saved(PICTURE, "PNG", **FRAMES), RGB),
    "animated png, another at rest": (saved(PICTURE, "PNG", default_image=True, **FRAMES), RGB),
    "pages": (saved(PICTURE, "TIFF", **FRAMES), RGB),
    "garbage behind a png": (saved(PICTURE, "PNG") + b"garbage", RGB),
}


@pytest.mark.parametrize("name", EXACT)
def test_lossless_files_give_their_pixels(name: str) -> None:
    data, expected = EXACT[name]
    for decode in DECODERS:
        np.testing.assert_array_equal(decode(data), expected)


def test_16_bit_grey_is_cut_to_the_upper_8() -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for suffix in (".png", ".tiff"):
        decoded = decode_with_opencv(saved16(grey * 256 + 255, suffix))
        np.testing.assert_array_equal(decoded, np.dstack([grey] * 3))


@pytest.mark.parametrize(
    "data",
    [
        saved(PICTURE, "JPEG", quality=95),
        saved(PICTURE, "JPEG", quality=95, progressive=True),
        saved(PICTURE, "JPEG", quality=95) + b"garbage",
        CMYK_JPEG,
        without_adobe(CMYK_JPEG),
        saved(PICTURE, "WEBP", quality=95),
    ],
    ids=["baseline", "progressive", "garbage behind", "CMYK", "CMYK without Adobe's mark", "webp"],
)
def test_lossy_files_give_nearly_their_pixels(data: bytes) -> None:
    for decode in DECODERS:
        assert np.abs(decode(data).astype(int) - RGB).max() <= 12


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    extra = {"tiffinfo": {0x112: orientation}} if kind == "TIFF" else {"exif": turned(orientation)}
    quality = {"quality": 95} if kind == "JPEG" else {"lossless": True}
    data = saved(PICTURE, kind, **quality, **extra)
    pixels = decode_with_opencv(data).astype(int)
    upright = PICTURE.copy()
    upright.getexif()[0x112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(upright))
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= (12 if kind == "JPEG" else 0)


def header_only(kind: str, width: int, height: int) -> bytes:
    """The beginning of a file that claims a size and holds nothing."""
    if kind == "png":
        body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        ihdr = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
        return b"\x89PNG\r\n\x1a\n" + ihdr + struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    if kind == "jpeg":
        frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
        thumbnail = b"\xff\xe1\0\x10Exif\0\0\xff\xd8\xff\xc0\0\0\xff\xd9"
        return b"\xff\xd8" + thumbnail + b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xd9"
    if kind == "bmp":
        return b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, width, -height, 1, 24, 0) + bytes(100)
    if kind == "gif":
        return b"GIF89a" + struct.pack("<HH", width, height) + bytes(20)
    if kind == "webp":
        bits = (width - 1) | (height - 1) << 14
        return b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f" + struct.pack("<I", bits) + bytes(20)
    if kind == "webp extended":
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + sides + bytes(20)
    order = "<" if kind == "tiff" else ">"
    tags = struct.pack(order + "H", 2)
    tags += struct.pack(order + "HHII", 256, 4, 1, width) + struct.pack(order + "HHII", 257, 4, 1, height)
    return (b"II*\0" if kind == "tiff" else b"MM\0*") + struct.pack(order + "I", 8) + tags


KINDS = ("png", "jpeg", "bmp", "gif", "webp", "webp extended", "tiff", "tiff of a Mac")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decode", DECODERS)
def test_a_large_picture_is_refused_before_it_is_decoded(
    kind: str, decode: Callable[[bytes], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 16000 if kind == "webp" else 20000
    data = header_only(kind, side, side)
    header = read_header(data)
    assert (header.width, header.height) == (side, side)
    with pytest.raises(DataError, match=rf"{side} x {side} = .*accepted: 150000000.*PPGHOST_MAX_PIXELS"):
        decode(data)
    monkeypatch.setenv("PPGHOST_MAX_PIXELS", "100")
    with pytest.raises(DataError, match="60 x 40 = 2400"):
        decode(EXACT["png"][0])


def test_the_frame_of_a_gif_may_not_be_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(saved(PALETTE, "GIF"))
    data[6:10] = struct.pack("<HH", 2, 2)
    monkeypatch.setenv("PPGHOST_MAX_PIXELS", "100")
    with pytest.raises(DataError, match="60 x 40"):
        decode_with_opencv(bytes(data))


def test_a_limit_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPGHOST_MAX_PIXELS", "many")
    with pytest.raises(ConfigError, match="'many'"):
        decode_with_opencv(EXACT["png"][0])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"no picture", "is no picture.*Accepted: JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "is no picture"),  # Pillow alone would run an interpreter on it
        (b"RIFF\0\0\0\0WAVEfmt ", "no WebP"),
        (b"\xff\xd8\xff", "truncated"),
        (header_only("png", 0, 5), "0 x 5"),
        (header_only("bmp", -3, 5), "-3 x 5"),
    ],
)
def test_what_is_no_picture_is_told(data: bytes, sentence: str) -> None:
    for decode in DECODERS:
        with pytest.raises(DataError, match=sentence):
            decode(data)


WHOLE = {
    "JPEG": saved(PICTURE, "JPEG", exif=turned(6)),
    "progressive JPEG": saved(PICTURE, "JPEG", progressive=True),
    **{name: EXACT[name][0] for name in ("png", "bmp", "webp", "tiff", "palette")},
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_off_anywhere_is_refused(name: str) -> None:
    whole = WHOLE[name]
    for length in sorted({*range(1, len(whole), 37), len(whole) - 1}):
        with pytest.raises(DataError):
            decode_with_opencv(whole[:length])


def test_a_chunk_that_claims_four_gigabytes_is_refused_before_decoding() -> None:
    whole = EXACT["png"][0]
    place = whole.index(b"IDAT") - 4
    for decode in DECODERS:
        with pytest.raises(DataError, match="truncated"):
            decode(whole[:place] + b"\xff\xff\xff\xf0" + whole[place + 4 :])


SEEDS = [*WHOLE.values(), CMYK_JPEG, *(data for data, _ in EXACT.values())]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(("set", "insert", "delete", "cut")),
        st.one_of(
            st.binary(min_size=1, max_size=4), st.sampled_from((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
        ),
    ),
    max_size=6,
)


def mutated(data: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    for share, how, new in edits:
        place = int(share**3 * len(data))  # headers are where the harm is
        tail = {"set": place + len(new), "insert": place, "delete": place + len(new), "cut": len(data)}[how]
        data = data[:place] + (b"" if how in ("delete", "cut") else new) + data[tail:]
    return data


@settings(deadline=None, max_examples=600)
@given(st.sampled_from(SEEDS), EDITS)
def test_broken_bytes_give_a_picture_or_a_sentence(
    data: bytes, edits: list[tuple[float, str, bytes]]
) -> None:
    broken = mutated(data, edits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPGHOST_MAX_PIXELS", "1000000")
        for decode in DECODERS:
            with contextlib.suppress(DataError):
                pixels = decode(broken)
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3
                assert pixels.shape[2] == 3
                assert pixels.size <= 3_000_000


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted({data[:4] for data in SEEDS})), st.binary(max_size=200))
def test_a_signature_alone_makes_no_picture(signature: bytes, rest: bytes) -> None:
    for decode in DECODERS:
        with pytest.raises(DataError):
            decode(signature + rest)


def test_read_picture_reads_files_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.path.join(os.fsencode(tmp_path), b"my \xff cat.jpg")
    with open(odd, "wb") as stream:
        stream.write(b"content")
    assert read_picture(os.fsdecode(odd)) == b"content"
    link = tmp_path / "link.jpg"
    link.symlink_to(os.fsdecode(odd))
    assert read_picture(link) == b"content"
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path, "/dev/zero"):
        with pytest.raises(DataError, match="no file|directory"):
            read_picture(path)
    with pytest.raises(DataError, match="No such file"):
        read_picture(tmp_path / "vanished.jpg")
    for path in ("a\0b.jpg", "x" * 5000):
        with pytest.raises(DataError, match="cannot be read"):
            read_picture(path)
    monkeypatch.setenv("PPGHOST_MAX_PIXELS", "1")
    (tmp_path / "long.jpg").write_bytes(bytes(9))
    with pytest.raises(DataError, match="9 bytes; accepted: 8"):
        read_picture(tmp_path / "long.jpg")
