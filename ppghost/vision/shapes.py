"""Draw labelled pictures of shapes and textures, so that a machine without any data can train and test.

Every class is one small function on a plane: the distance to its outline, positive inside, negative outside.
Where the figure lies, how it is turned, and what stands behind it and over it comes from a generator, so that
neither colour nor position tells the class: only the form does.

Ground: NumPy and OpenCV only, no paddle, nothing of ours but the rock.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Callable

import cv2
import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from ppghost.errors import DataError, suggest

Picture = NDArray[np.uint8]
Plane = NDArray[Any]
Form = Callable[[Plane, Plane], Plane]

TAU = 2.0 * np.pi


def _disc(u: Plane, v: Plane) -> Plane:
    return 1.0 - np.hypot(u, v)


def _ring(u: Plane, v: Plane) -> Plane:
    return 0.2 - np.abs(np.hypot(u, v) - 0.8)


def _square(u: Plane, v: Plane) -> Plane:
    return 0.85 - np.maximum(np.abs(u), np.abs(v))


def _triangle(u: Plane, v: Plane) -> Plane:
    sides = [np.cos(a) * u + np.sin(a) * v for a in (TAU / 12, TAU * 5 / 12, TAU * 9 / 12)]
    return 0.5 - np.maximum.reduce(sides)


def _star(u: Plane, v: Plane) -> Plane:
    half = TAU / 10
    angle = np.abs((np.arctan2(v, u) + half) % (2 * half) - half)
    radius = np.hypot(u, v)
    inner = 0.42
    edge = np.array([inner * np.cos(half) - 1.0, inner * np.sin(half)])
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    return normal[0] * (1.0 - radius * np.cos(angle)) - normal[1] * radius * np.sin(angle)


def _cross(u: Plane, v: Plane) -> Plane:
    across, along = np.abs(u), np.abs(v)
    upright = np.minimum(0.27 - across, 0.95 - along)
    return np.maximum(upright, np.minimum(0.27 - along, 0.95 - across))


def _spiral(u: Plane, v: Plane) -> Plane:
    radius = np.hypot(u, v)
    turn = (radius * 2.3 - np.arctan2(v, u) / TAU) % 1.0
    return np.minimum((0.25 - np.abs(turn - 0.5)) / 2.3, 1.0 - radius)


def _stripes(u: Plane, v: Plane) -> Plane:
    return 0.25 - np.abs(u % 1.0 - 0.5)


def _waves(u: Plane, v: Plane) -> Plane:
    return 0.25 - np.abs((u + 0.55 * np.sin(v * (TAU / 2.3))) % 1.0 - 0.5)


def _checkerboard(u: Plane, v: Plane) -> Plane:
    across, along = 0.5 - np.abs(u % 2.0 - 1.0), 0.5 - np.abs(v % 2.0 - 1.0)
    return np.sign(across * along) * np.minimum(np.abs(across), np.abs(along))


def _dots(u: Plane, v: Plane) -> Plane:
    return 0.3 - np.hypot(u % 1.0 - 0.5, v % 1.0 - 0.5)


def _grid(u: Plane, v: Plane) -> Plane:
    return 0.14 - np.minimum(np.abs(u % 1.0 - 0.5), np.abs(v % 1.0 - 0.5))


FIGURES: Mapping[str, Form] = MappingProxyType(
    {
        "disc": _disc,
        "ring": _ring,
        "square": _square,
        "triangle": _triangle,
        "star": _star,
        "cross": _cross,
        "spiral": _spiral,
    }
)
"""Single figures of about unit radius."""

TEXTURES: Mapping[str, Form] = MappingProxyType(
    {
        "stripes": _stripes,
        "waves": _waves,
        "checkerboard": _checkerboard,
        "dots": _dots,
        "grid": _grid,
    }
)
"""Endless patterns of about unit period; a picture shows a patch of one."""

CLASSES: tuple[str, ...] = (*FIGURES, *TEXTURES)
"""Every class name, in the order of the labels."""


def draw(name: str, size: int, rng: RandomState) -> Picture:
    """Draw one picture of a class.

    Args:
        name: one of `CLASSES`.
        size: edge in pixels, at least 32: smaller pictures cannot show the textures.
        rng: the only source of chance; the same state gives the same picture. Its state advances.

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        DataError: the name is unknown, or the size is below 32.
    """
    if name not in CLASSES:
        raise DataError(f"Unknown shape '{name}'. {suggest(name, CLASSES)}")
    if size < 32:
        raise DataError(f"A drawn picture must be at least 32 pixels wide, not {size}.")
    front, back = _contrasting_colours(rng)
    canvas = _background(size, back, float(np.abs(front - back).mean()), rng)
    mask = _mask_of(name, size, rng)[..., None]
    canvas += mask * (front + _shading(size, 20.0, rng) - canvas)
    _occlude(canvas, rng)
    return _photograph(canvas, rng)


def _contrasting_colours(rng: RandomState) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two colours, float [3] in 0..255; the first is brighter than the second by 90 or more."""
    while True:
        colours = rng.uniform(15.0, 240.0, (2, 3))
        brightness = colours @ (0.299, 0.587, 0.114)
        if brightness[0] - brightness[1] >= 90.0:
            return colours[0], colours[1]


