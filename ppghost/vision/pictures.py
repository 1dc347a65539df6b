"""The two forms of a picture, array and Pillow image, and what is asked of both.

Brick of the ops. Ground: NumPy and Pillow; never paddle.
"""

from __future__ import annotations

import numpy as np
from PIL import Image as PilImage

from ppghost.errors import DataError
from ppghost.vision.op import Image


def as_array(image: Image) -> np.ndarray:
    """Return the picture as an array; a Pillow image is copied, an array is returned as it is."""
    return image if isinstance(image, np.ndarray) else np.asarray(image)


def as_pil(image: Image) -> PilImage.Image:
    """Return the picture as a Pillow image; an array is copied.

    Raises:
        ValueError: an array is anything but uint8 [H, W, 3].
    """
    if not isinstance(image, np.ndarray):
        return image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"the picture is {image.dtype} {list(image.shape)}; accepted: uint8 [H, W, 3]. Put this op "
            "before normalisation and transpose (and write `backend: pil` where a dataset has that key)."
        )
    return PilImage.fromarray(np.ascontiguousarray(image))


def extent(image: Image) -> tuple[int, int]:
    """Return (height, width) in pixels of an array [H, W, ...] or a Pillow image."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    return image.height, image.width


def crop(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """Return a window of the picture that lies inside it; of an array, a view."""
    if isinstance(image, np.ndarray):
        return image[top : top + height, left : left + width]
    return image.crop((left, top, left + width, top + height))


def check_fits(op_name: str, image: Image, width: int, height: int) -> None:
    """Raise DataError if a window of `width` x `height` does not fit into the picture.

    PaddleClas slices on and returns a smaller picture, which breaks the batch later or is not noticed at all.
    """
    image_height, image_width = extent(image)
    if width > image_width or height > image_height:
        raise DataError(
            f"{op_name} wants {width} x {height} pixels (width x height) of a picture of {image_width} x "
            f"{image_height}: put a ResizeImage before it, or make its size smaller."
        )


def channels_last(array: np.ndarray) -> np.ndarray:
    """Return a view [H, W, 3] of a picture that may also be [3, H, W] already.

    Ops that cover parts of a picture stand before or behind the transpose. A picture is taken as [H, W, 3]
    where its last axis is 3 long, also where the first one is.

    Raises:
        ValueError: neither the first nor the last axis is 3 long.
    """
    if array.ndim == 3 and array.shape[2] == 3:
        return array
    if array.ndim == 3 and array.shape[0] == 3:
        return array.transpose(1, 2, 0)
    raise ValueError(f"the picture is {list(array.shape)}; accepted: [H, W, 3] or [3, H, W].")


def writable(image: Image) -> np.ndarray:
    """Return a copy of the picture that keeps the order of its axes in memory."""
    return as_array(image).copy(order="K")
