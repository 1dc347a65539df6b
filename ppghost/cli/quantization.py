"""What `ppghost quantize` does: an ONNX folder in, a verified one of 8 bits out, and a measured report.

Program: may print. Imports no Paddle.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppghost.accuracy.counting import Accuracy, answer_of
from ppghost.artifact import Artifact, read_artifact
from ppghost.cli.console import logging_to
from ppghost.data.lists import PictureList, check_labels, check_presence, read_list
from ppghost.engines import EngineNetwork, open_engine
from ppghost.errors import ConfigError, DataError
from ppghost.export.quantize import (
    KEPT,
    METHODS,
    Candidate,
    Quantised,
    QuantizeOptions,
    check_source,
    prepare_rows,
    quantise,
    ship,
)
from ppghost.export.target import load_target
from ppghost.files import replaced_file
from ppghost.offline.scoring import MOST
from ppghost.predict import list_pictures, score_pictures
from ppghost.results import printable

_LOG = logging.getLogger(__name__)

ROUNDS = 40
"""How many times fp32 and int8 take turns when their speed is measured."""
SAME_SPEED = 0.03
"""Medians that differ by less than this share are told apart by nobody."""


def add_quantize_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; those that PaddleSlim's offline quantisation has are called as there."""
    add = parser.add_argument
    add("--artifact", required=True, metavar="FOLDER", help="an ONNX folder, from export --target onnx")
    add("--data", required=True, metavar="LIST", help="pictures to calibrate on: a list file, or a folder")
    add("--image-root", metavar="FOLDER", help="where the paths of lists start (default: the list's folder)")
    add("--output", required=True, metavar="FOLDER", help="the folder to write")
    add(
        "--calibration",
        nargs="+",
        choices=METHODS,
        default=list(METHODS),
        help="PaddleSlim's algo: minmax is min_max there, percentile is hist, kl is KL. Of several the "
        "one nearest to fp32 on the calibration pictures is shipped (default: all four)",
    )
    add("--batch-size", type=_count, default=8, metavar="N", help="pictures in a batch (default: 8)")
    add("--batch-num", "--batch-nums", type=_count, default=32, metavar="N", help="batches (default: 32)")
    add("--percentile", "--hist-percent", type=float, default=99.99, help="in percent (default: 99.99)")
    add("--seed", type=int, default=0, help="of the choice of pictures (default: 0)")
    add(
        "--keep-float",
        nargs="+",
        metavar="PATTERN",
        default=list(KEPT),
        help="skip_tensor_list: what computes in float: first, classifier, se, or patterns of node names "
        "such as 'conv_1?' (default: first classifier se)",
    )
    add("--quantize-all", action="store_true", help="keep nothing in float")
    add(
        "--float-weights",
        choices=("int8", "fp32"),
        default="int8",
        help="how the weights of what computes in float are stored; int8 is unpacked as it runs (default)",
    )
    add("--eval-data", metavar="LIST", help="lines 'path label': measure top-1 of fp32 and of int8 on them")
    add("--eval-root", metavar="FOLDER", help="where its paths start (default: the list's folder)")
    add(
        "--sensitivity",
        type=int,
        default=16,
        metavar="N",
        help="measure on N pictures what each layer alone costs in 8 bits; 0 leaves it out (default: 16)",
    )
    add("--report", metavar="FOLDER", help="report.json, sensitivity.csv and .png (default: OUTPUT_report)")
    add("--threads", type=_count, default=1, metavar="N", help="for calibrating (default: 1)")


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number from 1")
    return int(text)


def quantize(options: argparse.Namespace) -> int:
    """Make a folder of 8 bits from an ONNX folder, calibrated on pictures, and report its cost and gain.

    Weights become int8 with a scale for each channel, activations uint8 (QDQ). Top-1 (with --eval-data),
    latency (ONNX Runtime, one picture, one thread, fp32 and int8 in turns) and size are measured here and
    reported as they are, also where int8 is slower.
    """
    out = Path(options.output)
    report = Path(options.report or f"{out}_report")
    chosen = QuantizeOptions(
        tuple(options.calibration),
        options.percentile,
        () if options.quantize_all else tuple(options.keep_float),
        options.float_weights,
        max(0, options.sensitivity),
        options.threads,
    )
    with logging_to(None):
        source = read_artifact(Path(options.artifact))
        check_source(source)
        _check_places(source.folder, out, report)
        pictures = _calibration_pictures(options)
        judged = _labelled(options, source)
        with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
            rows = Path(folder) / "rows.npy"
            count = options.batch_size * options.batch_num
            taken = prepare_rows(source, pictures, count, rows, seed=options.seed)
            _LOG.info("Calibrating on %d of %d pictures: %s", count, len(pictures), ", ".join(chosen.methods))
            made = quantise(source, rows, Path(folder), chosen)
            target = load_target("onnx")
            artifact = ship(source, made.best, made.versions, out, target)
            tree = {
                "options": {
                    **asdict(chosen),
                    "seed": options.seed,
                    "pictures": [str(path) for path in taken],
                },
                **_measured(source, made, judged, np.load(rows, mmap_mode="r")[:1]),
            }
    report.mkdir(parents=True, exist_ok=True)
    _write_report(report, tree)
    for line in [*_table(tree), *words_of(tree)]:
        print(line)
    print(
        f"Verified: {artifact.facts.name} in 8 bits ({made.best.method}) in {out}; the report is in {report}"
    )
    return 0


