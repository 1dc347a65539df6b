"""What every report of a measurement needs: aligned tables, medians with their spread, JSON and plot files.

Door: imports the rock; matplotlib only for a plot.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppghost.errors import ToolMissingError
from ppghost.files import replaced_file

MEGABYTE = 2**20


def table_lines(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return rows as lines of aligned columns; the first `left` columns are flush left, numbers right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def spread(values: Sequence[float], digits: int) -> tuple[str, str]:
    """Return the median and "min..max" with so many decimals; "-" for both where there is nothing."""
    if not values:
        return "-", "-"
    return f"{statistics.median(values):.{digits}f}", f"{min(values):.{digits}f}..{max(values):.{digits}f}"


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write plain values.

    Raises:
        OutputError: the file cannot be written.
    """
    with replaced_file(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_plotting(what: str = "--plot") -> None:
    """Find out before measuring whether a plot can be drawn.

    Args:
        what: the option or program that draws it, for the message.

    Raises:
        ToolMissingError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401 - whether it is there is the question
    except ImportError as error:
        raise ToolMissingError(
            f"{what} needs matplotlib, which cannot be imported ({error}). Install it: "
            "pip install 'ppghost[plot]', or: pip install matplotlib"
        ) from error


def write_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    with replaced_file(path) as part, part.open("wb") as stream:
        figure.savefig(stream, format="png", dpi=150)
