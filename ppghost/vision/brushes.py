"""The elementary changes that AutoAugment, RandAugment, AugMix and their kin are made of.

Each takes an RGB Pillow image and returns a new one; nothing is drawn here. Ground: Pillow; never paddle.
"""

from __future__ import annotations

from typing import Union

import numpy as np
from PIL import Image as PilImage
from PIL import ImageEnhance, ImageOps
from PIL.Image import Image as Picture

Rgb = tuple[int, int, int]

NEAREST = PilImage.Resampling.NEAREST
BILINEAR = PilImage.Resampling.BILINEAR
BICUBIC = PilImage.Resampling.BICUBIC
# The filters with which Pillow can shear, shift and rotate.
AFFINE_FILTERS = {"bilinear": BILINEAR, "bicubic": BICUBIC}


def _affine(image: Picture, matrix: tuple[float, ...], method: int, fill: Union[Rgb, None]) -> Picture:
    resample = PilImage.Resampling(method)
    return image.transform(image.size, PilImage.Transform.AFFINE, matrix, resample, fillcolor=fill)


def shear_x(image: Picture, slope: float, method: int, fill: Union[Rgb, None] = None) -> Picture:
    """Shear along the rows: a row moves by `slope` pixels more than the one above it."""
    return _affine(image, (1, slope, 0, 0, 1, 0), method, fill)


def shear_y(image: Picture, slope: float, method: int, fill: Union[Rgb, None] = None) -> Picture:
    """Shear along the columns."""
    return _affine(image, (1, 0, 0, slope, 1, 0), method, fill)


def shift_x(image: Picture, pixels: float, method: int, fill: Union[Rgb, None] = None) -> Picture:
    """Move to the left by `pixels`."""
    return _affine(image, (1, 0, pixels, 0, 1, 0), method, fill)


def shift_y(image: Picture, pixels: float, method: int, fill: Union[Rgb, None] = None) -> Picture:
    """Move up by `pixels`."""
    return _affine(image, (1, 0, 0, 0, 1, pixels), method, fill)


def rotate(image: Picture, degrees: float, method: int, fill: Union[Rgb, None] = None) -> Picture:
    """Turn counter-clockwise about the centre."""
    return image.rotate(degrees, PilImage.Resampling(method), fillcolor=fill)


def rotate_on_grey(image: Picture, degrees: float) -> Picture:
    """Turn counter-clockwise by the nearest pixel; what becomes free is mid grey."""
    turned = image.convert("RGBA").rotate(degrees)
    grey = PilImage.new("RGBA", turned.size, (128,) * 4)
    return PilImage.composite(turned, grey, turned).convert(image.mode)


def color(image: Picture, factor: float) -> Picture:
    """Blend with the greyscale picture: 0 grey, 1 unchanged, more is more colourful."""
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image: Picture, factor: float) -> Picture:
    """Blend with the mean grey: 0 flat, 1 unchanged."""
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image: Picture, factor: float) -> Picture:
    """Blend with black: 0 black, 1 unchanged."""
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image: Picture, factor: float) -> Picture:
    """Blend with a smoothed picture: 0 smooth, 1 unchanged, more is sharper."""
    return ImageEnhance.Sharpness(image).enhance(factor)


def posterize(image: Picture, bits: int) -> Picture:
    """Keep the upper `bits` bits of every level: 8 and more keep all, 0 gives black.

    Pillow does the same but refuses 0 bits from version 13 on.
    """
    kept = 256 - (1 << max(0, 8 - bits))
    return image.point([level & kept for level in range(256)] * len(image.getbands()))


def solarize(image: Picture, threshold: float) -> Picture:
    """Invert the levels from `threshold` on."""
    return ImageOps.solarize(image, threshold)


def solarize_add(image: Picture, amount: int, threshold: int = 128) -> Picture:
    """Add `amount` to the levels below `threshold`, at most to 255."""
    levels = [min(255, level + amount) if level < threshold else level for level in range(256)]
    return image.point(levels * len(image.getbands()))


def autocontrast(image: Picture) -> Picture:
    """Stretch every channel to 0 to 255."""
    return ImageOps.autocontrast(image)


def equalize(image: Picture) -> Picture:
    """Equalise the histogram of every channel."""
    return ImageOps.equalize(image)


def invert(image: Picture) -> Picture:
    """Invert every level."""
    return ImageOps.invert(image)


def cover_square(image: Picture, centre: tuple[int, int], half: int, level: int) -> Picture:
    """Set the square of `half` pixels around `centre` = (row, column) to `level`, cut at the edges."""
    array: np.ndarray = np.array(image)
    row, column = centre
    array[max(0, row - half) : row + half, max(0, column - half) : column + half] = level
    return PilImage.fromarray(array)
