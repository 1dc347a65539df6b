"""Throughput by batch size: what was measured here, and what others published, never in one column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ais_summary import Speed

from ppghost.errors import DataError


@dataclass(frozen=True)
class Published:
    """Figures of others, in pictures a second.

    Attributes:
        device: what ran it.
        source: where they were published.
        throughput: batch size -> pictures a second.
    """

    device: str
    source: str
    throughput: dict[int, float]


_PIPELINE = "ModelZoo-PyTorch, GhostNet1.0x, CANN 5.1"
PUBLISHED = (
    Published("Ascend 310", _PIPELINE, {1: 1348.024, 4: 2233.9991, 8: 2463.9302, 16: 2624.89, 32: 2689.049}),
    Published(
        "Ascend 310P", _PIPELINE, {1: 1502.4291, 4: 2317.6152, 8: 3739.9555, 16: 3438.7936, 32: 3020.9916}
    ),
    Published("NVIDIA T4", _PIPELINE, {1: 219.2172, 4: 701.0072, 8: 1032.52, 16: 924.992, 32: 447.872}),
    Published(
        "Ascend 310P3",
        "ModelZoo-PyTorch, GhostNet1.0x, CANN 6.0",
        {1: 1801, 4: 3632, 8: 4974, 16: 4292, 32: 3519, 64: 3058},
    ),
)
"""Published figures of GhostNet 1.0x at 224 pixels. None of them was measured by us."""


def table(measured: Sequence[Speed]) -> str:
    """Return a Markdown table with a row for each batch size.

    Raises:
        DataError: two runs of one engine have one batch size.
    """
    own = _by_engine(measured)
    batches = sorted({batch for column in own.values() for batch in column} | set(_published_batches()))
    head = [
        "batch",
        *(f"measured: {engine}" for engine in own),
        *(f"published: {each.device}" for each in PUBLISHED),
    ]
    columns = [*own.values(), *(each.throughput for each in PUBLISHED)]
    rows = [[str(batch), *(_cell(column, batch) for column in columns)] for batch in batches]
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---:"] * len(head), *rows]]
    sources = [f"- {each.device}: {each.source}" for each in PUBLISHED]
    return "\n".join(
        [
            "Pictures a second by batch size.",
            "",
            *lines,
            "",
            "Published by others, GhostNet 1.0x at 224 pixels:",
            *sources,
            "",
        ]
    )


def as_data(measured: Sequence[Speed]) -> dict[str, Any]:
    """Return the same as plain values.

    Raises:
        DataError: two runs of one engine have one batch size.
    """
    return {
        "unit": "pictures a second",
        "measured": _by_engine(measured),
        "published": [
            {"device": each.device, "source": each.source, "throughput": each.throughput}
            for each in PUBLISHED
        ],
    }


def _published_batches() -> list[int]:
    return [batch for each in PUBLISHED for batch in each.throughput]


def _by_engine(measured: Sequence[Speed]) -> dict[str, dict[int, float]]:
    columns: dict[str, dict[int, float]] = {}
    for speed in measured:
        column = columns.setdefault(speed.engine, {})
        if speed.batch in column:
            raise DataError(
                f"Two summaries are of {speed.engine} with batch size {speed.batch}. Give one of them."
            )
        column[speed.batch] = speed.throughput
    return columns


def _cell(column: dict[int, float], batch: int) -> str:
    return f"{column[batch]:.1f}" if batch in column else ""
