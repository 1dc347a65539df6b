"""Decoding: bytes of a picture file -> `uint8 [H, W, 3] RGB`. Ground: NumPy, OpenCV, Pillow; never paddle."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Union

import cv2
import numpy as np
from PIL import Image as PilImage

from ppghost.errors import DataError
from ppghost.vision.checks import check_choice
from ppghost.vision.op import OPS, Image, Picture, Rng


@OPS.add("DecodeImage")
@dataclass(frozen=True)
class DecodeImage:
    """Decode the bytes of a JPEG, PNG, BMP, WebP or TIFF file to `uint8 [H, W, 3]`.

    What happens to unusual files. With `backend: cv2`: greyscale becomes three equal channels, an alpha
    channel is dropped, 16 bits are cut to the upper 8, the EXIF orientation is applied, CMYK is converted.
    With `backend: pil`: the same but for EXIF, which is not applied, and 16-bit greyscale, which Pillow clips
    to 255.

    A file that was cut off is refused by Pillow and by OpenCV 4.11 and 5.0; OpenCV 4.6 decodes what is there.

    A picture that is decoded already (an array or a Pillow image) is taken as RGB and passes through the
    remaining steps. PaddleClas takes an array as BGR; nothing else here is BGR, so that would be a trap.

    Attributes:
        to_np: give an array. False with `backend: pil` gives a Pillow image, RGB; with `backend: cv2`
            PaddleClas leaves the channels in BGR order, and so does this.
        to_rgb: RGB order; False gives BGR. Counts only where `to_np` holds.
        channel_first: give [3, H, W]. Counts only where `to_np` holds.
        backend: "cv2" or "pil"; their JPEG decoders may differ by one level.

    Raises:
        DataError: the bytes are no picture, or a truncated one; the message says what is wrong.
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


def decode_with_opencv(data: Union[bytes, bytearray, memoryview]) -> np.ndarray:
    """Return `uint8 [H, W, 3] RGB`, the EXIF orientation applied.

    Raises:
        DataError: OpenCV cannot decode the bytes.
    """
    if len(data) == 0:
        raise DataError("The picture file is empty (0 bytes).")
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
        raise DataError(f"OpenCV cannot decode the picture ({len(data)} bytes, {_first_bytes(data)}).")
    return decoded


def decode_with_pillow(data: bytes) -> PilImage.Image:
    """Return an RGB Pillow image, the EXIF orientation not applied.

    Raises:
        DataError: Pillow cannot decode the bytes.
    """
    try:
        return PilImage.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError, PilImage.DecompressionBombError) as error:
        raise DataError(f"Pillow cannot decode the picture ({len(data)} bytes): {error}.") from error


def _first_bytes(data: Union[bytes, bytearray, memoryview]) -> str:
    return "first bytes " + bytes(data[:4]).hex(" ")
