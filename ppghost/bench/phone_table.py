"""The README's table of phone latencies, from checked result files; published figures stand apart.

Door: imports `phone` beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ppghost.bench.phone import Cell, Model, Result

PUBLISHED = MappingProxyType(
    {
        ("GhostNet_x0_5", 1): "5.28",
        ("GhostNet_x0_5", 2): "3.95",
        ("GhostNet_x0_5", 4): "3.29",
        ("GhostNet_x1_0", 1): "12.89",
        ("GhostNet_x1_0", 2): "8.66",
        ("GhostNet_x1_0", 4): "6.72",
        ("GhostNet_x1_3", 1): "19.16",
        ("GhostNet_x1_3", 2): "12.25",
        ("GhostNet_x1_3", 4): "9.40",
        ("GhostNet_x1_3_ssld", 1): "19.16",
        ("GhostNet_x1_3_ssld", 2): "17.85",
        ("GhostNet_x1_3_ssld", 4): "10.18",
    }
)
"""Milliseconds on a Snapdragon 855, armv8, by model and threads. Source: PaddleClas, GhostNet's page. The two
models of width 1.3 are the same network: they show how far apart two measurements were."""
PUBLISHED_TITLE = "published by PaddleClas, Lite version unknown (ms, Snapdragon 855)"
HEAD = (
    "model",
    "threads",
    "median ms",
    "p90 ms",
    "min..max ms",
    "device",
    "Paddle Lite",
    "precision, graph",
    "file MB",
    PUBLISHED_TITLE,
)
_NANOSECONDS = 1e6
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Row:
    """All rounds of one model with one number of threads on one device."""

    result: Result
    model: Model
    threads: int
    cells: tuple[Cell, ...]


def table_markdown(results: Sequence[Result]) -> list[str]:
    """Return the table as lines of Markdown, one row for each model, number of threads and file.

    The median is that over all timed runs of all rounds. A row is marked with `*` where the device slowed
    itself down. What was published is named only beside a network of that name with 224 x 224 pixels.
    """
    rows = [row for result in results for row in rows_of(result)]
    rows.sort(key=lambda row: (row.model.name, row.threads, row.model.precision))
    lines = [HEAD, tuple("---" for _ in HEAD), *(_cells(row) for row in rows)]
    table = [f"| {' | '.join(line)} |" for line in lines]
    if any(cell.is_throttled for row in rows for cell in row.cells):
        table += ["", "`*` the device slowed itself down, for heat or for its battery."]
    return table


def rows_of(result: Result) -> list[Row]:
    """Return what a result holds, without what was skipped in every round."""
    groups = [
        Row(result, model, threads, _chosen(result, model.id, threads))
        for model in result.models
        for threads in result.plan.threads
    ]
    return [row for row in groups if row.cells]


def _chosen(result: Result, model: str, threads: int) -> tuple[Cell, ...]:
    return tuple(cell for cell in result.cells if (cell.model, cell.threads) == (model, threads))


def _cells(row: Row) -> tuple[str, ...]:
    times = sorted(time for cell in row.cells for time in cell.times_ns)
    mark = "*" if any(cell.is_throttled for cell in row.cells) else ""
    p90 = statistics.median(cell.p90_ns for cell in row.cells)
    device = row.result.device
    name = " ".join(filter(None, (device.manufacturer, device.model, device.soc and f"({device.soc})")))
    is_published_size = row.model.input_shape == (1, 3, 224, 224)
    published = PUBLISHED.get((row.model.name, row.threads), "") if is_published_size else ""
    return tuple(
        text.replace("|", "\\|").replace("\n", " ")
        for text in (
            row.model.name,
            str(row.threads),
            f"{statistics.median(times) / _NANOSECONDS:.2f}{mark}",
            f"{p90 / _NANOSECONDS:.2f}",
            f"{times[0] / _NANOSECONDS:.2f}..{times[-1] / _NANOSECONDS:.2f}",
            f"{name}, {device.abi}, {row.result.plan.power_mode}",
            row.result.engine.version,
            f"{row.model.precision}, {row.model.graph}",
            f"{row.model.size_bytes / _MEGABYTE:.1f}",
            published,
        )
    )
