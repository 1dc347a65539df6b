"""Resizing with OpenCV or Pillow under the names that PaddleClas gives their filters.

Brick of the geometry ops. Ground: NumPy, OpenCV, Pillow; never paddle.
"""

from __future__ import annotations

from typing import Optional, Union

import cv2
import numpy as np
from PIL import Image as PilImage

from ppghost.errors import DataError
from ppghost.vision.checks import check_choice
from ppghost.vision.decode import MAX_PIXELS_VARIABLE, max_pixels
from ppghost.vision.op import Image, Rng
from ppghost.vision.pictures import as_array, as_pil, extent

CV2_FILTERS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
PIL_FILTERS = {
    "nearest": PilImage.Resampling.NEAREST,
    "bilinear": PilImage.Resampling.BILINEAR,
    "bicubic": PilImage.Resampling.BICUBIC,
    "box": PilImage.Resampling.BOX,
    "lanczos": PilImage.Resampling.LANCZOS,
    "hamming": PilImage.Resampling.HAMMING,
}
# The two filters among which interpolation "random" draws, in the order of PaddleClas.
RANDOM_FILTERS = ("bilinear", "bicubic")


def check_filter(where: str, backend: str, interpolation: Optional[Union[int, str]]) -> None:
    """Raise ValueError unless `backend` exists and knows the filter (a number is its own code)."""
    check_choice(f"{where}.backend", backend.lower(), ("cv2", "pil"))
    known = CV2_FILTERS if backend.lower() == "cv2" else PIL_FILTERS
    if isinstance(interpolation, str):
        check_choice(f"{where}.interpolation", interpolation.lower(), (*known, "random"))
    elif interpolation is not None:
        check_choice(f"{where}.interpolation", interpolation, map(int, known.values()))


def resize(
    image: Image,
    size: tuple[int, int],
    rng: Rng,
    *,
    interpolation: Optional[Union[int, str]] = None,
    backend: str = "cv2",
    return_numpy: bool = True,
) -> Image:
    """Return `image` resized to `size` = (width, height); "random" draws one number from `rng.py`.

    OpenCV samples the picture at points; Pillow averages over the area that shrinks into a pixel. The two
    differ visibly when a picture gets smaller, which is why the backend is part of a recipe.

    Raises:
        DataError: the result would have more pixels than a picture may have (see `max_pixels`): one row of
            pixels, made 256 high, is 65,536 times as large as its file says.
    """
    _check_target(image, size)
    name = interpolation.lower() if isinstance(interpolation, str) else interpolation
    if name == "random":
        name = rng.py.choice(RANDOM_FILTERS)
    if backend.lower() == "cv2":
        code = CV2_FILTERS[name] if isinstance(name, str) else name
        return cv2.resize(as_array(image), size, interpolation=cv2.INTER_LINEAR if code is None else code)
    method = PIL_FILTERS[name] if isinstance(name, str) else name
    resized = as_pil(image).resize(size, PIL_FILTERS["bilinear"] if method is None else method)
    return np.asarray(resized) if return_numpy else resized


def _check_target(image: Image, size: tuple[int, int]) -> None:
    if size[0] * size[1] > max_pixels():
        height, width = extent(image)
        raise DataError(
            f"Resized, this picture of {width} x {height} would have {size[0]} x {size[1]} = "
            f"{size[0] * size[1]} pixels; accepted: {max_pixels()}. Cut it, or allow it: "
            f"{MAX_PIXELS_VARIABLE}={size[0] * size[1]} in the environment."
        )
