"""What an image op is, where ops are registered, and how one is built from its YAML form.

An op is a frozen dataclass whose name is the YAML name and whose fields are the YAML keys. It is called with
a picture and the `Rng` from which it may draw, never changes its input and keeps no state, so one op serves
any number of threads and processes. Between ops a picture is `uint8 [H, W, 3] RGB`, a Pillow image where the
configuration asks for one (`DecodeImage: {to_np: False, backend: pil}`), or `float32` from normalisation on.

This room (`ppghost.vision`) imports NumPy, OpenCV, Pillow and the rock; never paddle, no other room of ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Optional, Protocol, Union, get_type_hints

import numpy as np
from PIL import Image as PilImage

from ppghost.errors import suggest
from ppghost.registry import Registry
from ppghost.vision.checks import describe_type, fits

Image = Union[np.ndarray, PilImage.Image]
Picture = Union[bytes, np.ndarray, PilImage.Image]


class Rng:
    """The two random streams that PaddleClas' ops draw from, seeded alike.

    `Rng(s)` gives an op the same numbers as `random.seed(s); numpy.random.seed(s)` gives PaddleClas' op. The
    generators are made when first used: seeding one takes longer than most ops.

    Attributes:
        seed: the seed of both streams, 0 to 2**32 - 1.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @classmethod
    def derive(cls, *parts: int) -> Rng:
        """Return the Rng of one place in a run, for example `Rng.derive(seed, epoch, index)`.

        The parts are hashed to one 32-bit seed, so neighbouring places have unrelated streams and the result
        depends on nothing else: not on the worker, the platform or the Python version.
        """
        digest = hashlib.blake2b(repr(tuple(map(int, parts))).encode(), digest_size=4).digest()
        return cls(int.from_bytes(digest, "little"))

    @cached_property
    def py(self) -> random.Random:
        """The stream of the `random` module."""
        return random.Random(self.seed)

    @cached_property
    def np(self) -> np.random.RandomState:
        """The stream of `numpy.random`."""
        return np.random.RandomState(self.seed)


class Undrawable(Rng):
    """Stands in for an Rng where none was given; whoever draws from it gets a sentence."""

    def __init__(self, op_name: str) -> None:
        self.op_name = op_name

    def _refuse(self) -> ValueError:
        return ValueError(
            f"{self.op_name} draws random numbers, which only training does. Take it out of the list; in "
            "Python, pass rng=Rng(seed)."
        )

    @cached_property
    def py(self) -> random.Random:
        """Raise: there is no stream."""
        raise self._refuse()

    @cached_property
    def np(self) -> np.random.RandomState:
        """Raise: there is no stream."""
        raise self._refuse()


class Op(Protocol):
    """An image op: called with a picture, returns a new one."""

    def __call__(self, image: Any, rng: Rng) -> Any:
        """Return the changed picture; `image` itself stays as it is."""
        ...


OPS: Registry[type] = Registry("transform op")


def build_op(name: str, params: Optional[Mapping[str, Any]]) -> Any:
    """Return the op called `name` with the YAML parameters `params` (None means no parameters).

    Raises:
        ValueError: the name or a parameter is unknown, refused or out of range.
    """
    return build(name, params, OPS, REFUSED_OPS)


def build_ops(entries: Sequence[Any], where: str) -> list[Any]:
    """Return the ops of a list `[{name: parameters}, ...]`; `where` is how messages call the list.

    Raises:
        ValueError: an entry is not a mapping with one key, or an op or parameter cannot be honoured.
    """
    ops = []
    for position, entry in enumerate(entries):
        if not (isinstance(entry, Mapping) and len(entry) == 1):
            raise ValueError(f"{where}[{position}] is {entry!r}; accepted: one op, {{Name: {{key: value}}}}.")
        [(name, params)] = entry.items()
        try:
            ops.append(build_op(name, params))
        except ValueError as error:
            raise ValueError(f"{where}[{position}]: {error}") from error
    return ops


def build(
    name: str, params: Optional[Mapping[str, Any]], table: Registry[type], refused: Mapping[str, str]
) -> Any:
    """Return an instance of the frozen dataclass `table[name]`, its fields set from `params`.

    Raises:
        ValueError: the name or a parameter is unknown, refused or out of range.
    """
    if name in refused:
        raise ValueError(f"{table.kind} '{name}' is not served here: {refused[name]}")
    if name not in table:
        raise ValueError(f"Unknown {table.kind} '{name}'. {suggest(name, table)}")
    if params is not None and not isinstance(params, Mapping):
        raise ValueError(f"{name} has {params!r}; accepted: a mapping of its parameters.")
    given = dict(params or {})
    accepted = [field.name for field in dataclasses.fields(table[name])]
    for key in given:
        if key not in accepted:
            raise ValueError(f"{name} has no parameter '{key}'. {suggest(key, accepted)}")
    missing = [
        field.name
        for field in dataclasses.fields(table[name])
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in given
    ]
    if missing:
        raise ValueError(f"{name} needs the parameter '{missing[0]}'.")
    values = {key: frozen(value) for key, value in given.items()}
    hints = get_type_hints(table[name])
    for key, value in values.items():
        if not fits(value, hints[key]):
            raise ValueError(f"{name}.{key} is {given[key]!r}; accepted: {describe_type(hints[key])}.")
    return table[name](**values)


def describe(op: Any) -> dict[str, Optional[dict[str, Any]]]:
    """Return the YAML form of an op: `{name: parameters}`, defaults left out, None where nothing is left."""
    params = {
        field.name: thawed(getattr(op, field.name))
        for field in dataclasses.fields(op)
        if getattr(op, field.name) != field.default
    }
    return {type(op).__name__: params or None}


def frozen(value: Any) -> Any:
    """Return `value` with every list in it as a tuple."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    return value


def thawed(value: Any) -> Any:
    """Return `value` with every tuple in it as a list, as YAML writes it."""
    if isinstance(value, (list, tuple)):
        return [thawed(item) for item in value]
    return value


_RAW = "it is an inner class of PaddleClas that takes Pillow images only; write '{}' instead."
_DALI = "DALI decodes on the GPU and belongs to PaddleClas' own loader; {}"

REFUSED_OPS: dict[str, str] = {
    "BlurImage": "it labels pictures as blurred or not for a quality model; PaddleClas with "
    "ppghost.register() trains those.",
    "RawImageNetPolicy": _RAW.format("AutoAugment"),
    "RawRandAugment": _RAW.format("RandAugment"),
    "RawRandAugmentV2": _RAW.format("RandAugmentV2"),
    "RawRandAugmentV3": _RAW.format("RandAugmentV3"),
    "RawRandAugmentV4": _RAW.format("RandAugmentV4"),
    "RawTimmAutoAugment": _RAW.format("TimmAutoAugment"),
    "CropMirrorNormalize": _DALI.format("write 'RandFlipImage' and 'NormalizeImage'."),
    "DecodeRandomResizedCrop": _DALI.format("write 'DecodeImage' and 'RandCropImage'."),
}
