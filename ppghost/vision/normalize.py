"""Normalisation and channel order: `uint8 [H, W, 3]` -> `float32`. Ground: NumPy and OpenCV; never paddle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Optional, Union

import cv2
import numpy as np

from ppghost.vision.checks import check_choice, check_range, read_number
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pictures import as_array

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Triple = tuple[float, float, float]


@OPS.add("NormalizeImage")
@dataclass(frozen=True)
class NormalizeImage:
    """Compute `(image * scale - mean) / std` in float32, per channel.

    A uint8 picture has 256 values a channel, so the formula is evaluated on those and looked up: the result
    is equal to the last bit and several times as fast. The result for [H, W, 3] is a view of planes that lie
    one after the other, so that the transpose to [3, H, W] that follows costs nothing.

    Attributes:
        scale: a number or a quotient such as "1.0/255.0" (read, never executed); None means 1/255.
        mean: per channel, in units of the scaled picture; None means ImageNet's.
        std: per channel; None means ImageNet's.
        order: "chw" for [3, H, W]; anything else, usually "" or "hwc", for [H, W, 3].
        output_fp16: give float16 instead of float32.
        channel_num: 3, or 4 to append a channel of zeros.
    """

    scale: Optional[Union[float, str]] = None
    mean: Optional[Triple] = None
    std: Optional[Triple] = None
    order: str = "chw"
    output_fp16: bool = False
    channel_num: int = 3

    def __post_init__(self) -> None:
        check_choice("NormalizeImage.channel_num", self.channel_num, (3, 4))
        _check_levels("NormalizeImage", self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD)
        if self.scale is not None and read_number("NormalizeImage.scale", self.scale) == 0:
            raise ValueError("NormalizeImage.scale is 0, which makes all pictures equal; usual: '1.0/255.0'.")

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return float32 (float16 if asked) of the shape of `image`; nothing is drawn from `rng`."""
        array = as_array(image)
        axis = 0 if self.order == "chw" else 2
        if array.ndim != 3 or array.shape[axis] != 3:
            raise ValueError(
                f"NormalizeImage.order is {self.order!r} but the picture is {list(array.shape)}: "
                "write order: '' before ToCHWImage, order: chw after it."
            )
        planes = self._planes(array, axis)
        planes = planes.astype(np.float16) if self.output_fp16 else planes
        return planes if axis == 0 else planes.transpose(1, 2, 0)

    def _planes(self, array: np.ndarray, axis: int) -> np.ndarray:
        """Return float32 [3 or 4, H, W] of a picture whose channels lie on `axis`."""
        scale = 1.0 / 255.0 if self.scale is None else read_number("NormalizeImage.scale", self.scale)
        mean, std = self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD
        height, width = array.shape[1:] if axis == 0 else array.shape[:2]
        planes = np.empty((self.channel_num, height, width), np.float32)
        planes[3:] = 0
        if array.dtype == np.uint8:
            channels = array if axis == 0 else cv2.split(array)
            for channel, table, plane in zip(channels, _lookup_tables(scale, mean, std), planes):
                cv2.LUT(channel, table, dst=plane)
        else:
            planes[:3] = _normalize(array if axis == 0 else array.transpose(2, 0, 1), scale, mean, std)
        return planes


def _check_levels(op_name: str, mean: Triple, std: Triple) -> None:
    """Raise ValueError unless all numbers are finite and no deviation is 0."""
    for level in mean:
        check_range(f"{op_name}.mean", level, -math.inf)
    for level in std:
        check_range(f"{op_name}.std", level, -math.inf)
    if not all(std):
        raise ValueError(f"{op_name}.std is {list(std)}; a zero would divide by zero.")


