"""A comparison of inference as a table for people, as plain values for programs, and as a plot.

Door: imports the results' types and the rock; matplotlib only for the plot.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

from ppghost.bench.findings import Comparison, Measurement, Setting, Start
from ppghost.bench.pictures import PICTURES_PROGRAMS
from ppghost.bench.programs import REFERENCE, STOCK_ONEDNN
from ppghost.bench.report import MEGABYTE, check_plotting, spread, table_lines, write_figure
from ppghost.bench.workers import ratios

_SPEED_HEAD = ("program", "ms", "min..max", "/ ours", "min..max", "pictures/s", "peak MB", "rounds", "how")
_START_HEAD = ("program", "first s", "load s", "peak MB", "files MB", "error", "same top-1", "made by")


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return the tables, what they amount to, and what is missing and why.

    "/ ours" is the time of a call divided by that of ours in the same round: 3 means that ours is three times
    as fast.
    """
    where = comparison.provenance
    lines = [
        f"Inference on {where.get('cpu', where['machine'])}, {where['cpus']} CPU(s), {where['date']}.",
        "Medians over rounds in which all programs take turns, each on as many CPUs as it has threads; a",
        "call is a batch in, its outputs out. '/ ours': 3 means that ours is three times as fast. 'first s'",
        "counts from the start of the process to the first prediction, 'load s' from the file to a network",
        "that is ready (ours imports its engine meanwhile); 'error' is a share of the largest logit.",
    ]
    for setting in settings_of(comparison):
        lines += ["", _title(setting)]
        measured = sorted(of_setting(comparison, setting), key=lambda one: statistics.median(one.call_ms))
        lines += table_lines([_SPEED_HEAD, *(_speed_row(comparison, one) for one in measured)], left=1)
    for model, threads in dict.fromkeys((one.model, one.threads) for one in comparison.starts):
        starts = [one for one in comparison.starts if (one.model, one.threads) == (model, threads)]
        lines += ["", f"{model}, {threads} thread(s), the start"]
        lines += table_lines([_START_HEAD, *(_start_row(comparison, one) for one in starts)], left=1)
    summary = summary_lines(comparison)
    lines += ["", *summary] if summary else []
    return lines + (["", *comparison.missing] if comparison.missing else [])


def settings_of(comparison: Comparison) -> list[Setting]:
    """Return the settings that something was measured in, each once."""
    return list(dict.fromkeys(one.setting for one in comparison.measurements))


def of_setting(comparison: Comparison, setting: Setting) -> list[Measurement]:
    """Return what was measured in a setting."""
    return [one for one in comparison.measurements if one.setting == setting and one.call_ms]


def find(comparison: Comparison, setting: Setting, program: str) -> Optional[Measurement]:
    """Return what a program did in a setting; None where it was left out."""
    found = [one for one in of_setting(comparison, setting) if one.program == program]
    return found[0] if found else None


def ratios_to_ours(comparison: Comparison, one: Measurement) -> list[float]:
    """Return, for each round, the time of a call divided by that of ours; empty without ours."""
    ours = find(comparison, one.setting, REFERENCE)
    return ratios(one.call_ms, ours.call_ms) if ours else []


def picture_ms(one: Measurement) -> float:
    """Return the median milliseconds of one picture."""
    return statistics.median(one.call_ms) / (one.setting.batch or 1)


def _title(setting: Setting) -> str:
    what = "from JPEG files to answers" if setting.batch is None else f"batch {setting.batch}"
    return f"{setting.model}, {setting.threads} thread(s), {what}"


def _name(one: Measurement) -> str:
    return one.program if one.setting.batch is not None else PICTURES_PROGRAMS[one.program].title


def _speed_row(comparison: Comparison, one: Measurement) -> tuple[str, ...]:
    return (
        _name(one),
        *spread(one.call_ms, 2),
        *spread(ratios_to_ours(comparison, one), 2),
        f"{1000 / picture_ms(one):.0f}",
        f"{one.peak_bytes / MEGABYTE:.0f}",
        str(len(one.call_ms)),
        one.how,
    )


def _start_row(comparison: Comparison, one: Start) -> tuple[str, ...]:
    return (
        one.program,
        f"{one.first_seconds:.2f}",
        f"{one.load_seconds:.2f}",
        f"{one.peak_bytes / MEGABYTE:.0f}",
        f"{one.file_bytes / MEGABYTE:.1f}" if one.file_bytes else "-",
        "-" if one.error is None else f"{one.error:.0e}",
        "-" if one.agreement is None else f"{one.agreement:.1%}",
        comparison.frameworks[one.program],
    )


def summary_lines(comparison: Comparison) -> list[str]:
    """Return what each setting amounts to: ours against others, and our export against their own in each."""
    lines = []
    for setting in settings_of(comparison):
        facts = _facts_of(comparison, setting)
        if facts:
            lines.append(f"{_title(setting)}: ours is " + "; ".join(facts) + ".")
        told = _gains_of(comparison, setting)
        if told:
            lines.append(f"{_title(setting)}, times as fast as on its own export: {'; '.join(told)}.")
    return lines


def _gains_of(comparison: Comparison, setting: Setting) -> list[str]:
    """Return how many times as fast other programs are on an export of ours as on their own.

    Each in the same round, with the spread; and the fastest call of the one against the fastest of the other,
    which a disturbed machine changes least.
    """
    gains = []
    for one in of_setting(comparison, setting):
        program, _, graph = one.program.partition(":")
        own = find(comparison, setting, program)
        if graph and own is not None and not comparison.programs[program].is_ours:
            middle, range_ = spread(ratios(own.call_ms, one.call_ms), 2)
            best = f"{own.best_ms:.2f} / {one.best_ms:.2f} ms = {own.best_ms / one.best_ms:.2f}"
            gains.append(f"{one.program} {middle} ({range_}), fastest calls {best}")
    return gains


