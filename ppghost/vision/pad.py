"""Padding: a picture on a larger canvas. Ground: NumPy, OpenCV, Pillow; never paddle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Union

import cv2
import numpy as np
from PIL import Image as PilImage

from ppghost.vision.checks import check_choice, check_interval, check_range, check_size, check_whole
from ppghost.vision.geometry import as_pair, draw_window
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pictures import as_array, check_fits, crop, extent

Fill = Union[int, tuple[int, int, int]]

BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}


def add_border(image: Image, sides: tuple[int, int, int, int], fill: Fill, mode: str) -> Image:
    """Return the picture with `sides` = (left, top, right, bottom) pixels added; the form stays as it is.

    One number in `fill` is meant for all channels. PaddleClas and paddle hand it to OpenCV and Pillow, which
    fill the first channel with it and the others with 0.
    """
    left, top, right, bottom = sides
    value = (fill, fill, fill) if isinstance(fill, int) else fill
    padded = cv2.copyMakeBorder(as_array(image), top, bottom, left, right, BORDERS[mode], value=value)
    return padded if isinstance(image, np.ndarray) else PilImage.fromarray(padded)


def check_fill(where: str, fill: object) -> None:
    """Raise ValueError unless `fill` is a level of 0 to 255 or three of them."""
    levels = fill if isinstance(fill, tuple) else (fill,)
    if len(levels) not in (1, 3):
        raise ValueError(f"{where} is {fill!r}; accepted: one level or three, one per channel.")
    for level in levels:
        check_range(where, level, 0, 255)


@OPS.add("Pad")
@dataclass(frozen=True)
class Pad:
    """Add the same number of pixels on all four sides.

    PaddleClas takes `padding_mode` and always pads with a constant; here it is honoured.

    Attributes:
        padding: pixels on each side.
        fill: level of the border, 0 to 255, with mode "constant".
        padding_mode: "constant", "edge", "reflect" or "symmetric".
        backend: "pil" or "cv2"; the result is the same.
    """

    padding: int
    fill: Fill = 0
    padding_mode: str = "constant"
    backend: str = "pil"

    def __post_init__(self) -> None:
        check_whole("Pad.padding", self.padding, 0)
        check_fill("Pad.fill", self.fill)
        check_choice("Pad.padding_mode", self.padding_mode, BORDERS)
        check_choice("Pad.backend", self.backend, ("pil", "cv2"))

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the larger picture; nothing is drawn from `rng`."""
        return add_border(image, (self.padding,) * 4, self.fill, self.padding_mode)


