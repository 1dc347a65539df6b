"""A comparison of training steps as a table for people, as plain values for programs, and as a plot.

Door: imports the results' types and the rock; matplotlib only for the plot.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from ppghost.bench.report import MEGABYTE, check_plotting, spread, table_lines, write_figure
from ppghost.bench.training import COMPETITORS, Comparison, Measurement, Setting
from ppghost.bench.workers import ratios

REFERENCE = "ours"
_HEAD = ("model", "program", "px", "batch", "step ms", "min..max", "/ ours", "min..max", "peak MB", "rounds")


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return the table and, below it, what is missing and why.

    "/ ours" is the time of a step divided by that of ours in the same round: 3 means that ours is three times
    as fast.
    """
    rows = [_HEAD, *(_row(comparison, one) for one in comparison.measurements)]
    versions = dict.fromkeys(
        f"{COMPETITORS[name].title}: {version}" for name, version in comparison.frameworks.items()
    )
    lines = [
        f"A training step in float32, {comparison.threads} thread(s) on {comparison.machine['cpus']} CPU(s); "
        "medians over rounds in which all programs take turns.",
        "; ".join(versions),
        "",
        *table_lines(rows, left=2),
    ]
    return lines + (["", *comparison.missing] if comparison.missing else [])


def _row(comparison: Comparison, one: Measurement) -> tuple[str, ...]:
    setting = one.setting
    return (
        setting.model,
        COMPETITORS[one.competitor].title,
        str(setting.size),
        str(setting.batch),
        *spread(one.step_ms, 0),
        *spread(ratios_to_ours(comparison, one), 2),
        f"{one.peak_bytes / MEGABYTE:.0f}",
        str(len(one.step_ms)),
    )


def ratios_to_ours(comparison: Comparison, one: Measurement) -> list[float]:
    """Return, for each round, the time of a step divided by that of ours; empty without ours."""
    ours = _find(comparison, one.setting, REFERENCE)
    return ratios(one.step_ms, ours.step_ms) if ours else []


def _find(comparison: Comparison, setting: Setting, name: str) -> Optional[Measurement]:
    found = [one for one in comparison.measurements if (one.setting, one.competitor) == (setting, name)]
    return found[0] if found else None


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """Return everything as values that JSON takes; times in ms, memory in bytes, every round by itself."""
    return {
        "threads": comparison.threads,
        "machine": comparison.machine,
        "frameworks": comparison.frameworks,
        "missing": comparison.missing,
        "measurements": [
            {
                "model": one.setting.model,
                "size": one.setting.size,
                "batch": one.setting.batch,
                "program": one.competitor,
                "median_ms": statistics.median(one.step_ms),
                "step_ms": one.step_ms,
                "ratios_to_ours": ratios_to_ours(comparison, one),
                "peak_bytes": one.peak_bytes,
            }
            for one in comparison.measurements
        ],
    }


def write_plot(comparison: Comparison, path: Path) -> None:
    """Draw the median step of every program, one panel for each size of pictures; bars show min and max.

    Raises:
        ToolMissingError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    check_plotting()
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(one.setting.size for one in comparison.measurements))
    figure = Figure(figsize=(4.5 * len(sizes), 4), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    for panel, size in zip(panels, sizes):
        _draw(panel, [one for one in comparison.measurements if one.setting.size == size])
    panels[0].set_ylabel("training step, ms")
    panels[0].legend(fontsize="small")
    write_figure(figure, path)


def _draw(panel: Any, measured: Sequence[Measurement]) -> None:
    models = list(dict.fromkeys(one.setting.model for one in measured))
    names = list(dict.fromkeys(one.competitor for one in measured))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        mine = [one for one in measured if one.competitor == name]
        heights = [statistics.median(one.step_ms) for one in mine]
        whiskers = [
            [height - min(one.step_ms) for one, height in zip(mine, heights)],
            [max(one.step_ms) - height for one, height in zip(mine, heights)],
        ]
        places = [models.index(one.setting.model) + (number + 0.5) * width - 0.4 for one in mine]
        colour = f"C{list(COMPETITORS).index(name)}"
        panel.bar(
            places, heights, width, yerr=whiskers, label=COMPETITORS[name].title, color=colour, capsize=2
        )
    panel.set_xticks(range(len(models)), models)
    panel.set_title(f"{measured[0].setting.size} px, batch {measured[0].setting.batch}")
    panel.grid(axis="y", alpha=0.3)
