"""Native kernels for training: C sources beside this file, compiled once into the cache (`ppghost.native`).

Brick: imports nothing but `ppghost.native`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Optional

from ppghost.native import NativeLibrary

__all__ = ["DepthwiseShape", "NormShape", "PointwiseShape", "load_library"]

# One object of each kernel for each instruction set; dispatch.c chooses among them when it runs.
LIBRARY = NativeLibrary(
    name="ppghost",
    folder=Path(__file__).parent,
    headers=("vector.h", "depthwise.h", "norm.h", "pointwise.h"),
    sources=("dispatch.c",),
    kernels=("depthwise.c", "norm.c", "pointwise.c"),
)


class DepthwiseShape(ctypes.Structure):
    """Sizes of one depthwise convolution; the C side's `Shape`."""

    _fields_ = [(name, ctypes.c_int) for name in ("batch", "channels", "height", "width", "kernel", "stride")]


class PointwiseShape(ctypes.Structure):
    """Sizes of one 1x1 convolution; the C side's `PointwiseShape`."""

    _fields_ = [(name, ctypes.c_int) for name in ("batch", "in_channels", "out_channels", "pixels")]


class NormShape(ctypes.Structure):
    """Sizes and constants of one batch norm; the C side's `NormShape`."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("batch", "channels", "pixels", "has_relu")),
        *((name, ctypes.c_float) for name in ("epsilon", "momentum")),
    ]


# Each kernel with its sizes and the number of arrays that its forward and backward function take.
SIGNATURES: dict[str, tuple[type[ctypes.Structure], int, int]] = {
    "depthwise": (DepthwiseShape, 3, 5),
    "pointwise": (PointwiseShape, 3, 5),
    "norm": (NormShape, 7, 8),
}


def load_library(cache: Optional[Path] = None) -> ctypes.CDLL:
    """Return the compiled kernels, from the cache or built now (a few seconds, once per machine).

    Args, side effects and raises as in `ppghost.native.NativeLibrary.load`.
    """
    library = LIBRARY.load(cache)
    for name, (sizes, *array_counts) in SIGNATURES.items():
        for direction, arrays in zip(("forward", "backward"), array_counts):
            function = getattr(library, f"ppghost_{name}_{direction}")
            function.argtypes = [
                ctypes.POINTER(sizes),
                *[ctypes.c_void_p] * arrays,
                ctypes.c_int,
                ctypes.c_void_p,
            ]
    library.ppghost_choose_instructions.argtypes = [ctypes.c_char_p]
    library.ppghost_choose_instructions.restype = ctypes.c_char_p
    return library