@OPS.add("Pad_paddle_vision")
@dataclass(frozen=True)
class Pad_paddle_vision:  # noqa: N801 - the class name is the YAML name, and PaddleClas spells it so
    """Add pixels on the sides, as `paddle.vision.transforms.Pad` does.

    Attributes:
        padding: pixels on each side; or (left and right, top and bottom); or (left, top, right, bottom).
        fill: level of the border, 0 to 255, with mode "constant".
        padding_mode: "constant", "edge", "reflect" (the edge not repeated) or "symmetric" (repeated).
    """

    padding: Union[int, tuple[int, ...]]
    fill: Fill = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        sides = self.padding if isinstance(self.padding, tuple) else (self.padding,)
        if len(sides) not in (1, 2, 4):
            raise ValueError(f"Pad_paddle_vision.padding is {list(sides)}; accepted: 1, 2 or 4 numbers.")
        for side in sides:
            check_whole("Pad_paddle_vision.padding", side, 0)
        check_fill("Pad_paddle_vision.fill", self.fill)
        check_choice("Pad_paddle_vision.padding_mode", self.padding_mode, BORDERS)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the larger picture; nothing is drawn from `rng`."""
        sides = self.padding if isinstance(self.padding, tuple) else (self.padding,)
        left, top, right, bottom = sides * (4 // len(sides))
        return add_border(image, (left, top, right, bottom), self.fill, self.padding_mode)


@OPS.add("Padv2")
@dataclass(frozen=True)
class Padv2:
    """Put the picture on a canvas of a given size, or of the next multiple of a number.

    PaddleClas documents `size: null` and refuses it; here it pads to the multiple.

    Attributes:
        size: one number or (width, height); None pads to multiples of `size_divisor`.
        size_divisor: width and height become multiples of it where `size` is None.
        pad_mode: where the picture lies: 0 top left, 1 centre, 2 bottom right, -1 at `offsets`.
        offsets: (x, y) of the top left corner, with pad_mode -1.
        fill_value: level of the canvas, one number or one per channel.

    Raises:
        DataError: the picture is larger than `size`.
    """

    size: Optional[Union[int, tuple[int, int]]] = None
    size_divisor: int = 32
    pad_mode: int = 0
    offsets: Optional[tuple[int, int]] = None
    fill_value: Union[float, tuple[float, float, float]] = (127.5, 127.5, 127.5)

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size("Padv2.size", self.size)
        check_whole("Padv2.size_divisor", self.size_divisor, 1)
        check_choice("Padv2.pad_mode", self.pad_mode, (-1, 0, 1, 2))
        if self.pad_mode == -1 and self.offsets is None:
            raise ValueError(
                "Padv2.pad_mode -1 needs 'offsets', the (x, y) of the picture's top left corner."
            )

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return float32 [H, W, 3] with levels of 0 to 255; nothing is drawn from `rng`."""
        array = as_array(image).astype(np.float32)
        height, width = extent(array)
        canvas_height, canvas_width = self._canvas(height, width)
        if (height, width) == (canvas_height, canvas_width):
            return array
        left, top = self._corner(canvas_width - width, canvas_height - height)
        check_fits("Padv2", np.empty((canvas_height, canvas_width)), left + width, top + height)
        canvas = np.empty((canvas_height, canvas_width, 3), np.float32)
        canvas[:] = np.array(self.fill_value, np.float32)
        canvas[top : top + height, left : left + width] = array
        return canvas

    def _canvas(self, height: int, width: int) -> tuple[int, int]:
        if self.size is None:
            step = self.size_divisor
            return math.ceil(height / step) * step, math.ceil(width / step) * step
        return as_pair(self.size)[::-1]

    def _corner(self, free_x: int, free_y: int) -> tuple[int, int]:
        if self.pad_mode == -1 and self.offsets is not None:
            return self.offsets
        return {0: (0, 0), 1: (free_x // 2, free_y // 2), 2: (free_x, free_y)}[self.pad_mode]


@OPS.add("CropWithPadding")
@dataclass(frozen=True)
class CropWithPadding:
    """Keep a random window of the picture and cover the rest; the size stays as it is.

    PaddleClas asks paddle for a function that today's Paddle has under another name, and fails.

    Attributes:
        prob: how often.
        padding_num: level of what is covered, 0 to 255.
        size: unused, since nothing is resized; kept because recipes write it.
        scale: low and high share of the picture's area.
        ratio: low and high width / height.
        interpolation: unused, like `size`.
    """

    prob: float = 1
    padding_num: int = 0
    size: Union[int, tuple[int, int]] = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3.0 / 4, 4.0 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_range("CropWithPadding.prob", self.prob, 0, 1)
        check_range("CropWithPadding.padding_num", self.padding_num, 0, 255)
        check_interval("CropWithPadding.scale", self.scale, 0)
        check_interval("CropWithPadding.ratio", self.ratio, 1e-6)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the covered picture; draws from `rng.np` and `rng.py` as `RandomResizedCrop` does."""
        if rng.np.random_sample() >= self.prob:
            return image
        array = as_array(image)
        top, left, height, width = draw_window(extent(array), self.scale, self.ratio, rng)
        covered = np.full_like(array, self.padding_num)
        covered[top : top + height, left : left + width] = crop(array, top, left, height, width)
        return covered
