"""Pickles of arrays that others wrote, such as weight files and data sets, read without executing anything.

Ground: NumPy and the standard library; never paddle.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any

import numpy as np


class ForbiddenPickleError(pickle.UnpicklingError):
    """The pickle asks for more than arrays and containers; the message says for what."""


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays, numbers, text and plain containers; refuses to look up anything else.

    Raises:
        ForbiddenPickleError: by `load`, before anything that the pickle asks for is looked up.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what an admitted name stands for."""
        # NumPy 2 moved `core` to `_core`; files of either age must load in either.
        plain = module.replace("numpy._core", "numpy.core")
        if (plain, name) not in _ADMITTED:
            raise ForbiddenPickleError(f"{module}.{name}")
        return _ADMITTED[plain, name]


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which pickle protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


# Where NumPy keeps the first three differs between its versions, so real values are asked for them.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(1).__reduce_ex__(4)[0],
    ("numpy.core.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0],
    ("numpy.core.multiarray", "scalar"): np.float32(0).__reduce__()[0],
    ("_codecs", "encode"): _encode_latin1,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("builtins", "tuple"): tuple,
    ("__builtin__", "tuple"): tuple,
    ("collections", "OrderedDict"): OrderedDict,
}
