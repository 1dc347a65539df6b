"""AutoAugment for ImageNet and the four RandAugments of PaddleClas: tables, and little else.

A move is `(image, magnitude, rng) -> image`. What tells the families apart is which moves they have, how a
level becomes a magnitude, and with which filter and colour a move fills the corners. Ground: never paddle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Callable, Optional

import numpy as np

from ppghost.vision import brushes
from ppghost.vision.brushes import BICUBIC, NEAREST, Picture, Rgb
from ppghost.vision.checks import check_choice, check_range, check_whole
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pad import check_fill
from ppghost.vision.pictures import as_pil
from ppghost.vision.stages import check_stages

Move = Callable[[Picture, float, Rng], Picture]
Moves = Mapping[str, Move]

GREY = (128, 128, 128)


def signed(magnitude: float, rng: Rng) -> float:
    """Return the magnitude with a random sign; draws one number from `rng.py`."""
    return magnitude * rng.py.choice((-1, 1))


@lru_cache(maxsize=16)
def classic_moves(shear_method: int, shift_method: int, fill: Rgb) -> Moves:
    """Return the fourteen moves of the AutoAugment paper; shifts are shares of the picture's size.

    A rotation has no random sign and mid grey corners: so it is in the code that PaddleClas took them from.
    """
    return {
        "shearX": lambda image, m, rng: brushes.shear_x(image, signed(m, rng), shear_method, fill),
        "shearY": lambda image, m, rng: brushes.shear_y(image, signed(m, rng), shear_method, fill),
        "translateX": lambda image, m, rng: brushes.shift_x(
            image, signed(m * image.size[0], rng), shift_method, fill
        ),
        "translateY": lambda image, m, rng: brushes.shift_y(
            image, signed(m * image.size[1], rng), shift_method, fill
        ),
        "rotate": lambda image, m, rng: brushes.rotate_on_grey(image, m),
        "color": lambda image, m, rng: brushes.color(image, 1 + signed(m, rng)),
        "posterize": lambda image, m, rng: brushes.posterize(image, int(m)),
        "solarize": lambda image, m, rng: brushes.solarize(image, m),
        "contrast": lambda image, m, rng: brushes.contrast(image, 1 + signed(m, rng)),
        "sharpness": lambda image, m, rng: brushes.sharpness(image, 1 + signed(m, rng)),
        "brightness": lambda image, m, rng: brushes.brightness(image, 1 + signed(m, rng)),
        "autocontrast": lambda image, m, rng: brushes.autocontrast(image),
        "equalize": lambda image, m, rng: brushes.equalize(image),
        "invert": lambda image, m, rng: brushes.invert(image),
    }


def cutout(image: Picture, half: float, level: int, rng: Rng) -> Picture:
    """Cover a square of `half` pixels around a random place; draws two numbers from `rng.np`."""
    centre = rng.np.randint(0, image.height + 1), rng.np.randint(0, image.width + 1)
    return brushes.cover_square(image, centre, int(half), level)


# Magnitude of each move at the levels 0 to 9.
_STEPS: Mapping[str, np.ndarray] = {
    "shearX": np.linspace(0, 0.3, 10),
    "shearY": np.linspace(0, 0.3, 10),
    "translateX": np.linspace(0, 150 / 331, 10),
    "translateY": np.linspace(0, 150 / 331, 10),
    "rotate": np.linspace(0, 30, 10),
    "color": np.linspace(0.0, 0.9, 10),
    "posterize": np.round(np.linspace(8, 4, 10)),
    "solarize": np.linspace(256, 0, 10),
    "contrast": np.linspace(0.0, 0.9, 10),
    "sharpness": np.linspace(0.0, 0.9, 10),
    "brightness": np.linspace(0.0, 0.9, 10),
    "autocontrast": np.zeros(10),
    "equalize": np.zeros(10),
    "invert": np.zeros(10),
    "cutout": np.round(np.linspace(0, 20, 10)),
}

# The policy learnt on ImageNet: pairs of (probability, move, level).
_IMAGENET_POLICY = (
    ((0.4, "posterize", 8), (0.6, "rotate", 9)),
    ((0.6, "solarize", 5), (0.6, "autocontrast", 5)),
    ((0.8, "equalize", 8), (0.6, "equalize", 3)),
    ((0.6, "posterize", 7), (0.6, "posterize", 6)),
    ((0.4, "equalize", 7), (0.2, "solarize", 4)),
    ((0.4, "equalize", 4), (0.8, "rotate", 8)),
    ((0.6, "solarize", 3), (0.6, "equalize", 7)),
    ((0.8, "posterize", 5), (1.0, "equalize", 2)),
    ((0.2, "rotate", 3), (0.6, "solarize", 8)),
    ((0.6, "equalize", 8), (0.4, "posterize", 6)),
    ((0.8, "rotate", 8), (0.4, "color", 0)),
    ((0.4, "rotate", 9), (0.6, "equalize", 2)),
    ((0.0, "equalize", 7), (0.8, "equalize", 8)),
    ((0.6, "invert", 4), (1.0, "equalize", 8)),
    ((0.6, "color", 4), (1.0, "contrast", 8)),
    ((0.8, "rotate", 8), (1.0, "color", 2)),
    ((0.8, "color", 8), (0.8, "solarize", 7)),
    ((0.4, "sharpness", 7), (0.6, "invert", 8)),
    ((0.6, "shearX", 5), (1.0, "equalize", 9)),
    ((0.4, "color", 0), (0.6, "equalize", 3)),
    ((0.4, "equalize", 7), (0.2, "solarize", 4)),
    ((0.6, "solarize", 5), (0.6, "autocontrast", 5)),
    ((0.6, "invert", 4), (1.0, "equalize", 8)),
    ((0.6, "color", 4), (1.0, "contrast", 8)),
    ((0.8, "equalize", 8), (0.6, "equalize", 3)),
)


def apply_pair(image: Picture, pair: tuple[tuple[float, str, int], ...], moves: Moves, rng: Rng) -> Picture:
    """Return `image` after the moves of `pair`, each made with its own probability."""
    for probability, name, level in pair:
        if rng.py.random() < probability:
            image = moves[name](image, float(_STEPS[name][level]), rng)
    return image


@OPS.add("AutoAugment")
@dataclass(frozen=True)
class AutoAugment:
    """Apply one of the 25 pairs of moves that were learnt on ImageNet.

    Attributes:
        fillcolor: levels of the corners that become free.

    Source: Cubuk et al., "AutoAugment: Learning Augmentation Strategies from Data", table 9.
    """

    fillcolor: Rgb = GREY

    def __post_init__(self) -> None:
        check_fill("AutoAugment.fillcolor", self.fillcolor)

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws from `rng.py` alone."""
        pair = _IMAGENET_POLICY[rng.py.randint(0, len(_IMAGENET_POLICY) - 1)]
        moves = classic_moves(BICUBIC, NEAREST, self.fillcolor)
        return np.asarray(apply_pair(as_pil(image), pair, moves, rng))


