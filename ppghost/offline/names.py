"""Which picture a file belongs to: its stem, by which inputs, results and labels find each other.

The stem is what stands before the first dot, as Ascend's tools cut names: of `cat.1.jpg` and `cat.2.jpg` they
make results of one name, so such a pair is refused before anything is computed. Imports only the errors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Union

from ppghost.errors import DataError


def stem_of(path: Union[str, Path]) -> str:
    """Return the stem of a file.

    Raises:
        DataError: nothing stands before the first dot.
    """
    stem = os.path.basename(path).partition(".")[0]
    if not stem:
        raise DataError(f"'{path}' has no name before its first dot, by which its result would be found.")
    return stem


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Return stem -> path, in the order given.

    Raises:
        DataError: two files have one stem.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(stem_of(path), path)
        if other is not path:
            raise DataError(
                f"'{other}' and '{path}' have one stem, '{stem_of(path)}' (what stands before the first "
                "dot), so "
                "their results would have one name. Rename one of them."
            )
    return found


def natural_key(name: str) -> list[Union[int, str]]:
    """Return a sort key by which `a2` comes before `a10`; digits and other text alternate in it."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if position % 2 else part.lower() for position, part in enumerate(parts)]
