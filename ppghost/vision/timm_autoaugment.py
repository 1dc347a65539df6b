"""`TimmAutoAugment`: the augmentations that timm names by a short text, such as "rand-m9-mstd0.5-inc1".

Idea: timm `data/auto_augment.py`; numbers as in PaddleClas' copy of it. A step is (move, probability, level).
Ground: NumPy and Pillow; never paddle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Callable, Optional, Union

import numpy as np
from PIL import Image as PilImage

from ppghost.errors import suggest
from ppghost.vision import brushes
from ppghost.vision.brushes import AFFINE_FILTERS, Picture, Rgb
from ppghost.vision.checks import check_choice, check_interval, check_range, check_size
from ppghost.vision.op import OPS, Image, Rng
from ppghost.vision.pictures import as_pil

Step = tuple[str, float, float]


@dataclass(frozen=True)
class Recipe:
    """What a config text says.

    Attributes:
        kind: "rand", "augmix", or the name of a policy.
        magnitude: level of every step, 0 to 10 (rand, augmix).
        deviation: standard deviation of the normal noise on the level.
        layers: steps per picture (rand).
        weighted: draw steps with unequal probabilities, without replacement (rand).
        increasing: use the moves that grow stronger with the level (rand).
        width: chains that are mixed (augmix).
        depth: steps per chain; below 1 it is drawn, 1 to 3 (augmix).
        alpha: of the Dirichlet and beta distributions of the mixture (augmix).
        blended: blend chain after chain instead of summing up (augmix).
    """

    kind: str
    magnitude: float = 10
    deviation: float = 0.0
    layers: int = 2
    weighted: bool = False
    increasing: bool = False
    width: int = 3
    depth: int = -1
    alpha: float = 1.0
    blended: bool = False


# Which sections a kind has: letter -> (field of Recipe, how its number is read).
_SECTIONS: Mapping[str, Mapping[str, tuple[str, Callable[[str], float]]]] = {
    "rand": {
        "m": ("magnitude", int),
        "mstd": ("deviation", float),
        "n": ("layers", int),
        "inc": ("increasing", int),
        "w": ("weighted", int),
    },
    "augmix": {
        "m": ("magnitude", int),
        "mstd": ("deviation", float),
        "w": ("width", int),
        "d": ("depth", int),
        "a": ("alpha", float),
        "b": ("blended", int),
    },
    "auto": {"mstd": ("deviation", float)},
}


@lru_cache(maxsize=32)
def read_recipe(text: str) -> Recipe:
    """Return what the config text of `TimmAutoAugment` says.

    Raises:
        ValueError: an unknown kind or section, or a section without a number that can be read.
    """
    parts = text.strip().split("-")
    if parts[0] == "auto" and len(parts) > 1:
        del parts[0]
    kind = parts[0]
    if kind not in ("rand", "augmix", *POLICIES):
        accepted = ["rand", "augmix", *POLICIES]
        raise ValueError(f"TimmAutoAugment.config_str is {text!r}: {suggest(kind, accepted)}")
    recipe = Recipe(kind, magnitude=3 if kind == "augmix" else 10)
    for part in parts[1:]:
        recipe = _read_section(recipe, part, text)
    _check_recipe(recipe)
    return recipe


def _check_recipe(recipe: Recipe) -> None:
    where = "TimmAutoAugment.config_str, section"
    # Steps with weights are drawn without replacement, and some weigh nothing.
    most = sum(weight > 0 for weight in _RAND_WEIGHTS.values()) if recipe.weighted else math.inf
    check_range(f"{where} mstd", recipe.deviation, 0)
    check_range(f"{where} n", recipe.layers, 0, most)
    check_range(f"{where} w", recipe.width, 1)
    check_range(f"{where} a", recipe.alpha, 1e-6)


def _read_section(recipe: Recipe, part: str, text: str) -> Recipe:
    sections = _SECTIONS["auto" if recipe.kind in POLICIES else recipe.kind]
    found = re.fullmatch(r"([a-z]+)(-?\d.*)", part)
    if found is None or found[1] not in sections:
        listed = ", ".join(f"{letter}<number>" for letter in sections)
        raise ValueError(f"TimmAutoAugment.config_str is {text!r}; '{part}' is none of {listed}.")
    if recipe.kind == "rand" and found[1] == "w":
        check_choice("TimmAutoAugment.config_str, section w", found[2], ("0",))
        return replace(recipe, weighted=True)
    field, read = sections[found[1]]
    try:
        number = read(found[2])
    except ValueError:
        raise ValueError(
            f"TimmAutoAugment.config_str is {text!r}; '{part}' holds no {read.__name__}."
        ) from None
    is_switch = field in ("increasing", "blended")
    changes: dict[str, Any] = {field: bool(number) if is_switch else number}
    return replace(recipe, **changes)


@dataclass(frozen=True)
class Palette:
    """What the moves of one op share: filter (None draws one), colour of corners, and the widest shift."""

    method: Optional[int]
    fill: Rgb
    shift_share: float

    def draw_method(self, rng: Rng) -> int:
        """Return the filter; "random" draws one number from `rng.py`."""
        return rng.py.choice(tuple(AFFINE_FILTERS.values())) if self.method is None else self.method


Move = Callable[[Picture, float, Palette, Rng], Picture]


def _either_sign(value: float, rng: Rng) -> float:
    return -value if rng.py.random() > 0.5 else value


def _shear(brush: Callable[..., Picture]) -> Move:
    def move(image: Picture, level: float, palette: Palette, rng: Rng) -> Picture:
        slope = _either_sign(level / 10 * 0.3, rng)
        return brush(image, slope, palette.draw_method(rng), palette.fill)

    return move


def _shift(brush: Callable[..., Picture], axis: int) -> Move:
    def move(image: Picture, level: float, palette: Palette, rng: Rng) -> Picture:
        pixels = _either_sign(level / 10 * palette.shift_share, rng) * image.size[axis]
        return brush(image, pixels, palette.draw_method(rng), palette.fill)

    return move


def _rotate(image: Picture, level: float, palette: Palette, rng: Rng) -> Picture:
    degrees = _either_sign(level / 10 * 30.0, rng)
    return brushes.rotate(image, degrees, palette.draw_method(rng), palette.fill)


def _enhance(brush: Callable[[Picture, float], Picture]) -> Move:
    return lambda image, level, palette, rng: brush(image, level / 10 * 1.8 + 0.1)


def _enhance_increasing(brush: Callable[[Picture, float], Picture]) -> Move:
    return lambda image, level, palette, rng: brush(image, 1.0 + _either_sign(level / 10 * 0.9, rng))


def _plain(brush: Callable[[Picture], Picture]) -> Move:
    return lambda image, level, palette, rng: brush(image)


MOVES: Mapping[str, Move] = {
    "AutoContrast": _plain(brushes.autocontrast),
    "Equalize": _plain(brushes.equalize),
    "Invert": _plain(brushes.invert),
    "Rotate": _rotate,
    "Posterize": lambda image, level, palette, rng: brushes.posterize(image, int(level / 10 * 4)),
    "PosterizeIncreasing": lambda image, level, palette, rng: brushes.posterize(
        image, 4 - int(level / 10 * 4)
    ),
    "PosterizeOriginal": lambda image, level, palette, rng: brushes.posterize(image, int(level / 10 * 4) + 4),
    "Solarize": lambda image, level, palette, rng: brushes.solarize(image, int(level / 10 * 256)),
    "SolarizeIncreasing": lambda image, level, palette, rng: brushes.solarize(
        image, 256 - int(level / 10 * 256)
    ),
    "SolarizeAdd": lambda image, level, palette, rng: brushes.solarize_add(image, int(level / 10 * 110)),
    "Color": _enhance(brushes.color),
    "ColorIncreasing": _enhance_increasing(brushes.color),
    "Contrast": _enhance(brushes.contrast),
    "ContrastIncreasing": _enhance_increasing(brushes.contrast),
    "Brightness": _enhance(brushes.brightness),
    "BrightnessIncreasing": _enhance_increasing(brushes.brightness),
    "Sharpness": _enhance(brushes.sharpness),
    "SharpnessIncreasing": _enhance_increasing(brushes.sharpness),
    "ShearX": _shear(brushes.shear_x),
    "ShearY": _shear(brushes.shear_y),
    "TranslateXRel": _shift(brushes.shift_x, 0),
    "TranslateYRel": _shift(brushes.shift_y, 1),
}

# Steps of "rand" with their weights; numpy draws by this order.
_RAND_WEIGHTS = {
    "AutoContrast": 0.025,
    "Equalize": 0.005,
    "Invert": 0.0,
    "Rotate": 0.3,
    "Posterize": 0.0,
    "Solarize": 0.005,
    "SolarizeAdd": 0.005,
    "Color": 0.025,
    "Contrast": 0.005,
    "Brightness": 0.005,
    "Sharpness": 0.025,
    "ShearX": 0.2,
    "ShearY": 0.2,
    "TranslateXRel": 0.1,
    "TranslateYRel": 0.1,
}
_WITH_INCREASING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")

_AUGMIX_MOVES = (
    "AutoContrast",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
    "Equalize",
    "Rotate",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)

_V0: tuple[tuple[Step, Step], ...] = (
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateYRel", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)
_ORIGINAL: tuple[tuple[Step, Step], ...] = (
    (("PosterizeOriginal", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("PosterizeOriginal", 0.6, 7), ("PosterizeOriginal", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("PosterizeOriginal", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("PosterizeOriginal", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)


def _with_research_posterize(policy: tuple[tuple[Step, Step], ...]) -> tuple[tuple[Step, Step], ...]:
    """Return the policy with the posterisation that grows stronger with the level."""

    def renamed(step: Step) -> Step:
        return ("PosterizeIncreasing", *step[1:]) if step[0].startswith("Posterize") else step

    return tuple((renamed(first), renamed(second)) for first, second in policy)


POLICIES: Mapping[str, tuple[tuple[Step, Step], ...]] = {
    "v0": _V0,
    "v0r": _with_research_posterize(_V0),
    "original": _ORIGINAL,
    "originalr": _with_research_posterize(_ORIGINAL),
}


@OPS.add("TimmAutoAugment")
@dataclass(frozen=True)
class TimmAutoAugment:
    """Apply the augmentation that a short text names.

    - "rand-m9-n2-mstd0.5-inc1-w0": RandAugment; m level (10), n steps (2), mstd noise on the level (0), inc1
      moves that grow stronger with the level, w0 unequal weights.
    - "augmix-m3-w3-d2-a1-b1-mstd0.5": AugMix; m level (3), w chains (3), d steps per chain (drawn), a alpha
      (1), b1 blend chain after chain.
    - "v0", "v0r", "original", "originalr", with "-mstd0.5", and "auto-" in front if you like: AutoAugment. In
      PaddleClas these cannot be reached: it asks for a name that begins with "auto" and then knows none such.

    PaddleClas takes "inc0" and "b0" for switched on; here 0 is off. Its "augmix" fails on a picture that is
    not square.

    Attributes:
        prob: how often.
        config_str: the text.
        interpolation: "bilinear", "bicubic", or "random" to draw one of them per move.
        img_size: size of the pictures; no augmentation above depends on it, recipes write it.
        mean: colour of the corners that become free, per channel, 0 to 1.
    """

    prob: float = 1.0
    config_str: str = "rand-m9-mstd0.5-inc1"
    interpolation: str = "bicubic"
    img_size: Union[int, tuple[int, int]] = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)

    def __post_init__(self) -> None:
        check_range("TimmAutoAugment.prob", self.prob, 0, 1)
        check_choice("TimmAutoAugment.interpolation", self.interpolation, (*AFFINE_FILTERS, "random"))
        check_size("TimmAutoAugment.img_size", self.img_size)
        check_interval("TimmAutoAugment.mean", (min(self.mean), max(self.mean)), 0, 1)
        read_recipe(self.config_str)

    def __call__(self, image: Image, rng: Rng) -> np.ndarray:
        """Return uint8 [H, W, 3]; draws from `rng.py` and `rng.np`."""
        picture = as_pil(image)
        if rng.py.random() < self.prob:
            picture = self._augment(picture, rng)
        return np.asarray(picture)

    def _augment(self, picture: Picture, rng: Rng) -> Picture:
        recipe = read_recipe(self.config_str)
        red, green, blue = (min(255, round(255 * level)) for level in self.mean)
        palette = Palette(
            method=AFFINE_FILTERS.get(self.interpolation),
            fill=(red, green, blue),
            shift_share=0.3 if recipe.kind == "augmix" else 0.45,
        )
        if recipe.kind == "augmix":
            return _apply_augmix(picture, recipe, palette, rng)
        steps = _rand_steps(recipe, rng) if recipe.kind == "rand" else rng.py.choice(POLICIES[recipe.kind])
        return _apply_steps(picture, steps, recipe, palette, rng)


def _apply_steps(
    image: Picture, steps: Sequence[Step], recipe: Recipe, palette: Palette, rng: Rng
) -> Picture:
    for name, probability, level in steps:
        if probability < 1.0 and rng.py.random() > probability:
            continue
        if recipe.deviation > 0:
            level = rng.py.gauss(level, recipe.deviation)
        image = MOVES[name](image, min(10.0, max(0, level)), palette, rng)
    return image


def _rand_steps(recipe: Recipe, rng: Rng) -> list[Step]:
    names = list(_RAND_WEIGHTS)
    weights = None
    if recipe.weighted:
        weights = np.array(list(_RAND_WEIGHTS.values()))
        weights = weights / np.sum(weights)
    chosen = rng.np.choice(len(names), recipe.layers, replace=weights is None, p=weights)
    suffix = "Increasing" if recipe.increasing else ""
    drawn = [names[index] for index in chosen]
    return [(name + suffix if name in _WITH_INCREASING else name, 0.5, recipe.magnitude) for name in drawn]


def _apply_augmix(image: Picture, recipe: Recipe, palette: Palette, rng: Rng) -> Picture:
    weights = np.float32(rng.np.dirichlet([recipe.alpha] * recipe.width))
    share = float(np.float32(rng.np.beta(recipe.alpha, recipe.alpha)))
    if recipe.blended:
        blended = image
        for weight in _blending_weights(weights, share):
            blended = PilImage.blend(blended, _augmix_chain(image, recipe, palette, rng), weight)
        return blended
    mixed = np.zeros((image.height, image.width, len(image.getbands())), np.float32)
    for weight in weights:
        mixed += weight * np.asarray(_augmix_chain(image, recipe, palette, rng), np.float32)
    mixture = PilImage.fromarray(np.clip(mixed, 0, 255.0).astype(np.uint8))
    return PilImage.blend(image, mixture, share)


def _augmix_chain(image: Picture, recipe: Recipe, palette: Palette, rng: Rng) -> Picture:
    depth = recipe.depth if recipe.depth > 0 else rng.np.randint(1, 4)
    chosen = rng.np.choice(len(_AUGMIX_MOVES), depth, replace=True)
    steps = [(_AUGMIX_MOVES[index], 1.0, recipe.magnitude) for index in chosen]
    return _apply_steps(image, steps, recipe, palette, rng)


def _blending_weights(weights: np.ndarray, share: float) -> list[float]:
    """Return the weight of each blend, so that all blends together weigh the chains with share * weights."""
    left, result = 1.0, []
    for weight in (weights * np.float32(share))[::-1]:
        result.append(float(weight) / left)
        left *= 1 - result[-1]
    return result[::-1]
