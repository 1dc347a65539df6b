"""What `ppghost quantize` does: an ONNX folder in, a verified one of 8 bits out, and a measured report.

    quantization          the arguments, and the order of the work
    quantization_figures  top-1 and latency, measured
    quantization_report   the figures as a table, words, files and a plot

Program: may print. Imports no Paddle.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppghost.artifact import Artifact, placed, read_artifact
from ppghost.cli.console import logging_to
from ppghost.cli.program import count
from ppghost.cli.quantization_figures import measured
from ppghost.cli.quantization_report import REPORT_FILE, table, words_of, write_report
from ppghost.data.lists import PictureList, check_labels, check_presence, read_list
from ppghost.errors import ConfigError
from ppghost.export.quantize import (
    KEPT,
    METHODS,
    QuantizeOptions,
    check_source,
    prepare_rows,
    quantise,
    ship,
)
from ppghost.export.target import load_target
from ppghost.files import replaced_file
from ppghost.predict import list_pictures

_LOG = logging.getLogger(__name__)


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
    add("--batch-size", type=count, default=8, metavar="N", help="pictures in a batch (default: 8)")
    add("--batch-num", "--batch-nums", type=count, default=32, metavar="N", help="batches (default: 32)")
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
        help="how weights of what computes in float are stored; int8 (default) is unpacked by loading it",
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
    add("--threads", type=count, default=1, metavar="N", help="for calibrating (default: 1)")


def quantize(options: argparse.Namespace) -> int:
    """Make a folder of 8 bits from an ONNX folder, calibrated on pictures, and report its cost and gain.

    Weights become int8 with a scale for each channel, activations uint8 (QDQ). Top-1 (with --eval-data),
    latency (one picture, one thread, fp32 and int8 in turns; ONNX Runtime, and OpenVINO where it is
    installed) and size are measured here and reported as they are, also where int8 is slower.
    """
    out = Path(options.output)
    report = Path(options.report or f"{out}_report")
    chosen = _chosen(options)
    with logging_to(None):
        source = read_artifact(Path(options.artifact))
        check_source(source)
        _check_places(source.folder, out, report)
        pictures = _calibration_pictures(options)
        judged = _labelled(options, source)
        # Both places are opened before the work, so that what cannot be written is told at once.
        with placed(out) as folder, replaced_file(report / REPORT_FILE) as part:
            tree = _work(options, chosen, source, pictures, judged, folder)
            write_report(part, report, tree)
    for line in [*table(tree), *words_of(tree)]:
        print(line)
    name = source.facts.name
    print(f"Verified: {name} in 8 bits ({tree['shipped']}) in {out}; the report is in {report}")
    return 0


def _chosen(options: argparse.Namespace) -> QuantizeOptions:
    return QuantizeOptions(
        tuple(options.calibration),
        options.percentile,
        () if options.quantize_all else tuple(options.keep_float),
        options.float_weights,
        max(0, options.sensitivity),
        options.threads,
    )


def _work(
    options: argparse.Namespace,
    chosen: QuantizeOptions,
    source: Artifact,
    pictures: list[Path],
    judged: Optional[PictureList],
    folder: Path,
) -> dict[str, Any]:
    """Fill `folder` with the quantised artifact, and return the report of how it was made and measured."""
    with tempfile.TemporaryDirectory(prefix="ppghost-") as scratch:
        rows = Path(scratch) / "rows.npy"
        wanted = options.batch_size * options.batch_num
        taken = prepare_rows(source, pictures, wanted, rows, seed=options.seed)
        _LOG.info("Calibrating on %d of %d pictures: %s", wanted, len(pictures), ", ".join(chosen.methods))
        made = quantise(source, rows, Path(scratch), chosen)
        ship(source, made.best, made.versions, folder, load_target("onnx"))
        recorded = {**asdict(chosen), "seed": options.seed, "pictures": [str(path) for path in taken]}
        return {"options": recorded, **measured(source, made, judged, np.load(rows, mmap_mode="r")[:1])}


def _check_places(source: Path, out: Path, report: Path) -> None:
    places = [place.resolve() for place in (source, out, report)]
    if len(set(places)) < len(places):
        raise ConfigError("--artifact, --output and --report must be three folders.")


def _calibration_pictures(options: argparse.Namespace) -> list[Path]:
    """Return the pictures to draw from, sorted.

    Raises:
        DataError: there are none.
    """
    data = Path(options.data)
    if data.is_dir():
        return list_pictures(data)
    return list_pictures(options.image_root or data.parent, data)


def _labelled(options: argparse.Namespace, source: Artifact) -> Optional[PictureList]:
    """Return the labelled pictures; None where there are none.

    Raises:
        DataError: the list cannot be used, or its classes are not those of the network.
    """
    if options.eval_data is None:
        return None
    pictures = read_list(options.eval_data, options.eval_root or str(Path(options.eval_data).parent))
    count = source.facts.class_num
    check_labels(pictures, count, f"{source.facts.name} has {count} classes; give a list of its data.")
    check_presence(pictures, training=False)
    return pictures
