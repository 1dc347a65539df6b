"""Covering parts of a picture. Ground: NumPy and Pillow; never paddle.

These ops stand before or behind normalisation and before or behind the transpose: they look for the axis that
is 3 long. PaddleClas' take one order for granted, each its own, and in its recipes for `HideAndSeek` and
`GridMask` it is the wrong one: rows are then taken for channels and columns of three pixels for the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np
from PIL import Image as PilImage

from ppghost.vision.checks import check_choice, check_interval, check_range, check_whole, read_number
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pictures import as_array, channels_last, writable


@OPS.add("Cutout")
@dataclass(frozen=True)
class Cutout:
    """Cover squares at random places; a square may reach over the edge.

    PaddleClas fails unless `fill_value` is none: with a colour it never sets the attribute that it reads. A
    square is `length + 1` pixels wide there, because the far edge counts; the same here.

    Attributes:
        n_holes: how many squares.
        length: their width, in pixels.
        fill_value: three levels in the units of the picture, or None or "none" for a random colour of 0 to
            255 per square.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout".
    """

    n_holes: int = 1
    length: int = 112
    fill_value: Optional[Union[str, tuple[float, float, float]]] = (0, 0, 0)

    def __post_init__(self) -> None:
        check_whole("Cutout.n_holes", self.n_holes, 1)
        check_whole("Cutout.length", self.length, 1)
        if isinstance(self.fill_value, str):
            check_choice("Cutout.fill_value", self.fill_value, ("none",))

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the covered picture; draws from `rng.np`, and from `rng.py` for a random colour."""
        covered = writable(image)
        picture = channels_last(covered)
        height, width = picture.shape[:2]
        for _ in range(self.n_holes):
            y, x = rng.np.randint(height), rng.np.randint(width)
            top, left = max(y - self.length // 2, 0), max(x - self.length // 2, 0)
            bottom, right = y + self.length // 2 + 1, x + self.length // 2 + 1
            picture[top:bottom, left:right] = self._colour(rng)
        return covered

    def _colour(self, rng: Rng) -> tuple[float, ...]:
        if self.fill_value is None or isinstance(self.fill_value, str):
            return tuple(rng.py.randint(0, 255) for _ in range(3))
        return self.fill_value


@OPS.add("HideAndSeek")
@dataclass(frozen=True)
class HideAndSeek:
    """Set the cells of a grid of random width to 0, each with probability 1/2.

    The width is 0 (nothing is hidden), 16, 32, 44 or 56 pixels.

    Source: Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous", ICCV 2017.
    """

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the covered picture; draws one number from `rng.np`, then one per cell from `rng.py`."""
        covered = writable(image)
        picture = channels_last(covered)
        cell = (0, 16, 32, 44, 56)[rng.np.choice(5)]
        if cell == 0:
            return covered
        height, width = picture.shape[:2]
        for top in range(0, height, cell):
            for left in range(0, width, cell):
                if rng.py.random() <= 0.5:
                    picture[top : top + cell, left : left + cell] = 0
        return covered


@OPS.add("RandomErasing")
@dataclass(frozen=True)
class RandomErasing:
    """Cover one rectangle of random area, proportion and place.

    Numbers may be written as a quotient such as "1.0/3" (read, never executed).

    Attributes:
        EPSILON: how often.
        sl: smallest share of the picture's area.
        sh: largest share.
        r1: smallest height / width; the largest is 1 / r1.
        mean: level per channel in the units of the picture, with mode "const".
        attempt: how many rectangles are tried until one fits.
        use_log_aspect: draw the logarithm of the proportion uniformly.
        mode: "const", "rand" (one normal colour) or "pixel" (a normal number for each pixel and channel).

    Source: Zhong et al., "Random Erasing Data Augmentation".
    """

    EPSILON: Union[float, str] = 0.5
    sl: Union[float, str] = 0.02
    sh: Union[float, str] = 0.4
    r1: Union[float, str] = 0.3
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    attempt: int = 100
    use_log_aspect: bool = False
    mode: str = "const"

    def __post_init__(self) -> None:
        check_range("RandomErasing.EPSILON", self._number("EPSILON"), 0, 1)
        check_interval("RandomErasing.sl and sh", (self._number("sl"), self._number("sh")), 0)
        check_range("RandomErasing.r1", self._number("r1"), 1e-6)
        check_whole("RandomErasing.attempt", self.attempt, 0)
        check_choice("RandomErasing.mode", self.mode, ("const", "rand", "pixel"))

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the covered picture; draws from `rng.py`, with modes "rand" and "pixel" also `rng.np`."""
        if rng.py.random() > self._number("EPSILON"):
            return as_array(image)
        erased = writable(image)
        picture = channels_last(erased)
        for _ in range(self.attempt):
            height, width = self._draw_shape(picture.shape[0] * picture.shape[1], rng)
            if width < picture.shape[1] and height < picture.shape[0]:
                pixels = self._pixels(height, width, erased.shape[2] == 3, rng)
                top = rng.py.randint(0, picture.shape[0] - height)
                left = rng.py.randint(0, picture.shape[1] - width)
                picture[top : top + height, left : left + width] = pixels
                break
        return erased

    def _number(self, name: str) -> float:
        return read_number(f"RandomErasing.{name}", getattr(self, name))

    def _draw_shape(self, area: int, rng: Rng) -> tuple[int, int]:
        """Return height and width of a rectangle."""
        target = rng.py.uniform(self._number("sl"), self._number("sh")) * area
        low = self._number("r1")
        if self.use_log_aspect:
            aspect = math.exp(rng.py.uniform(math.log(low), math.log(1 / low)))
        else:
            aspect = rng.py.uniform(low, 1 / low)
        return int(round(math.sqrt(target * aspect))), int(round(math.sqrt(target / aspect)))

    def _pixels(self, height: int, width: int, is_last: bool, rng: Rng) -> np.ndarray:
        """Return what covers the rectangle, [1 or height, 1 or width, 3]."""
        if self.mode == "const":
            return np.array(self.mean).reshape(1, 1, 3)
        if self.mode == "rand":
            return rng.np.normal(size=3).reshape(1, 1, 3)
        if is_last:
            return rng.np.normal(size=(height, width, 3))
        return rng.np.normal(size=(3, height, width)).transpose(1, 2, 0)


@OPS.add("GridMask")
@dataclass(frozen=True)
class GridMask:
    """Cover a grid of bars, or everything but the bars.

    PaddleClas multiplies `prob` by an epoch counter that nobody counts, so its mask never comes. Here `prob`
    is taken as it is written.

    Attributes:
        d1: smallest period of the grid in pixels.
        d2: largest period, not included.
        rotate: the grid is turned by less than this number of degrees.
        ratio: width of a bar as a share of the period.
        mode: 0 covers the bars, 1 all but the bars.
        prob: how often.

    Source: Chen et al., "GridMask Data Augmentation".
    """

    d1: int = 96
    d2: int = 224
    rotate: int = 1
    ratio: float = 0.5
    mode: int = 0
    prob: float = 1.0

    def __post_init__(self) -> None:
        check_whole("GridMask.d1", self.d1, 1)
        check_whole("GridMask.d2", self.d2, self.d1 + 1)
        check_whole("GridMask.rotate", self.rotate, 1)
        check_range("GridMask.ratio", self.ratio, 0, 1)
        check_choice("GridMask.mode", self.mode, (0, 1))
        check_range("GridMask.prob", self.prob, 0, 1)

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the covered picture; draws one to five numbers from `rng.np`."""
        if rng.np.random_sample() > self.prob:
            return as_array(image)
        covered = writable(image)
        picture = channels_last(covered)
        mask = self._mask(picture.shape[0], picture.shape[1], rng)
        picture *= mask[:, :, None].astype(picture.dtype)
        return covered

    def _mask(self, height: int, width: int, rng: Rng) -> np.ndarray:
        """Return uint8 [height, width], 1 where the picture stays."""
        full_height, full_width = int(1.5 * height), int(1.5 * width)
        period = rng.np.randint(self.d1, self.d2)
        bar = int(period * self.ratio + 0.5)
        free_rows = _free_stripes(full_height, period, bar, rng.np.randint(period))
        free_columns = _free_stripes(full_width, period, bar, rng.np.randint(period))
        grid = PilImage.fromarray(np.outer(free_rows, free_columns)).rotate(rng.np.randint(self.rotate))
        top, left = (full_height - height) // 2, (full_width - width) // 2
        mask = np.asarray(grid)[top : top + height, left : left + width]
        return 1 - mask if self.mode == 1 else mask


def _free_stripes(length: int, period: int, bar: int, start: int) -> np.ndarray:
    """Return uint8 [length]: 0 on bars of width `bar` that begin at `start` and repeat, 1 between them."""
    stripes = np.ones(length, np.uint8)
    for first in range(start - period, length, period):
        stripes[max(first, 0) : max(first + bar, 0)] = 0
    return stripes
