"""How `ppghost quantize` tells its figures: a table, words, report.json, and what each layer costs.

Program: may print. Imports no Paddle.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppghost.files import replaced_file
from ppghost.results import printable

_LOG = logging.getLogger(__name__)

REPORT_FILE = "report.json"
_NAMED = 5
SAME_SPEED = 0.03
"""What differs by less than this share is told apart by nobody."""


def words_of(tree: Mapping[str, Any]) -> list[str]:
    """Return what the figures say, in words, about the network that is shipped.

    Args:
        tree: what `quantization_figures.measured` returns.
    """
    fp32, int8 = tree["fp32"], tree["int8"][tree["shipped"]]
    lines = [
        _words_of_speed(engine, fp32["milliseconds"][engine], took, int8["times_fp32_quartiles"][engine])
        for engine, took in int8["milliseconds"].items()
    ]
    lines.append(f"The file has {int8['bytes']} bytes, {int8['share_of_fp32_bytes']:.1%} of fp32's.")
    if "top1" in fp32:
        change = 100 * (int8["top1"] - fp32["top1"])
        lines.append(
            f"Top-1 changes by {change:+.2f} points, from {fp32['top1']:.5f} to {int8['top1']:.5f}, on "
            f"{fp32['counted']} pictures."
        )
    else:
        lines.append("Top-1 was not measured: give --eval-data LIST.")
    quantised = [one for one in tree["sensitivity"] if one["layer"] not in tree["computes_in_float"]]
    worst = sorted(quantised, key=lambda one: float(one["cosine"]))[:_NAMED]
    if worst:
        named = ", ".join(f"{one['layer']} ({1 - one['cosine']:.2g})" for one in worst)
        lines.append(f"The costliest layers alone in 8 bits, 1 - cosine of the logits: {named}.")
    return lines


def _words_of_speed(engine: str, fp32: float, int8: float, ratios: Sequence[float]) -> str:
    """Say which is faster, if a quarter of the turns at most is on the other side."""
    low, ratio, high = ratios
    if low > 1 + SAME_SPEED:
        speed = f"is SLOWER than fp32 here: it takes {ratio:.2f} times as long"
    elif high < 1 - SAME_SPEED:
        speed = f"is {1 / ratio:.2f} times as fast as fp32 here"
    else:
        speed = f"is as fast as fp32 here, as far as can be told: {ratio:.2f} times as long"
    spread = f"{low:.2f} to {high:.2f} in half of the turns"
    return f"{engine}: int8 {speed} ({spread}; {int8:.2f} against {fp32:.2f} ms, one picture, one thread)."


def table(tree: Mapping[str, Any]) -> list[str]:
    """Return a line of figures for each network.

    Args:
        tree: as for `words_of`.
    """
    engines = list(tree["fp32"]["milliseconds"])
    rows = [("network", "bytes", *(f"{name} ms" for name in engines), "top1", "cosine", "same top1")]
    for name, facts in {"fp32": tree["fp32"], **tree["int8"]}.items():
        shown = (facts.get(key) for key in ("top1", "cosine", "same_top1"))
        figures = ("" if each is None else f"{each:.5f}" for each in shown)
        milliseconds = facts.get("milliseconds", {})
        took = (f"{milliseconds[engine]:.2f}" if engine in milliseconds else "" for engine in engines)
        rows.append((name, str(facts["bytes"]), *took, *figures))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def write_report(file: Path, folder: Path, tree: Mapping[str, Any]) -> None:
    """Write the figures, and where the sensitivity was measured sensitivity.csv and, with Matplotlib, .png.

    Args:
        file: gets the figures as JSON.
        folder: gets the others.
        tree: as for `words_of`.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = json.dumps({**tree, "words": words_of(tree)}, ensure_ascii=False, indent=2)
    file.write_bytes((printable(text) + "\n").encode())
    layers: Sequence[Mapping[str, Any]] = tree["sensitivity"]
    if not layers:
        return
    kept = set(tree["computes_in_float"])
    _write_layers(folder / "sensitivity.csv", layers, kept)
    if importlib.util.find_spec("matplotlib") is None:
        _LOG.warning("sensitivity.png is not drawn: Matplotlib is missing. pip install 'ppghost[plot]'")
        return
    with replaced_file(folder / "sensitivity.png") as part:
        _plot(layers, kept, part)


def _write_layers(path: Path, layers: Sequence[Mapping[str, Any]], kept: set[str]) -> None:
    with replaced_file(path) as part, part.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("layer", "kind", "weight", "kept_in_float", "sqnr_db", "cosine", "same_top1"))
        for one in layers:
            shape = "x".join(map(str, one["weight"]))
            figures = (one["sqnr_db"], one["cosine"], one["same_top1"])
            writer.writerow((one["layer"], one["kind"], shape, int(one["layer"] in kept), *figures))


def _plot(layers: Sequence[Mapping[str, Any]], kept: set[str], out: Path) -> None:
    """Draw a bar for each layer: the error that it alone makes in 8 bits, 1 - cosine."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.16 * len(layers)), 5.0), layout="constrained")
    axes = figure.add_subplot()
    colours = ["tab:gray" if one["layer"] in kept else "tab:blue" for one in layers]
    axes.bar(range(len(layers)), [max(1 - one["cosine"], 1e-9) for one in layers], color=colours)
    axes.set_yscale("log")
    axes.set_xticks(range(len(layers)), [one["layer"] for one in layers], rotation=90, fontsize=7)
    axes.set_xlim(-1, len(layers))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_ylabel("1 - cosine of the logits")
    axes.set_title("What each layer alone costs in 8 bits (grey: kept in float)")
    figure.savefig(out, format="png", dpi=120)