def _check_places(source: Path, out: Path, report: Path) -> None:
    places = [place.resolve() for place in (source, out, report)]
    if len(set(places)) < len(places):
        raise ConfigError("--artifact, --output and --report must be three folders.")


def _calibration_pictures(options: argparse.Namespace) -> list[Path]:
    """Return the pictures to draw from, sorted or in the list's order.

    Raises:
        DataError: there are none.
    """
    data = Path(options.data)
    if data.is_dir():
        return list_pictures(data)
    listed = _read_list(options.data, options.image_root)
    return [Path(listed.path(index)) for index in range(len(listed))]


def _read_list(source: str, root: Optional[str]) -> PictureList:
    return read_list(source, root or str(Path(source).parent))


def _labelled(options: argparse.Namespace, source: Artifact) -> Optional[PictureList]:
    """Return the labelled pictures; None where there are none.

    Raises:
        DataError: the list cannot be used, or its classes are not those of the network.
    """
    if options.eval_data is None:
        return None
    pictures = _read_list(options.eval_data, options.eval_root)
    count = source.facts.class_num
    check_labels(pictures, count, f"{source.facts.name} has {count} classes; give a list of its data.")
    check_presence(pictures, training=False)
    return pictures


def _measured(
    source: Artifact, made: Quantised, judged: Optional[PictureList], row: np.ndarray
) -> dict[str, Any]:
    """Return sizes, latencies and accuracies of the network in float and of every candidate."""
    model = source.path_of(source.facts.model("onnx").graph)
    fp32: dict[str, Any] = {"bytes": model.stat().st_size}
    networks: dict[str, tuple[Path, dict[str, Any]]] = {"fp32": (model, fp32)}
    for each in made.candidates:
        networks[each.method] = (each.model, _facts_of(each, fp32["bytes"]))
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(open_engine("onnxruntime", path, source.facts.input_shape))
            for name, (path, _) in networks.items()
        }
        if judged is not None:
            _LOG.info("Measuring top-1 on %d pictures", len(judged))
            _add_accuracy(source, {name: (opened[name], networks[name][1]) for name in opened}, judged)
        _add_latency({name: (opened[name], networks[name][1]) for name in opened}, row)
    tree = {name: facts for name, (_, facts) in networks.items()}
    return {
        "model": source.facts.name,
        "version": source.facts.version,
        "shipped": made.best.method,
        "fp32": tree.pop("fp32"),
        "int8": tree,
        "computes_in_float": list(made.kept),
        "computes_in_int8": list(made.nodes),
        "versions": dict(made.versions),
        "sensitivity": [dict(each) for each in made.sensitivity],
    }


def _facts_of(candidate: Candidate, fp32_bytes: int) -> dict[str, Any]:
    size = candidate.model.stat().st_size
    return {"bytes": size, "share_of_fp32_bytes": size / fp32_bytes, **candidate.fidelity}


def _add_accuracy(
    source: Artifact, networks: Mapping[str, tuple[EngineNetwork, dict[str, Any]]], judged: PictureList
) -> None:
    """Measure every network on the same prepared pictures; a broken picture is told and not counted."""
    gives_logits = source.facts.output == "logits"
    for name, (network, facts) in networks.items():
        counts = Accuracy()
        paths = (judged.path(index) for index in range(len(judged)))
        for index, scored in enumerate(score_pictures(network, source.pipeline, paths, batch_size=8)):
            if scored.failure is not None and name == "fp32":
                _LOG.error("%s: %s; it is not counted", printable(scored.source), scored.failure)
            label = int(judged.labels[index])
            counts.add(answer_of(judged.name(index), label, scored, gives_logits=gives_logits))
        top = counts.tally.top_n() if counts.tally.total else None
        if top is None:
            raise DataError(f"None of the {len(judged)} pictures of {judged.source} could be read.")
        facts.update(top1=top.accuracy(1), top5=top.accuracy(MOST), counted=top.total, broken=counts.broken)


