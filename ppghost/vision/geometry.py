"""Resizing, cropping and flipping. Ground: NumPy, OpenCV, Pillow; never paddle.

Sizes are written as in PaddleClas: a pair is (width, height) unless an op says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Union

import cv2
import numpy as np
from PIL import Image as PilImage

from ppghost.errors import DataError
from ppghost.vision.checks import check_choice, check_interval, check_size
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.resample import check_filter, crop, extent, resize

Size = Union[int, tuple[int, int]]


def as_pair(size: Size) -> tuple[int, int]:
    """Return (width, height) of a size that may be one number for both."""
    return (size, size) if isinstance(size, int) else size


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


@OPS.add("ResizeImage")
@dataclass(frozen=True)
class ResizeImage:
    """Resize to a given size, or so that the shorter side gets a given length.

    Attributes:
        size: the new size, one number or (width, height); used where `resize_short` is None or 0.
        resize_short: the new length of the shorter side; the longer side keeps the proportion, rounded half
            to even.
        interpolation: nearest, bilinear, area (cv2), bicubic, box (pil), lanczos, hamming (pil), "random"
            (draws bilinear or bicubic), the backend's own code, or None for bilinear.
        backend: "cv2" or "pil".
        return_numpy: False with `backend: pil` gives a Pillow image.
    """

    size: Optional[Size] = None
    resize_short: Optional[int] = None
    interpolation: Optional[Union[int, str]] = None
    backend: str = "cv2"
    return_numpy: bool = True

    def __post_init__(self) -> None:
        if not self.resize_short and self.size is None:
            raise ValueError("ResizeImage needs 'size' or 'resize_short'.")
        if self.resize_short:
            check_size("ResizeImage.resize_short", self.resize_short)
        else:
            check_size("ResizeImage.size", self.size)
        check_filter("ResizeImage", self.backend, self.interpolation)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the resized picture; only interpolation "random" draws from `rng`."""
        return resize(
            image,
            self._target(image),
            rng,
            interpolation=self.interpolation,
            backend=self.backend,
            return_numpy=self.return_numpy,
        )

    def _target(self, image: Image) -> tuple[int, int]:
        if not self.resize_short:
            return as_pair(self.size or 0)
        height, width = extent(image)
        factor = float(self.resize_short) / min(width, height)
        return int(round(width * factor)), int(round(height * factor))


@OPS.add("CropImage")
@dataclass(frozen=True)
class CropImage:
    """Cut out the centre.

    Attributes:
        size: one number or (width, height).

    Raises:
        DataError: the picture is smaller than `size`.
    """

    size: Size

    def __post_init__(self) -> None:
        check_size("CropImage.size", self.size)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the centre of the picture; nothing is drawn from `rng`."""
        width, height = as_pair(self.size)
        check_fits("CropImage", image, width, height)
        image_height, image_width = extent(image)
        return crop(image, (image_height - height) // 2, (image_width - width) // 2, height, width)


@OPS.add("RandCropImage")
@dataclass(frozen=True)
class RandCropImage:
    """Cut out a window of random area, proportion and place, and resize it to `size`.

    Attributes:
        size: one number or (width, height).
        progress_size: the sizes of progressive training, one per stage; the training loop sets `size` by it.
        scale: low and high share of the picture's area; None means (0.08, 1).
        ratio: low and high width / height; None means (3/4, 4/3).
        interpolation: as in `ResizeImage`.
        use_log_aspect: draw the logarithm of the proportion uniformly instead of the proportion.
        backend: "cv2" or "pil".

    Source: Szegedy et al., "Going Deeper with Convolutions", section 6.
    """

    size: Size
    progress_size: Optional[tuple[int, ...]] = None
    scale: Optional[tuple[float, float]] = None
    ratio: Optional[tuple[float, float]] = None
    interpolation: Optional[Union[int, str]] = None
    use_log_aspect: bool = False
    backend: str = "cv2"

    def __post_init__(self) -> None:
        check_size("RandCropImage.size", self.size)
        if self.scale is not None:
            check_interval("RandCropImage.scale", self.scale, 0)
        if self.ratio is not None:
            check_interval("RandCropImage.ratio", self.ratio, 1e-6)
        check_filter("RandCropImage", self.backend, self.interpolation)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the resized window; draws four numbers from `rng.py` (five with "random")."""
        window = crop(image, *self._window(extent(image), rng))
        return resize(window, as_pair(self.size), rng, interpolation=self.interpolation, backend=self.backend)

    def _window(self, shape: tuple[int, int], rng: Rng) -> tuple[int, int, int, int]:
        """Return top, left, height and width of the window."""
        image_height, image_width = shape
        aspect = self._aspect(rng)
        bound = min((image_width / image_height) / aspect, (image_height / image_width) * aspect)
        low, high = self.scale or (0.08, 1.0)
        area = image_width * image_height * rng.py.uniform(min(low, bound), min(high, bound))
        width, height = int(math.sqrt(area * aspect)), int(math.sqrt(area / aspect))
        left = rng.py.randint(0, image_width - width)
        top = rng.py.randint(0, image_height - height)
        # A picture a few pixels small can give a window of no width, which PaddleClas cannot resize.
        return min(top, image_height - 1), min(left, image_width - 1), max(height, 1), max(width, 1)

    def _aspect(self, rng: Rng) -> float:
        low, high = self.ratio or (3.0 / 4.0, 4.0 / 3.0)
        if self.use_log_aspect:
            return math.exp(rng.py.uniform(math.log(low), math.log(high)))
        return rng.py.uniform(low, high)


@OPS.add("RandFlipImage")
@dataclass(frozen=True)
class RandFlipImage:
    """Flip with probability 1/2.

    With -1 a Pillow image is turned in both directions; PaddleClas flips it twice in the same one, which does
    nothing.

    Attributes:
        flip_code: 1 left-right, 0 top-bottom, -1 both.
    """

    flip_code: int = 1

    def __post_init__(self) -> None:
        check_choice("RandFlipImage.flip_code", self.flip_code, (-1, 0, 1))

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the picture, flipped or not; draws one number from `rng.py`."""
        if rng.py.randint(0, 1) == 0:
            return image
        if isinstance(image, np.ndarray):
            return cv2.flip(image, self.flip_code)
        return image.transpose(_PIL_FLIPS[self.flip_code])


_PIL_FLIPS = {
    1: PilImage.Transpose.FLIP_LEFT_RIGHT,
    0: PilImage.Transpose.FLIP_TOP_BOTTOM,
    -1: PilImage.Transpose.ROTATE_180,
}
