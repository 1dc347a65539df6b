"""The engine's C library: what it is made of, and the types of its functions.

Ground: never paddle; of ours only the rock.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Optional

from ppghost.native import NativeLibrary

LIBRARY = NativeLibrary(
    name="ghost",
    folder=Path(__file__).parent,
    headers=("engine.h", "kernels.h", "network.h", "plan.h", "pool.h", "program.h", "session.h"),
    sources=("bfloat.c", "engine.c", "network.c", "plan.c", "pool.c", "program.c", "roll.c", "steps.c"),
    kernels=("kernels.c",),
    links=("-lm", "-pthread"),
)


class Facts(ctypes.Structure):
    """What is known about a network; the C side's `GhostFacts`."""

    _fields_ = [
        ("channels", ctypes.c_int),
        ("classes", ctypes.c_int),
        ("instructions", ctypes.c_char_p),
        ("weight_bytes", ctypes.c_size_t),
    ]


@functools.cache
def load_engine(cache: Optional[Path] = None) -> ctypes.CDLL:
    """Return the engine, from the cache or built now (seconds, once per machine).

    Args, side effects and raises as in `ppghost.native.NativeLibrary.load`.
    """
    library = LIBRARY.load(cache)
    text, address, number = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int
    complaint = (ctypes.c_char_p, ctypes.c_size_t)
    signatures = {
        "ghost_open": (address, (text, text, text, text, *complaint)),
        "ghost_has_bf16": (number, ()),
        "ghost_facts": (Facts, (address,)),
        "ghost_start": (address, (address, number, *complaint)),
        "ghost_run": (number, (address, address, number, number, number, address, *complaint)),
        "ghost_stop": (None, (address,)),
        "ghost_close": (None, (address,)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
