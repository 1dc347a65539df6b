"""AugMix and `RandomApply`: ops made of other ops. Ground: NumPy and Pillow; never paddle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Callable

import numpy as np

from ppghost.vision import brushes
from ppghost.vision.brushes import BILINEAR, Picture
from ppghost.vision.checks import check_range, check_whole
from ppghost.vision.op import OPS, Image, Rng, build_ops
from ppghost.vision.pictures import as_array, as_pil
from ppghost.vision.stages import progress_of

Move = Callable[[Picture, float, Rng], Picture]


def _draw_level(severity: float, maximum: float, rng: Rng) -> float:
    """Return a random strength up to `severity` tenths of `maximum`; draws one number from `rng.np`."""
    return float(rng.np.uniform(low=0.1, high=severity)) * maximum / 10


def _either_sign(level: float, rng: Rng) -> float:
    return -level if rng.np.uniform() > 0.5 else level


def _posterize(image: Picture, severity: float, rng: Rng) -> Picture:
    return brushes.posterize(image, 4 - int(_draw_level(severity, 4, rng)))


def _rotate(image: Picture, severity: float, rng: Rng) -> Picture:
    degrees = int(_draw_level(severity, 30, rng))
    return brushes.rotate(image, _either_sign(degrees, rng), BILINEAR)


def _solarize(image: Picture, severity: float, rng: Rng) -> Picture:
    return brushes.solarize(image, 256 - int(_draw_level(severity, 256, rng)))


def _shear(brush: Callable[..., Picture]) -> Move:
    def move(image: Picture, severity: float, rng: Rng) -> Picture:
        return brush(image, _either_sign(_draw_level(severity, 0.3, rng), rng), BILINEAR)

    return move


def _shift(brush: Callable[..., Picture], axis: int) -> Move:
    def move(image: Picture, severity: float, rng: Rng) -> Picture:
        pixels = int(_draw_level(severity, image.size[axis] / 3, rng))
        return brush(image, _either_sign(pixels, rng), BILINEAR)

    return move


# numpy draws by this order.
_MOVES: tuple[Move, ...] = (
    lambda image, severity, rng: brushes.autocontrast(image),
    lambda image, severity, rng: brushes.equalize(image),
    _posterize,
    _rotate,
    _solarize,
    _shear(brushes.shear_x),
    _shear(brushes.shear_y),
    _shift(brushes.shift_x, 0),
    _shift(brushes.shift_y, 1),
)


@OPS.add("AugMix")
@dataclass(frozen=True)
class AugMix:
    """Mix the picture with a mixture of randomly changed copies of it.

    Attributes:
        prob: how often.
        aug_prob_coeff: parameter of the Dirichlet and beta distributions of the mixture.
        mixture_width: number of copies.
        mixture_depth: changes per copy; 0 and less draws 1 to 3.
        aug_severity: strength of the changes, 1 to 10.

    Source: Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty".
    """

    prob: float = 0.5
    aug_prob_coeff: float = 0.1
    mixture_width: int = 3
    mixture_depth: int = 1
    aug_severity: float = 1

    def __post_init__(self) -> None:
        check_range("AugMix.prob", self.prob, 0, 1)
        check_range("AugMix.aug_prob_coeff", self.aug_prob_coeff, 1e-6)
        check_whole("AugMix.mixture_width", self.mixture_width, 1)
        check_range("AugMix.aug_severity", self.aug_severity, 0.1, 10)

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws one number from `rng.py`, the others from `rng.np`."""
        array = as_array(image)
        if rng.py.random() > self.prob:
            return array
        weights = np.float32(rng.np.dirichlet([self.aug_prob_coeff] * self.mixture_width))
        share = float(np.float32(rng.np.beta(self.aug_prob_coeff, self.aug_prob_coeff)))
        mixture = np.zeros(array.shape)
        for weight in weights:
            mixture += weight * np.asarray(self._chain(as_pil(array), rng))
        return ((1 - share) * array + share * mixture).astype(np.uint8)

    def _chain(self, image: Picture, rng: Rng) -> Picture:
        depth = self.mixture_depth if self.mixture_depth > 0 else rng.np.randint(1, 4)
        for _ in range(depth):
            image = _MOVES[rng.np.choice(len(_MOVES))](image, self.aug_severity, rng)
        return image


@OPS.add("RandomApply")
@dataclass(frozen=True)
class RandomApply:
    """Apply a list of ops, all or none.

    PaddleClas finds only names inside its own file, of which `RawColorJitter` is of use; here any op will do.

    Attributes:
        p: how often.
        transforms: the ops in their YAML form, `{name: parameters}`.
    """

    p: float
    transforms: tuple[Any, ...]

    def __post_init__(self) -> None:
        check_range("RandomApply.p", self.p, 0, 1)
        if any(map(progress_of, build_ops(self.transforms, "RandomApply.transforms"))):
            raise ValueError(
                "RandomApply.transforms has an op with progress_size or progress_magnitude; such an op "
                "stands by itself in transform_ops."
            )

    def __call__(self, image: Image, rng: Rng) -> Image:
        """Return the picture, changed or not; draws one number from `rng.np`, then what the ops draw."""
        if self.p < rng.np.random_sample():
            return image
        for op in self._ops:
            image = op(image, rng)
        return image

    @cached_property
    def _ops(self) -> list[Any]:
        return build_ops(self.transforms, "RandomApply.transforms")