def _plane(size: int, centre: NDArray[Any], unit: float, rng: RandomState) -> tuple[Plane, Plane]:
    """Return coordinates [size, size] around `centre` in units of `unit` pixels: turned, mirrored, skewed."""
    angle, skew = rng.uniform(0.0, TAU), rng.uniform(-0.08, 0.08)
    stretch = np.exp(rng.uniform(-0.06, 0.06)) * rng.choice((-1.0, 1.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.array([[stretch, skew], [0.0, 1.0 / abs(stretch)]]) @ turn / unit
    x = np.arange(size, dtype=np.float32)[None, :] - np.float32(centre[0])
    y = np.arange(size, dtype=np.float32)[:, None] - np.float32(centre[1])
    (a, b), (c, d) = matrix.astype(np.float32)
    return a * x + b * y, c * x + d * y


def _mask_of(name: str, size: int, rng: RandomState) -> Plane:
    """Return the soft mask float32 [size, size] in 0..1 of one figure, or of one patch of a texture."""
    radius = size * rng.uniform(0.33, 0.46)
    centre = _centre(size, radius, rng)
    if name in FIGURES:
        return _cover(FIGURES[name], size, centre, radius, rng)
    outline = (_disc, _square)[rng.randint(2)]
    patch = _cover(outline, size, centre, radius * 1.3, rng)
    period = size * rng.uniform(0.19, 0.28)
    return patch * _cover(TEXTURES[name], size, rng.uniform(0.0, size, 2), period, rng)


def _centre(size: int, radius: float, rng: RandomState) -> NDArray[Any]:
    """Return a point from which at most a fifth of the radius leaves the picture."""
    margin = min(0.8 * radius, size / 2)
    return rng.uniform(margin, size - margin, 2)


def _cover(form: Form, size: int, centre: NDArray[Any], unit: float, rng: RandomState) -> Plane:
    u, v = _plane(size, centre, unit, rng)
    return np.clip(form(u, v) * unit + 0.5, 0.0, 1.0).astype(np.float32)


def _shading(size: int, strength: float, rng: RandomState) -> Plane:
    """Return a smooth field float32 [size, size, 3] within about plus or minus `strength`."""
    knots = rng.randint(2, 6)
    coarse = rng.uniform(-strength, strength, (knots, knots, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _background(size: int, colour: NDArray[Any], contrast: float, rng: RandomState) -> Plane:
    """Return a canvas float32 [size, size, 3]: a gradient, grain, or clutter fainter than the figure."""
    canvas = colour.astype(np.float32) + _shading(size, 0.25 * contrast, rng)
    kind = rng.randint(3)
    if kind == 1:
        canvas += rng.normal(0.0, 0.12 * contrast, (size, size, 1)).astype(np.float32)
    if kind == 2:
        for _ in range(rng.randint(4, 12)):
            _clutter(canvas, colour + rng.uniform(-0.4, 0.4, 3) * contrast, rng)
    return canvas


def _clutter(canvas: Plane, colour: NDArray[Any], rng: RandomState) -> None:
    """Draw one small stroke or blot onto `canvas` (changed in place)."""
    size = len(canvas)
    start = rng.randint(0, size, 2)
    paint = tuple(float(c) for c in colour)
    if rng.randint(2):
        end = start + rng.randint(-size // 4, size // 4 + 1, 2)
        cv2.line(canvas, _point(start), _point(end), paint, int(rng.randint(1, 3)), cv2.LINE_AA)
        return
    corners = start + rng.randint(-size // 10, size // 10 + 1, (4, 2))
    cv2.fillConvexPoly(canvas, cv2.convexHull(corners.astype(np.int32)), paint, cv2.LINE_AA)


def _occlude(canvas: Plane, rng: RandomState) -> None:
    """Lay a narrow bar over every second picture (changed in place)."""
    if rng.randint(2):
        return
    size = len(canvas)
    middle, angle = rng.uniform(0.15 * size, 0.85 * size, 2), rng.uniform(0.0, TAU)
    reach = rng.uniform(0.15, 0.3) * size * np.array([np.cos(angle), np.sin(angle)])
    paint = tuple(float(c) for c in rng.uniform(0.0, 255.0, 3))
    width = max(1, round(size * rng.uniform(0.03, 0.09)))
    cv2.line(canvas, _point(middle - reach), _point(middle + reach), paint, width, cv2.LINE_AA)


def _photograph(canvas: Plane, rng: RandomState) -> Picture:
    """Return what a small camera makes of the canvas: a little blur, sensor noise, eight bits."""
    if rng.randint(3) == 0:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (3, 3), rng.uniform(0.4, 0.9)), np.float32)
    noise = rng.normal(0.0, rng.uniform(1.0, 8.0), canvas.shape)
    return np.clip(canvas + noise, 0.0, 255.0).astype(np.uint8)


def _point(place: NDArray[Any]) -> tuple[int, int]:
    return int(place[0]), int(place[1])
