"""What every engine gives back when it has loaded a model. Imports nothing but the standard library."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional


class Loaded(NamedTuple):
    """A model that is ready.

    Attributes:
        version: of the engine.
        rows: how many rows every run must have; None for any number.
        run: `float32 [N, C, H, W]`, contiguous, to `float32 [N, classes]`, an array of its own.
    """

    version: str
    rows: Optional[int]
    run: Callable[[Any], Any]
