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

from ppghost.vision.checks import (
    check_choice,
    check_interval,
    check_range,
    check_size,
    check_whole,
)
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pictures import as_array, check_fits, crop, extent
from ppghost.vision.resample import CV2_FILTERS, check_filter, resize
from ppghost.vision.stages import check_stages

Size = Union[int, tuple[int, int]]


def as_pair(size: Size) -> tuple[int, int]:
    """Return both sides of a size that may be one number for both."""
    return (size, size) if isinstance(size, int) else size


def flip(image: Image, code: int) -> Image:
    """Return the picture flipped: code 1 left-right, 0 top-bottom, -1 both; the form stays as it is."""
    if isinstance(image, np.ndarray):
        return cv2.flip(image, code)
    transpose = PilImage.Transpose
    return image.transpose(
        {1: transpose.FLIP_LEFT_RIGHT, 0: transpose.FLIP_TOP_BOTTOM, -1: transpose.ROTATE_180}[code]
    )


def draw_window(
    shape: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], rng: Rng
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random window, drawn as paddle's `RandomResizedCrop` does.

    Ten tries to find a window that fits, each with two numbers from `rng.np`; then two from `rng.py` for its
    place. If none fits, the largest central window of an allowed proportion.

    Args:
        shape: (height, width) of the picture.
        scale: low and high share of the picture's area.
        ratio: low and high width / height; the logarithm is drawn uniformly.
        rng: where the numbers come from.
    """
    image_height, image_width = shape
    for _ in range(10):
        area = rng.np.uniform(*scale) * image_height * image_width
        aspect = math.exp(rng.np.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
        if 0 < width <= image_width and 0 < height <= image_height:
            top = rng.py.randint(0, image_height - height)
            return top, rng.py.randint(0, image_width - width), height, width
    proportion = min(max(image_width / image_height, min(ratio)), max(ratio))
    width = min(image_width, max(1, int(round(image_height * proportion))))
    height = min(image_height, max(1, int(round(image_width / proportion))))
    return (image_height - height) // 2, (image_width - width) // 2, height, width


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


@dataclass(frozen=True)
class _WindowCrop:
    """What the ops have that cut out a window of fixed size."""

    size: Size

    def __post_init__(self) -> None:
        check_size(f"{type(self).__name__}.size", self.size)

    def _measure(self, image: Image) -> tuple[int, int, int, int]:
        """Return height and width of the window, and how many rows and columns the picture has besides.

        Raises:
            DataError: the picture is smaller than the window.
        """
        width, height = as_pair(self.size)
        check_fits(type(self).__name__, image, width, height)
        image_height, image_width = extent(image)
        return height, width, image_height - height, image_width - width


@OPS.add("CropImage")
@dataclass(frozen=True)
class CropImage(_WindowCrop):
    """Cut out the centre.

    Attributes:
        size: one number or (width, height).

    Raises:
        DataError: the picture is smaller than `size`.
    """

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the centre of the picture; nothing is drawn from `rng`."""
        height, width, rows, columns = self._measure(image)
        return crop(image, rows // 2, columns // 2, height, width)


@OPS.add("RandCropImage")
@dataclass(frozen=True)
class RandCropImage:
    """Cut out a window of random area, proportion and place, and resize it to `size`.

    Attributes:
        size: one number or (width, height).
        progress_size: `size` in each of the four stages of `Global.train_mode: progressive`.
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
        check_stages("RandCropImage.progress_size", self.progress_size, check_size)
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
        return flip(image, self.flip_code) if rng.py.randint(0, 1) == 1 else image


@OPS.add("CropImageAtRatio")
@dataclass(frozen=True)
class CropImageAtRatio:
    """Cut out the central square of `size / (size + pad)` of the shorter side and resize it to `size`.

    Attributes:
        size: pixels of both sides of the result.
        pad: how much more a resize to `size + pad` would have left around the crop.
        interpolation: nearest, bilinear, area, bicubic or lanczos, all by OpenCV.
    """

    size: int
    pad: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_whole("CropImageAtRatio.size", self.size, 1)
        check_whole("CropImageAtRatio.pad", self.pad, 0)
        check_choice("CropImageAtRatio.interpolation", self.interpolation, CV2_FILTERS)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the resized square; nothing is drawn from `rng`."""
        height, width = extent(image)
        side = max(1, int(self.size / (self.size + self.pad) * min(height, width)))
        square = crop(image, (height - side) // 2, (width - side) // 2, side, side)
        return resize(square, (self.size, self.size), rng, interpolation=self.interpolation)


@OPS.add("RandomCropImage")
@dataclass(frozen=True)
class RandomCropImage(_WindowCrop):
    """Cut out a window of fixed size at a random place.

    Attributes:
        size: one number or (width, height).

    Raises:
        DataError: the picture is smaller than `size`.
    """

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the window; draws two numbers from `rng.py`."""
        height, width, rows, columns = self._measure(image)
        top = rng.py.randint(0, rows)
        return crop(image, top, rng.py.randint(0, columns), height, width)


@OPS.add("RandCropImageV2")
@dataclass(frozen=True)
class RandCropImageV2(_WindowCrop):
    """Cut out a window of fixed size at a random place; a picture of just that size is returned as it is.

    PaddleClas draws places up to one pixel outside and then returns a smaller window; such a draw is moved
    inside here, the others give the same picture.

    Attributes:
        size: one number or (width, height).

    Raises:
        DataError: the picture is smaller than `size`.
    """

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the window; draws two numbers from `rng.py`, none if the picture has the size already."""
        height, width, rows, columns = self._measure(image)
        if (rows, columns) == (0, 0):
            return image
        top = rng.py.randint(0, rows + 1)
        left = rng.py.randint(0, columns + 1)
        return crop(image, min(top, rows), min(left, columns), height, width)


@OPS.add("RandomRot90")
@dataclass(frozen=True)
class RandomRot90:
    """Turn by 0, 90, 180 or 270 degrees, each as often."""

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the turned picture, a view; draws one number from `rng.py`."""
        return np.rot90(as_array(image), rng.py.choice((0, 1, 2, 3)))


@OPS.add("RandomInterpolationAugment")
@dataclass(frozen=True)
class RandomInterpolationAugment:
    """Shrink the picture to a square and blow it up again, with random filters.

    Attributes:
        prob: how often.
    """

    prob: float

    def __post_init__(self) -> None:
        check_range("RandomInterpolationAugment.prob", self.prob, 0, 1)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the blurred picture in the form it came; draws one to four numbers from `rng.np`."""
        if rng.np.random_sample() >= self.prob:
            return image
        array = as_array(image)
        height, width = extent(array)
        side = max(1, int(rng.np.uniform(0.2, 1.0) * height))
        small = cv2.resize(array, (side, side), interpolation=self._filter(rng))
        blurred = cv2.resize(small, (width, height), interpolation=self._filter(rng))
        return blurred if isinstance(image, np.ndarray) else PilImage.fromarray(blurred)

    def _filter(self, rng: Rng) -> int:
        names = ("nearest", "bilinear", "area", "bicubic", "lanczos")
        return CV2_FILTERS[names[rng.np.choice(len(names))]]
