"""Reading and decoding: a picture file -> its bytes -> `uint8 [H, W, 3] RGB`.

Every file gets the right pixels or a DataError, the same with every OpenCV from 4.6 to 5.0; where those
differ, the difference is levelled out here. Ground: NumPy, OpenCV, Pillow; never paddle.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import cv2
import numpy as np
from PIL import Image as PilImage
from PIL import ImageOps

from ppghost.errors import ConfigError, DataError
from ppghost.vision.checks import check_choice
from ppghost.vision.header import Header, is_whole_jpeg, read_header, without_animation
from ppghost.vision.op import OPS, Image, Picture, Rng

# Room for the cameras of phones (108 million) and scanned film; 450 MB once decoded.
MAX_PIXELS = 150_000_000
MAX_PIXELS_VARIABLE = "PPGHOST_MAX_PIXELS"
# The most that an uncompressed file needs: four channels of 16 bits.
_BYTES_PER_PIXEL = 8
# What Pillow's readers raise on broken bytes.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    EOFError,
    struct.error,
    zlib.error,
    PilImage.DecompressionBombError,
)


@OPS.add("DecodeImage")
@dataclass(frozen=True)
class DecodeImage:
    """Decode the bytes of a JPEG, PNG, BMP, WebP, TIFF or GIF file to `uint8 [H, W, 3]`.

    What happens to unusual files. With `backend: cv2`: greyscale becomes three equal channels, an alpha
    channel or transparent colour is dropped, 16 bits are cut to the upper 8 (in a colour TIFF: rounded), the
    EXIF orientation is applied, the CMYK of a JPEG is taken as stored inverted, as Adobe does it, with or
    without its mark. With `backend: pil`: the same but for EXIF, which is not applied, and 16-bit greyscale,
    which Pillow clips to 255.

    Of an animated GIF or WebP the first frame counts; of an animated PNG the picture that readers without
    animation show; of a TIFF of several pages the first.

    Refused: a file that was cut off; a JPEG without its end marker; a picture of more than 150 million
    pixels, before it is decoded (the environment variable PPGHOST_MAX_PIXELS sets another limit).

    A picture that is decoded already (an array or a Pillow image) is taken as RGB and passes through the
    remaining steps. PaddleClas takes an array as BGR; nothing else here is BGR, so that would be a trap.

    Attributes:
        to_np: give an array. False with `backend: pil` gives a Pillow image, RGB; with `backend: cv2`
            PaddleClas leaves the channels in BGR order, and so does this.
        to_rgb: RGB order; False gives BGR. Counts only where `to_np` holds.
        channel_first: give [3, H, W]. Counts only where `to_np` holds.
        backend: "cv2" or "pil"; their JPEG decoders may differ by one level.

    Raises:
        DataError: the bytes are no picture, a truncated or a too large one; the message says what is wrong.
    """

    to_np: bool = True
    to_rgb: bool = True
    channel_first: bool = False
    backend: str = "cv2"

    def __post_init__(self) -> None:
        check_choice("DecodeImage.backend", self.backend.lower(), ("cv2", "pil"))

    def __call__(self, image: Picture, rng: Rng) -> Image:
        """Return the decoded picture; nothing is drawn from `rng`."""
        uses_pil = self.backend.lower() == "pil"
        if isinstance(image, (bytes, bytearray, memoryview)):
            image = decode_with_pillow(bytes(image)) if uses_pil else decode_with_opencv(image)
        if not self.to_np and uses_pil:
            return image if isinstance(image, PilImage.Image) else PilImage.fromarray(image)
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[2] != 3:
            raise DataError(f"DecodeImage got an array of shape {list(array.shape)}; accepted: [H, W, 3].")
        if not (self.to_np and self.to_rgb):
            array = array[:, :, ::-1]
        return array.transpose(2, 0, 1) if self.to_np and self.channel_first else array


def read_picture(path: Union[str, Path]) -> bytes:
    """Return the bytes of a picture file.

    Raises:
        DataError: it cannot be read, is no file (a folder, a pipe, a device), or longer than any picture
            within the limit; the message does not name it.
    """
    longest = _BYTES_PER_PIXEL * max_pixels()
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError("The picture cannot be read: it is no file, but a pipe or a device.")
            if status.st_size > longest:
                raise DataError(
                    f"The picture cannot be read: its file has {status.st_size} bytes; accepted: {longest}, "
                    f"{_BYTES_PER_PIXEL} for each pixel of the limit {MAX_PIXELS_VARIABLE}."
                )
            return stream.read()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character in it
        raise DataError(
            f"The picture cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from error


def _open_at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK a pipe that nobody writes to would hold us here for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def max_pixels() -> int:
    """Return how many pixels a picture may have: PPGHOST_MAX_PIXELS of the environment, or the default.

    Raises:
        ConfigError: the variable is no whole number of at least 1.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE)
    if text is None:
        return MAX_PIXELS
    if not text.isdecimal() or not int(text):
        raise ConfigError(
            f"The environment variable {MAX_PIXELS_VARIABLE} is {text!r}; accepted: a whole number of pixels."
        )
    return int(text)