def _add_latency(networks: Mapping[str, tuple[EngineNetwork, dict[str, Any]]], row: np.ndarray) -> None:
    """Measure every network with one picture and one thread, in turns, so that all meet the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(ROUNDS + 3):
        for name, (network, _) in networks.items():
            start = time.perf_counter()
            network(row)
            # The engine's own clock, where it has a process of its own: the bridge is no part of it.
            took = network.seconds or time.perf_counter() - start
            if turn >= 3:
                seconds[name].append(took)
    for name, (_, facts) in networks.items():
        facts["milliseconds"] = 1000 * statistics.median(seconds[name])


def words_of(tree: Mapping[str, Any]) -> list[str]:
    """Return what the figures say, in words, about the network that is shipped."""
    fp32, int8 = tree["fp32"], tree["int8"][tree["shipped"]]
    ratio = int8["milliseconds"] / fp32["milliseconds"]
    if abs(ratio - 1) <= SAME_SPEED:
        speed = "int8 is as fast as fp32 here"
    elif ratio > 1:
        speed = f"int8 is SLOWER than fp32 here: it takes {ratio:.2f} times as long"
    else:
        speed = f"int8 is {1 / ratio:.2f} times as fast as fp32 here"
    lines = [
        f"{speed} ({int8['milliseconds']:.2f} against {fp32['milliseconds']:.2f} ms, ONNX Runtime, one "
        "picture, one thread, medians in turns).",
        f"The file has {int8['bytes']} bytes, {int8['share_of_fp32_bytes']:.1%} of fp32's.",
    ]
    if "top1" in fp32:
        change = 100 * (int8["top1"] - fp32["top1"])
        lines.append(
            f"Top-1 changes by {change:+.2f} points, from {fp32['top1']:.5f} to {int8['top1']:.5f}, on "
            f"{fp32['counted']} pictures."
        )
    else:
        lines.append("Top-1 was not measured: give --eval-data LIST.")
    return lines


def _table(tree: Mapping[str, Any]) -> list[str]:
    rows = [("network", "bytes", "ms", "top1", "cosine", "same top1")]
    for name, facts in {"fp32": tree["fp32"], **tree["int8"]}.items():
        shown = (facts.get(key) for key in ("top1", "cosine", "same_top1"))
        figures = tuple("" if each is None else f"{each:.5f}" for each in shown)
        rows.append((name, str(facts["bytes"]), f"{facts['milliseconds']:.2f}", *figures))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _write_report(folder: Path, tree: Mapping[str, Any]) -> None:
    """Write report.json, and where the sensitivity was measured sensitivity.csv and, with Matplotlib, .png.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = json.dumps({**tree, "words": words_of(tree)}, ensure_ascii=False, indent=2)
    with replaced_file(folder / "report.json") as part:
        part.write_bytes((printable(text) + "\n").encode())
    layers: Sequence[Mapping[str, Any]] = tree["sensitivity"]
    if not layers:
        return
    kept = set(tree["computes_in_float"])
    with (
        replaced_file(folder / "sensitivity.csv") as part,
        part.open("w", encoding="utf-8", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("layer", "kind", "weight", "kept_in_float", "sqnr_db", "cosine", "same_top1"))
        for one in layers:
            shape = "x".join(map(str, one["weight"]))
            figures = (one["sqnr_db"], one["cosine"], one["same_top1"])
            writer.writerow((one["layer"], one["kind"], shape, int(one["layer"] in kept), *figures))
    if importlib.util.find_spec("matplotlib") is None:
        _LOG.warning("sensitivity.png is not drawn: Matplotlib is missing. pip install 'ppghost[plot]'")
        return
    with replaced_file(folder / "sensitivity.png") as part:
        _plot(layers, kept, part)


def _plot(layers: Sequence[Mapping[str, Any]], kept: set[str], out: Path) -> None:
    """Draw a bar for each layer: the error that it alone makes in 8 bits, 1 - cosine."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.16 * len(layers)), 4.5), layout="constrained")
    axes = figure.add_subplot()
    colours = ["tab:gray" if one["layer"] in kept else "tab:blue" for one in layers]
    axes.bar(range(len(layers)), [max(1 - one["cosine"], 1e-9) for one in layers], color=colours)
    axes.set_yscale("log")
    axes.set_xticks(range(len(layers)), [one["layer"] for one in layers], rotation=90, fontsize=6)
    axes.set_ylabel("1 - cosine of the logits")
    axes.set_title("What each layer alone costs in 8 bits (grey: kept in float)")
    figure.savefig(out, format="png", dpi=120)