def _normalize(planes: np.ndarray, scale: float, mean: Triple, std: Triple) -> np.ndarray:
    """Return PaddleClas' formula on [3, ...], each step rounded to float32 as there."""
    shape = (3,) + (1,) * (planes.ndim - 1)
    mean32 = np.array(mean).reshape(shape).astype(np.float32)
    std32 = np.array(std).reshape(shape).astype(np.float32)
    return (planes.astype(np.float32) * np.float32(scale) - mean32) / std32


@lru_cache(maxsize=32)
def _lookup_tables(scale: float, mean: Triple, std: Triple) -> np.ndarray:
    """Return float32 [3, 256]: the normalised value of each level of each channel."""
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 256))
    return _normalize(levels, scale, mean, std)


@OPS.add("ToCHWImage")
@dataclass(frozen=True)
class ToCHWImage:
    """Turn [H, W, C] into [C, H, W]; a view, nothing is copied."""

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the transposed picture; nothing is drawn from `rng`."""
        return as_array(image).transpose(2, 0, 1)


@OPS.add("ToTensor")
@dataclass(frozen=True)
class ToTensor:
    """Turn a uint8 picture [H, W, 3] into float32 [3, H, W] of 0 to 1; other dtypes keep their levels.

    The name is paddle's; the result is an array like that of every op.

    Attributes:
        data_format: "CHW" or "HWC", the order of the result.
    """

    data_format: str = "CHW"

    def __post_init__(self) -> None:
        check_choice("ToTensor.data_format", self.data_format, ("CHW", "HWC"))

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the picture as float32; nothing is drawn from `rng`."""
        array = as_array(image)
        planes = _unit_planes(array) if array.dtype == np.uint8 else array.transpose(2, 0, 1)
        return planes if self.data_format == "CHW" else planes.transpose(1, 2, 0)


def _unit_planes(array: np.ndarray) -> np.ndarray:
    """Return float32 [C, H, W] of 0 to 1 of a picture [H, W, C], looked up as `NormalizeImage` does."""
    planes = np.empty(array.transpose(2, 0, 1).shape, np.float32)
    for channel, plane in zip(cv2.split(array), planes):
        cv2.LUT(channel, _UNIT_LEVELS, dst=plane)
    return planes


# Divided, not multiplied with 1/255: for some levels the last bit differs, and paddle and torchvision divide.
_UNIT_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


@OPS.add("Normalize")
@dataclass(frozen=True)
class Normalize:
    """Compute `(image - mean) / std` in float32, per channel, without scaling.

    With `to_rgb`, paddle reverses the last axis even where that is the width; here it is the channels.

    Attributes:
        mean: one number or one per channel, in units of the picture.
        std: one number or one per channel.
        data_format: "CHW" or "HWC", the order of the picture.
        to_rgb: reverse the channels first.
    """

    mean: Union[float, Triple] = 0.0
    std: Union[float, Triple] = 1.0
    data_format: str = "CHW"
    to_rgb: bool = False

    def __post_init__(self) -> None:
        check_choice("Normalize.data_format", self.data_format, ("CHW", "HWC"))
        _check_levels("Normalize", _triple(self.mean), _triple(self.std))

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return float32 of the shape of `image`; nothing is drawn from `rng`."""
        axis = 0 if self.data_format == "CHW" else 2
        array = as_array(image)
        if array.ndim != 3 or array.shape[axis] != 3:
            raise ValueError(
                f"Normalize.data_format is {self.data_format!r} but the picture is {list(array.shape)}: "
                "write HWC before the transpose, CHW after it."
            )
        planes = array if axis == 0 else array.transpose(2, 0, 1)
        planes = (planes[::-1] if self.to_rgb else planes).astype(np.float32, copy=False)
        shape = (3, 1, 1)
        planes = planes - np.array(_triple(self.mean), np.float32).reshape(shape)
        planes /= np.array(_triple(self.std), np.float32).reshape(shape)
        return planes if axis == 0 else planes.transpose(1, 2, 0)


def _triple(value: Union[float, Triple]) -> Triple:
    return value if isinstance(value, tuple) else (value, value, value)