def decode_with_opencv(data: Union[bytes, bytearray, memoryview]) -> np.ndarray:
    """Return `uint8 [H, W, 3] RGB`, the EXIF orientation applied.

    Raises:
        DataError: the bytes are no picture, a truncated or a too large one.
    """
    data = bytes(data)
    header = _checked_header(data)
    if header.kind == "JPEG" and not is_whole_jpeg(data):
        raise DataError("The picture is truncated: its JPEG end marker is missing.")
    if header.kind == "GIF" or (header.kind == "WEBP" and header.is_extended):
        return np.array(_pillow(data, header, is_turned=True))
    if header.kind == "PNG" and header.is_extended:
        data = without_animation(data)
    raw = np.frombuffer(data, np.uint8)
    try:
        if hasattr(cv2, "IMREAD_COLOR_RGB"):
            decoded = cv2.imdecode(raw, cv2.IMREAD_COLOR_RGB)
        else:  # before OpenCV 4.10 only BGR can be asked for
            decoded = cv2.imdecode(raw, cv2.IMREAD_COLOR)
            decoded = None if decoded is None else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    except cv2.error as error:
        raise DataError(f"OpenCV cannot decode the picture: {error.err}.") from error
    if decoded is None:
        raise DataError(f"The {header.kind} picture is broken or truncated ({len(data)} bytes).")
    return decoded


def decode_with_pillow(data: bytes) -> PilImage.Image:
    """Return an RGB Pillow image, the EXIF orientation not applied.

    Raises:
        DataError: the bytes are no picture, a truncated or a too large one.
    """
    return _pillow(data, _checked_header(data), is_turned=False)


def _checked_header(data: bytes) -> Header:
    if not data:
        raise DataError("The picture file is empty (0 bytes).")
    header = read_header(data)
    _check_size(header.width, header.height)
    return header


def _check_size(width: int, height: int) -> None:
    if width * height > max_pixels():
        raise DataError(
            f"The picture has {width} x {height} = {width * height} pixels; accepted: {max_pixels()}. Make "
            f"it smaller, or allow it: {MAX_PIXELS_VARIABLE}={width * height} in the environment."
        )


def _pillow(data: bytes, header: Header, *, is_turned: bool) -> PilImage.Image:
    """Return an RGB image, turned as EXIF says where `is_turned` asks for it."""
    try:
        image: PilImage.Image = PilImage.open(io.BytesIO(data), formats=(header.kind,))
        _check_size(*image.size)  # the frame of a GIF may be larger than its screen
        image = ImageOps.exif_transpose(image) if is_turned else image
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # convert copies in any case
    except _PILLOW_ERRORS as error:
        raise DataError(f"The {header.kind} picture is broken or truncated: {error}.") from error