def _facts_of(comparison: Comparison, setting: Setting) -> list[str]:
    ours = find(comparison, setting, REFERENCE)
    others = [one for one in of_setting(comparison, setting) if one.program != REFERENCE]
    if ours is None or not others:
        return []
    stock = [one for one in others if one.program in STOCK_ONEDNN]
    facts = [f"{_times(comparison, one)} as fast as {_name(one)}" for one in stock]
    if setting.batch is None:
        return facts + _bound(comparison, ours)
    rivals = [one for one in others if comparison.programs[one.program].is_rival]
    if rivals:
        best = min(rivals, key=picture_ms)
        facts.append(f"{_times(comparison, best)} as fast as the best other program, {best.program}")
    low = [
        one
        for one in others
        if comparison.programs[one.program].is_ours and _precision(comparison, one) == "bf16"
    ]
    if low:
        best = min(low, key=picture_ms)
        faster = statistics.median(1 / ratio for ratio in ratios_to_ours(comparison, best))
        facts.append(f"its bf16, {best.program}, {faster:.2f} times as fast as itself")
    return facts


def _times(comparison: Comparison, one: Measurement) -> str:
    return f"{statistics.median(ratios_to_ours(comparison, one)):.2f} times"


def _precision(comparison: Comparison, one: Measurement) -> str:
    return comparison.programs[one.program].precision


def _bound(comparison: Comparison, ours: Measurement) -> list[str]:
    """Return what the parts of the work allow, where the network alone was measured on one core too."""
    setting = ours.setting
    alone = [
        picture_ms(one)
        for one in comparison.measurements
        if one.program == REFERENCE
        and (one.setting.model, one.setting.threads) == (setting.model, 1)
        and one.setting.batch is not None
    ]
    parts = comparison.parts.get(setting.model)
    if not alone or parts is None:
        return []
    best_ms = (parts["decode_ms"] + parts["prepare_ms"] + min(alone)) / setting.threads
    return [
        f"at {1000 / picture_ms(ours):.0f} pictures/s, {best_ms / picture_ms(ours):.0%} of what decoding "
        f"({parts['decode_ms']:.2f} ms), preparing ({parts['prepare_ms']:.2f} ms) and the network "
        f"({min(alone):.2f} ms) allow"
    ]


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """Return everything as values that JSON takes; times in ms, memory in bytes, every round by itself."""
    return {
        "provenance": comparison.provenance,
        "programs": {
            name: {
                "title": one.title,
                "graph": one.graph,
                "precision": one.precision,
                "options": dict(one.options),
                "environment": list(one.environment.requirements) if one.environment else None,
            }
            for name, one in comparison.programs.items()
        },
        "frameworks": comparison.frameworks,
        "starts": [asdict(one) for one in comparison.starts],
        "parts_of_a_picture": comparison.parts,
        "summary": summary_lines(comparison),
        "missing": comparison.missing,
        "measurements": [
            {
                **asdict(one.setting),
                "program": one.program,
                "how": one.how,
                "median_ms": statistics.median(one.call_ms),
                "best_ms": one.best_ms,
                "call_ms": one.call_ms,
                "ratios_to_ours": ratios_to_ours(comparison, one),
                "peak_bytes": one.peak_bytes,
            }
            for one in comparison.measurements
            if one.call_ms
        ],
    }


def write_plot(comparison: Comparison, path: Path) -> None:
    """Draw the milliseconds of a picture by every program, one panel for each network and number of threads.

    Raises:
        ToolMissingError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    check_plotting()
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys((one.model, one.threads) for one in settings_of(comparison)))
    models, threads = (list(dict.fromkeys(column)) for column in zip(*groups))
    names = list(dict.fromkeys(one.program for one in comparison.measurements))
    size = (6.5 * len(threads), (1.5 + 0.45 * len(names)) * len(models))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(models), len(threads), squeeze=False)
    for row, model in zip(panels, models):
        for panel, number in zip(row, threads):
            settings = [one for one in settings_of(comparison) if (one.model, one.threads) == (model, number)]
            _draw(panel, [of_setting(comparison, setting) for setting in settings])
            panel.set_title(f"{model}, {number} thread(s)")
            panel.set_xlabel("ms for one picture")
    panels[0][0].legend(fontsize="small")
    write_figure(figure, path)


def _draw(panel: Any, by_setting: Sequence[Sequence[Measurement]]) -> None:
    """Draw a bar for each program and batch size, the fastest on top; whiskers show min and max."""
    everyone = [one for measured in by_setting for one in measured]
    if not everyone:
        return
    names = list(dict.fromkeys(one.program for one in everyone))
    names.sort(key=lambda name: -min(picture_ms(one) for one in everyone if one.program == name))
    height = 0.8 / len(by_setting)
    for number, measured in enumerate(by_setting):
        divisor = measured[0].setting.batch or 1
        middles = [picture_ms(one) for one in measured]
        whiskers = [
            [middle - min(one.call_ms) / divisor for one, middle in zip(measured, middles)],
            [max(one.call_ms) / divisor - middle for one, middle in zip(measured, middles)],
        ]
        places = [names.index(one.program) - 0.4 + (number + 0.5) * height for one in measured]
        batch = measured[0].setting.batch
        label = "from files" if batch is None else f"batch {batch}"
        panel.barh(places, middles, height, xerr=whiskers, label=label, capsize=2)
    panel.set_yticks(range(len(names)), names)
    panel.grid(axis="x", alpha=0.3)
