"""Random changes of colour. Ground: NumPy and Pillow; never paddle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional, Union

import numpy as np
from PIL import Image as PilImage
from PIL import ImageEnhance

from ppghost.vision.checks import check_interval, check_range
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pictures import as_pil, channels_last

Strength = Union[float, tuple[float, float]]
Interval = Optional[tuple[float, float]]


def shift_hue(image: PilImage.Image, share: float) -> PilImage.Image:
    """Return an RGB image whose hue is turned by `share` of the circle, -0.5 to 0.5."""
    hue, saturation, value = image.convert("HSV").split()
    levels = (np.asarray(hue).astype(np.int16) + int(share * 255)) % 256
    turned = PilImage.fromarray(levels.astype(np.uint8))
    return PilImage.merge("HSV", (turned, saturation, value)).convert(image.mode)


# In the order in which paddle lists them before it shuffles.
_CHANGES: Mapping[str, Callable[[PilImage.Image, float], PilImage.Image]] = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": shift_hue,
}


@dataclass(frozen=True)
class Jitter:
    """Change brightness, contrast, saturation and hue by random factors in random order.

    A strength is one number s for factors of 1 - s (at least 0) to 1 + s, or (low, high). For the hue, -s to
    s of the colour circle, at most 0.5. 0 leaves a property alone. Paddle accepts a pair for brightness and
    hue only; here all four take one.

    Attributes:
        brightness: strength for the level of all pixels.
        contrast: strength for the distance from the mean grey.
        saturation: strength for the distance from each pixel's grey.
        hue: strength for the turn on the colour circle.
    """

    brightness: Strength = 0
    contrast: Strength = 0
    saturation: Strength = 0
    hue: Strength = 0

    def __post_init__(self) -> None:
        for name in _CHANGES:
            where, strength = f"{type(self).__name__}.{name}", getattr(self, name)
            low, high = (-0.5, 0.5) if name == "hue" else (0.0, float("inf"))
            if isinstance(strength, tuple):
                check_interval(where, strength, low, high)
            else:
                check_range(where, strength, 0, high)

    def apply(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws from `rng.py` alone."""
        order = list(_CHANGES)
        rng.py.shuffle(order)
        picture = as_pil(image)
        for name in order:
            interval = self._interval(name)
            if interval is not None:
                picture = _CHANGES[name](picture, rng.py.uniform(*interval))
        return np.asarray(picture)

    def _interval(self, name: str) -> Interval:
        """Return (low, high) of the factor, None where the property stays."""
        strength, centre = getattr(self, name), 0.0 if name == "hue" else 1.0
        if not isinstance(strength, tuple):
            low = centre - strength
            strength = (low if name == "hue" else max(low, 0.0), centre + strength)
        return None if strength == (centre, centre) else strength


@OPS.add("ColorJitter")
@dataclass(frozen=True)
class ColorJitter(Jitter):
    """Change brightness, contrast, saturation and hue by random factors in random order.

    Attributes:
        prob: how often; 1 and more is always.
        brightness: as in `Jitter`, like contrast, saturation and hue.
    """

    prob: float = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("ColorJitter.prob", self.prob, 0)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the changed picture; draws one number from `rng.np`, the others from `rng.py`."""
        return self.apply(image, rng) if rng.np.random_sample() < self.prob else image


@OPS.add("RawColorJitter")
@dataclass(frozen=True)
class RawColorJitter(Jitter):
    """The `ColorJitter` of paddle itself, without `prob`, as `RandomApply` recipes name it.

    For an array PaddleClas runs paddle's OpenCV variant of it, which mixes colours in BGR order and draws the
    saturation twice; here an array and a Pillow image give the same picture.
    """

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the changed picture; draws from `rng.py` alone."""
        return self.apply(image, rng)


@OPS.add("RandomGrayscale")
@dataclass(frozen=True)
class RandomGrayscale:
    """Replace the three channels by three equal ones, 0.299 R + 0.587 G + 0.114 B.

    PaddleClas takes Pillow images only; here arrays too.

    Attributes:
        p: how often.
    """

    p: float = 0.1

    def __post_init__(self) -> None:
        check_range("RandomGrayscale.p", self.p, 0, 1)

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the picture in the form it came; draws one number from `rng.py`."""
        if rng.py.random() >= self.p:
            return image
        grey = as_pil(image).convert("L").convert("RGB")
        return np.asarray(grey) if isinstance(image, np.ndarray) else grey


@OPS.add("PCALighting")
@dataclass(frozen=True)
class PCALighting:
    """Add one random colour along the principal axes of ImageNet's colours.

    Meant for a picture of 0 to 1 or a normalised one; the noise has a deviation of 0.1 along the axes.

    Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.
    """

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return the picture plus the colour, float32; draws three numbers from `rng.np`."""
        alpha = rng.np.normal(0, 0.1, size=3).astype(np.float32)
        colour = (_EIGENVECTORS * alpha * _EIGENVALUES).sum(1)
        array = np.asarray(image)
        is_last = channels_last(array) is array
        return array + (colour if is_last else colour.reshape(3, 1, 1))


_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045], np.float32)
_EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], np.float32
)