# Magnitude of each move from the share of the highest level, 0 to 1 and beyond; numpy draws by this order.
_LEVELS: Mapping[str, Callable[[float], float]] = {
    "shearX": lambda share: 0.3 * share,
    "shearY": lambda share: 0.3 * share,
    "translateX": lambda share: 150.0 / 331 * share,
    "translateY": lambda share: 150.0 / 331 * share,
    "rotate": lambda share: 30 * share,
    "color": lambda share: 0.9 * share,
    "posterize": lambda share: int(4.0 * share),
    "solarize": lambda share: 256.0 * share,
    "contrast": lambda share: 0.9 * share,
    "sharpness": lambda share: 0.9 * share,
    "brightness": lambda share: 0.9 * share,
    "autocontrast": lambda share: 0,
    "equalize": lambda share: 0,
    "invert": lambda share: 0,
}
_LEVELS_V2: Mapping[str, Callable[[float], float]] = {
    "shearX": lambda share: 0.3 * share,
    "shearY": lambda share: 0.3 * share,
    "translateX": lambda share: 100.0 * share,
    "translateY": lambda share: 100.0 * share,
    "rotate": lambda share: 30 * share,
    "color": lambda share: 1.8 * share + 0.1,
    "posterize": lambda share: int(4.0 * share),
    "solarize": lambda share: int(256.0 * share),
    "solarize_add": lambda share: int(110.0 * share),
    "contrast": lambda share: 1.8 * share + 0.1,
    "sharpness": lambda share: 1.8 * share + 0.1,
    "brightness": lambda share: 1.8 * share + 0.1,
    "autocontrast": lambda share: 0,
    "equalize": lambda share: 0,
    "invert": lambda share: 0,
    "cutout": lambda share: int(40 * share),
}
_LEVELS_V3: Mapping[str, Callable[[float], float]] = {
    **_LEVELS,
    "posterize": lambda share: 8 - int(4.0 * share),
    "solarize": lambda share: 255.0 * (1 - share),
}


@lru_cache(maxsize=16)
def _moves_v2(fill: Rgb) -> Moves:
    return {
        **classic_moves(NEAREST, NEAREST, fill),
        "translateX": lambda image, m, rng: brushes.shift_x(image, signed(m, rng), NEAREST, fill),
        "translateY": lambda image, m, rng: brushes.shift_y(image, signed(m, rng), NEAREST, fill),
        "rotate": lambda image, m, rng: brushes.rotate_on_grey(image, signed(m, rng)),
        "color": lambda image, m, rng: brushes.color(image, m),
        "solarize_add": lambda image, m, rng: brushes.solarize_add(image, int(m)),
        "contrast": lambda image, m, rng: brushes.contrast(image, m),
        "sharpness": lambda image, m, rng: brushes.sharpness(image, m),
        "brightness": lambda image, m, rng: brushes.brightness(image, m),
        "cutout": lambda image, m, rng: cutout(image, m, fill[0], rng),
    }


