"""The geometry ops that PaddleClas borrows from `paddle.vision.transforms`, written without paddle.

They differ from PaddleClas' own: a pair of sizes is (height, width), and an array is treated by OpenCV but a
Pillow image by Pillow. Ground: NumPy, OpenCV, Pillow; never paddle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Union

import cv2
import numpy as np

from ppghost.vision.checks import check_choice, check_interval, check_range, check_size
from ppghost.vision.geometry import Size, as_pair, draw_window, flip
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pad import Fill, check_fill
from ppghost.vision.pictures import check_fits, crop, extent
from ppghost.vision.resample import CV2_FILTERS, PIL_FILTERS, check_filter, resize

_FILTERS = sorted({*CV2_FILTERS, *PIL_FILTERS})


def resize_by_form(image: Image, size: tuple[int, int], interpolation: str, rng: Rng) -> Image:
    """Return `image` resized to (width, height), an array by OpenCV and a Pillow image by Pillow."""
    backend = "cv2" if isinstance(image, np.ndarray) else "pil"
    check_filter("interpolation", backend, interpolation)
    return resize(image, size, rng, interpolation=interpolation, backend=backend, return_numpy=False)


@OPS.add("Resize")
@dataclass(frozen=True)
class Resize:
    """Resize to (height, width), or so that the shorter side gets a given length.

    Attributes:
        size: (height, width), or one number for the shorter side; the longer one is rounded down.
        interpolation: nearest, bilinear, bicubic, lanczos; area for arrays; box, hamming for Pillow images.
    """

    size: Size
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size("Resize.size", self.size)
        check_choice("Resize.interpolation", self.interpolation, _FILTERS)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the resized picture; nothing is drawn from `rng`."""
        height, width = extent(image)
        if not isinstance(self.size, int):
            return resize_by_form(image, self.size[::-1], self.interpolation, rng)
        if min(width, height) == self.size:
            return image
        if width < height:
            target = self.size, int(self.size * height / width)
        else:
            target = int(self.size * width / height), self.size
        return resize_by_form(image, target, self.interpolation, rng)


@OPS.add("CenterCrop")
@dataclass(frozen=True)
class CenterCrop:
    """Cut out the centre; its corner is rounded half to even where `CropImage` rounds down.

    Attributes:
        size: one number or (height, width).

    Raises:
        DataError: the picture is smaller than `size`.
    """

    size: Size

    def __post_init__(self) -> None:
        check_size("CenterCrop.size", self.size)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the centre of the picture; nothing is drawn from `rng`."""
        height, width = as_pair(self.size)
        check_fits("CenterCrop", image, width, height)
        image_height, image_width = extent(image)
        top, left = int(round((image_height - height) / 2)), int(round((image_width - width) / 2))
        return crop(image, top, left, height, width)


@OPS.add("RandomResizedCrop")
@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a window of random area, proportion and place, and resize it.

    Attributes:
        size: one number or (height, width).
        scale: low and high share of the picture's area.
        ratio: low and high width / height.
        interpolation: as in `Resize`.
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3.0 / 4, 4.0 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size("RandomResizedCrop.size", self.size)
        check_interval("RandomResizedCrop.scale", self.scale, 0)
        check_interval("RandomResizedCrop.ratio", self.ratio, 1e-6)
        check_choice("RandomResizedCrop.interpolation", self.interpolation, _FILTERS)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the resized window; draws from `rng.np` and `rng.py`."""
        window = crop(image, *draw_window(extent(image), self.scale, self.ratio, rng))
        height, width = as_pair(self.size)
        return resize_by_form(window, (width, height), self.interpolation, rng)


@OPS.add("RandomHorizontalFlip")
@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Flip left-right.

    Attributes:
        prob: how often.
    """

    prob: float = 0.5

    def __post_init__(self) -> None:
        check_range("RandomHorizontalFlip.prob", self.prob, 0, 1)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the picture, flipped or not; draws one number from `rng.py`."""
        return flip(image, 1) if rng.py.random() < self.prob else image


@OPS.add("RandomRotation")
@dataclass(frozen=True)
class RandomRotation:
    """Turn by a random angle about a point.

    One number in `fill` is meant for all channels; paddle fills only the first channel of an array with it.

    Attributes:
        prob: how often.
        degrees: the largest angle to either side, or (lowest, highest), counter-clockwise.
        interpolation: nearest, bilinear, bicubic; area, lanczos for arrays.
        expand: make the picture large enough to hold all of the turned one.
        center: (x, y) to turn about; None means the centre.
        fill: level of the corners that become free, 0 to 255.
    """

    degrees: Union[float, tuple[float, float]]
    prob: float = 0.5
    interpolation: str = "nearest"
    expand: bool = False
    center: Optional[tuple[float, float]] = None
    fill: Fill = 0

    def __post_init__(self) -> None:
        check_range("RandomRotation.prob", self.prob, 0, 1)
        if isinstance(self.degrees, tuple):
            check_interval("RandomRotation.degrees", self.degrees, -math.inf)
        else:
            check_range("RandomRotation.degrees", self.degrees, 0)
        check_choice("RandomRotation.interpolation", self.interpolation, _FILTERS)
        check_fill("RandomRotation.fill", self.fill)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the turned picture in the form it came; draws from `rng.np`, then from `rng.py`."""
        if rng.np.random_sample() >= self.prob:
            return image
        low, high = self.degrees if isinstance(self.degrees, tuple) else (-self.degrees, self.degrees)
        degrees = rng.py.uniform(low, high)
        fill = (self.fill,) * 3 if isinstance(self.fill, int) else self.fill
        if isinstance(image, np.ndarray):
            return self._rotate_array(image, degrees, fill)
        method = PIL_FILTERS[self.interpolation]
        return image.rotate(degrees, method, self.expand, self.center, fillcolor=fill)

    def _rotate_array(self, array: np.ndarray, degrees: float, fill: tuple[int, ...]) -> np.ndarray:
        height, width = extent(array)
        center = self.center or (width / 2.0, height / 2.0)
        matrix = cv2.getRotationMatrix2D(center, degrees, 1)
        if self.expand:
            new_width, new_height = _turned_extent(width, height, degrees, center)
            matrix[0, 2] += (new_width - width) * 0.5
            matrix[1, 2] += (new_height - height) * 0.5
            width, height = new_width, new_height
        flags = CV2_FILTERS[self.interpolation]
        return cv2.warpAffine(array, matrix, (width, height), flags=flags, borderValue=fill)


def _turned_extent(width: int, height: int, degrees: float, center: tuple[float, float]) -> tuple[int, int]:
    """Return (width, height) of the upright box around the turned picture."""
    cos = round(math.cos(math.radians(degrees)), 15)
    sin = round(math.sin(-math.radians(degrees)), 15)
    corners = [(x - center[0], y - center[1]) for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
    xs = [cos * x + sin * y + center[0] for x, y in corners]
    ys = [-sin * x + cos * y + center[1] for x, y in corners]
    return math.ceil(max(xs)) - math.floor(min(xs)), math.ceil(max(ys)) - math.floor(min(ys))