@lru_cache(maxsize=16)
def _moves_v3(method: int, fill: Rgb) -> Moves:
    return {
        **classic_moves(method, method, fill),
        "rotate": lambda image, m, rng: brushes.rotate(image, signed(m, rng), method, fill),
    }


def _apply_layers(
    image: Image,
    moves: Moves,
    levels: Mapping[str, Callable[[float], float]],
    layers: int,
    share: float,
    rng: Rng,
) -> np.ndarray:
    """Return uint8 [H, W, 3] after `layers` moves, drawn with replacement from `rng.np`."""
    picture, names = as_pil(image), list(levels)
    for _ in range(layers):
        name = names[rng.np.choice(len(names))]
        picture = moves[name](picture, levels[name](share), rng)
    return np.asarray(picture)


def _check_layers(name: str, num_layers: int, magnitude: float, fillcolor: Rgb) -> None:
    check_whole(f"{name}.num_layers", num_layers, 0)
    _check_magnitude(f"{name}.magnitude", magnitude)
    check_fill(f"{name}.fillcolor", fillcolor)


def _check_magnitude(where: str, magnitude: float) -> None:
    check_range(where, magnitude, 0, 20)


@OPS.add("RandAugment")
@dataclass(frozen=True)
class RandAugment:
    """Apply random moves of one strength.

    Attributes:
        num_layers: how many moves.
        magnitude: strength of all of them, 10 being the strongest of the paper.
        fillcolor: levels of the corners that become free.

    Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space".
    """

    num_layers: int = 2
    magnitude: float = 5
    fillcolor: Rgb = GREY

    def __post_init__(self) -> None:
        _check_layers("RandAugment", self.num_layers, self.magnitude, self.fillcolor)

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws moves from `rng.np` and signs from `rng.py`."""
        moves = classic_moves(BICUBIC, NEAREST, self.fillcolor)
        return _apply_layers(image, moves, _LEVELS, self.num_layers, self.magnitude / 10, rng)


@OPS.add("RandAugmentV2")
@dataclass(frozen=True)
class RandAugmentV2:
    """RandAugment as EfficientNetV2 uses it: two moves more, shifts in pixels, stronger colours.

    Attributes:
        num_layers: how many moves.
        magnitude: strength of all of them.
        progress_magnitude: `magnitude` in each of the four stages of `Global.train_mode: progressive`.
        fillcolor: levels of the corners that become free.
    """

    num_layers: int = 2
    magnitude: float = 5
    progress_magnitude: Optional[tuple[float, ...]] = None
    fillcolor: Rgb = GREY

    def __post_init__(self) -> None:
        _check_layers("RandAugmentV2", self.num_layers, self.magnitude, self.fillcolor)
        check_stages("RandAugmentV2.progress_magnitude", self.progress_magnitude, _check_magnitude)

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws moves and places from `rng.np` and signs from `rng.py`."""
        moves = _moves_v2(self.fillcolor)
        return _apply_layers(image, moves, _LEVELS_V2, self.num_layers, self.magnitude / 10, rng)


@OPS.add("RandAugmentV3")
@dataclass(frozen=True)
class RandAugmentV3:
    """RandAugment as MobileViTv2 uses it: one filter for all moves, black corners.

    Attributes:
        num_layers: how many moves.
        magnitude: strength of all of them.
        fillcolor: levels of the corners that become free.
        interpolation: "bicubic" or "bilinear".
    """

    num_layers: int = 2
    magnitude: float = 3
    fillcolor: Rgb = (0, 0, 0)
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        _check_layers("RandAugmentV3", self.num_layers, self.magnitude, self.fillcolor)
        check_choice("RandAugmentV3.interpolation", self.interpolation, brushes.AFFINE_FILTERS)

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws moves from `rng.np` and signs from `rng.py`."""
        moves = _moves_v3(brushes.AFFINE_FILTERS[self.interpolation], self.fillcolor)
        return _apply_layers(image, moves, _LEVELS_V3, self.num_layers, self.magnitude / 10, rng)


@OPS.add("RandAugmentV4")
@dataclass(frozen=True)
class RandAugmentV4:
    """RandAugment as ML-Decoder uses it: two moves of random level, each made with probability 1/2."""

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws from `rng.py`, and places from `rng.np`."""
        names = list(_STEPS)
        count = len(names) * 9
        first, second = divmod(rng.py.randint(0, count * count - 1), count)
        pair = tuple((0.5, names[index // 9], 1 + index % 9) for index in (first, second))
        return np.asarray(apply_pair(as_pil(image), pair, _moves_v4(), rng))


@lru_cache(maxsize=1)
def _moves_v4() -> Moves:
    return {
        **classic_moves(BICUBIC, NEAREST, GREY),
        "cutout": lambda image, m, rng: cutout(image, m, 0, rng),
    }
