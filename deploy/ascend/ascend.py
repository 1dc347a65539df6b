"""Ascend's offline inference from a shell: pictures to bins, ONNX to OM, bins to scores, scores to accuracy.

    python deploy/ascend/ascend.py prepare  PICTURES BINS          one float32 file for each picture
    python deploy/ascend/ascend.py info     bin BINS LIST 224 224  the list of them
    python deploy/ascend/ascend.py convert  MODEL.onnx --soc Ascend310P3 --batch 1 4 8 16 32
    python deploy/ascend/ascend.py aipp     aipp.config            normalisation for the device
    python deploy/ascend/ascend.py infer    MODEL RESULTS --bins BINS   by the NPU, or by ONNX Runtime instead
    python deploy/ascend/ascend.py score    RESULTS val_label.txt  top-1 to top-5
    python deploy/ascend/ascend.py report   SUMMARY...             throughput beside the published figures

Each takes --help. README.md beside this file tells the whole way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "ppghost").is_dir():
    sys.path.insert(1, str(ROOT))  # a checkout; the installed package finds itself

import atc  # noqa: E402 - the checkout must be found first, here and below
import bins  # noqa: E402
import runs  # noqa: E402
import throughput  # noqa: E402
from ais_summary import Results, find_results, speed_of  # noqa: E402

from ppghost.artifact import read_artifact  # noqa: E402
from ppghost.bench.report import write_json  # noqa: E402
from ppghost.cli.program import (  # noqa: E402
    add_class_num,
    add_threads,
    add_verb,
    count,
    picture_bar,
    place,
    prepare_inputs,
    run_verb,
)
from ppghost.errors import ConfigError  # noqa: E402
from ppghost.files import replaced_file  # noqa: E402
from ppghost.offline.outputs import read_scores  # noqa: E402
from ppghost.offline.preparing import RECORD_FILE, Record, claim_folder, write_record  # noqa: E402
from ppghost.offline.scoring import MOST, TopN, top_n  # noqa: E402
from ppghost.offline.truth import read_truth  # noqa: E402
from ppghost.predict import list_pictures  # noqa: E402
from ppghost.vision import Pipeline  # noqa: E402
from ppghost.vision.variants import TORCHVISION, VARIANTS, variant, variant_of, without_normalisation  # noqa: E402


def prepare(options: argparse.Namespace) -> int:
    """Make one input file for each picture of a folder: <stem>.bin, float32 [3, 224, 224], little endian.

    Broken pictures are told and left out; the exit code is 1 then. prepare.json in the folder says which
    preprocessing was used: torchvision is the published pipeline's, paddleclas that of PaddleClas' networks.
    """
    pipeline = pipeline_of(options)
    folder = Path(options.bins)
    targets = bins.bins_for(list_pictures(options.pictures), folder)
    encode = bins.level_encoder(pipeline) if options.aipp else bins.float_encoder(pipeline)
    claim_folder(folder, [path.name for path in targets.values()], RECORD_FILE)
    broken = prepare_inputs(targets, encode, options.threads)
    failures = {source.name: failure for source, failure in broken.items()}
    written = len(targets) - len(failures)
    dtype, shape = ("uint8" if options.aipp else "float32"), shape_of(pipeline, is_levels=options.aipp)
    way = variant_of(pipeline)
    write_record(folder, Record(way, pipeline.to_list(), dtype, shape, written, failures))
    print(f"{written} of {len(targets)} pictures prepared ({way}, {dtype} {list(shape)}): {folder}")
    return 1 if failures else 0


def info(options: argparse.Namespace) -> int:
    """Write the list that Ascend's early tools read: a line `index path width height` for each file."""
    out = Path(options.list)
    if options.kind == "bin":
        if options.width is None or options.height is None:
            raise ConfigError("A list of bins needs their size: info bin FOLDER LIST WIDTH HEIGHT")
        count = bins.write_bin_info(Path(options.folder), out, options.width, options.height)
    else:
        count = bins.write_picture_info(list_pictures(options.folder), out)
    print(f"{count} lines: {out}")
    return 0


def convert(options: argparse.Namespace) -> int:
    """Print the `atc` command for each batch size, and run it where atc is installed.

    The model is an ONNX file with operator set 11 and one input [N, 3, height, width], whose name and sides
    the command repeats. Without atc the exit code is 0 and the commands are there to be run elsewhere.
    """
    aipp = None if options.aipp is None else Path(options.aipp)
    conversions = atc.plan(Path(options.model), options.batch, options.soc, Path(options.output), aipp)
    for conversion in conversions:
        print(conversion.line())
    if options.print_only:
        return 0
    if not atc.is_installed():
        print(f"Not run: atc is not on PATH. {atc.REMEDY}", file=sys.stderr)
        return 0
    for conversion in conversions:
        atc.convert(conversion)
    return 0


def aipp(options: argparse.Namespace) -> int:
    """Write a configuration of AIPP: the device normalises, and the bins hold levels (prepare --aipp)."""
    pipeline = pipeline_of(options)
    height, width, _ = shape_of(pipeline, is_levels=True)
    with replaced_file(Path(options.config)) as part:
        part.write_text(atc.aipp_text(pipeline, height, width), encoding="ascii")
    print(f"{variant_of(pipeline)}, {width} x {height}: {options.config}")
    return 0


def infer(options: argparse.Namespace) -> int:
    """Run a model over a folder of bins; without BINS, measure its speed on zeros.

    The results are one file for each picture, <stem>_0.npy, and a summary. ais_bench and ais_infer are
    Ascend's tools and run OM files; onnxruntime runs the ONNX file on the CPU and writes the same files.
    """
    run = runs.Run(
        Path(options.model),
        None if options.bins is None else Path(options.bins),
        Path(options.results),
        options.batchsize,
        options.outfmt,
        options.loop,
    )
    if options.engine != "onnxruntime":
        runs.run_on_npu(run, options.engine)
        return 0
    with picture_bar() as progress:
        summary = runs.run_onnxruntime(run, options.threads, sys.argv, progress)
    speed = speed_of(summary)
    print(
        f"{speed.engine}, batch {speed.batch}: {speed.mean_ms:.3f} ms, {speed.throughput:.1f} pictures/s: "
        f"{summary}"
    )
    return 0


def score(options: argparse.Namespace) -> int:
    """Tell top-1 to top-5 of results, matched with the labels by the pictures' stems.

    RESULTS is a summary (sumary.json, result_summary.json) or the folder of the results. Every labelled
    picture must have a result and every result a label; --subset scores the results that are there.
    """
    results, truth = find_results(Path(options.results)), read_truth(options.labels)
    truth.check_classes(options.class_num)
    truth.check_complete(results.files, results.source, is_subset=options.subset)
    scored = top_n(
        (read_scores(path, options.class_num), truth.label_of(stem)) for stem, path in results.files.items()
    )
    ways = f" (preprocessing: {results.preprocessing})" if results.preprocessing else ""
    print(f"pictures {scored.total} of {len(truth.labels)} labelled{ways}")
    for k in range(1, MOST + 1):
        print(f"top{k}_acc {scored.accuracy(k):.4f}")
    if options.output is not None:
        write_json(score_data(scored, options.class_num, results), Path(options.output))
    return 0


def score_data(scored: TopN, class_num: int, results: Results) -> dict[str, Any]:
    """Return a score as plain values; `title` and `value` are what Ascend's first program wrote."""
    value = [
        {"key": "Number of images", "value": str(scored.total)},
        {"key": "Number of classes", "value": str(class_num)},
    ]
    value += [
        {"key": f"Top{k} accuracy", "value": f"{round(100 * scored.accuracy(k), 2)}%"}
        for k in range(1, MOST + 1)
    ]
    return {
        "title": "Overall statistical evaluation",
        "value": value,
        "hits": list(scored.hits),
        "preprocessing": results.preprocessing,
    }


def report(options: argparse.Namespace) -> int:
    """Print throughput by batch size: one column for each engine that ran here, others as published."""
    measured = [speed_of(Path(path)) for path in options.summary]
    print(throughput.table(measured), end="")
    if options.output is not None:
        write_json(throughput.as_data(measured), Path(options.output))
    return 0


def pipeline_of(options: argparse.Namespace) -> Pipeline:
    """Return the preprocessing that a command line names."""
    if options.artifact is not None:
        return read_artifact(Path(options.artifact)).pipeline
    return variant(options.way)


def shape_of(pipeline: Pipeline, *, is_levels: bool) -> tuple[int, ...]:
    """Return the sides of an input, found with a grey picture."""
    import numpy as np

    grey = np.full((300, 300, 3), 128, np.uint8)
    return without_normalisation(pipeline)(grey).shape if is_levels else pipeline.to_chw(grey).shape


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="ascend.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_preparing(verbs)
    _add_converting(verbs)
    _add_running(verbs)
    return parser


def _add_preparing(verbs: Any) -> None:
    verb = add_verb(verbs, "prepare", prepare)
    verb.add_argument("pictures", type=place, metavar="PICTURES", help="a folder, or one picture")
    verb.add_argument("bins", metavar="BINS", help="the folder to write")
    _add_way(verb)
    verb.add_argument("--aipp", action="store_true", help="uint8 [H, W, 3] for a model with AIPP")
    add_threads(verb)

    verb = add_verb(verbs, "info", info)
    verb.add_argument("kind", choices=("bin", "jpg"), help="what is listed: bins, or the pictures themselves")
    verb.add_argument("folder", type=place, metavar="FOLDER")
    verb.add_argument("list", metavar="LIST", help="the file to write")
    verb.add_argument("width", nargs="?", type=count, metavar="WIDTH", help="of the bins")
    verb.add_argument("height", nargs="?", type=count, metavar="HEIGHT", help="of the bins")


def _add_way(verb: argparse.ArgumentParser) -> None:
    group = verb.add_mutually_exclusive_group()
    group.add_argument(
        "--way", choices=sorted(VARIANTS), default=TORCHVISION, help="preprocessing (default: %(default)s)"
    )
    group.add_argument("--artifact", metavar="FOLDER", help="take the preprocessing of an exported folder")


def _add_converting(verbs: Any) -> None:
    verb = add_verb(verbs, "convert", convert)
    verb.add_argument("model", metavar="MODEL.onnx")
    verb.add_argument("--soc", default="Ascend310P3", help="processor (default: %(default)s)")
    verb.add_argument("--batch", type=count, nargs="+", default=[1, 4, 8, 16, 32], metavar="N")
    verb.add_argument("--output", default=".", metavar="FOLDER", help="of the OM files (default: here)")
    verb.add_argument("--aipp", metavar="CONFIG", help="insert AIPP, configured by this file")
    verb.add_argument("--print-only", action="store_true", help="run nothing")

    verb = add_verb(verbs, "aipp", aipp)
    verb.add_argument("config", metavar="CONFIG", help="the file to write")
    _add_way(verb)


def _add_running(verbs: Any) -> None:
    verb = add_verb(verbs, "infer", infer)
    verb.add_argument("model", metavar="MODEL", help="OM for the NPU, ONNX for onnxruntime")
    verb.add_argument("results", metavar="RESULTS", help="the folder to write")
    verb.add_argument("--bins", metavar="BINS", help="the inputs; without them, zeros")
    verb.add_argument("--engine", choices=("ais_bench", "ais_infer", "onnxruntime"), default="ais_bench")
    verb.add_argument("--batchsize", type=count, default=1, metavar="N", help="default: %(default)s")
    verb.add_argument("--outfmt", choices=("NPY", "BIN", "TXT"), default="NPY", help="default: %(default)s")
    verb.add_argument("--loop", type=count, default=1, metavar="N", help="compute each batch N times")
    add_threads(verb)

    verb = add_verb(verbs, "score", score)
    verb.add_argument("results", metavar="RESULTS", help="a summary, or the folder of results")
    verb.add_argument("labels", metavar="LABELS", help="lines `name label`")
    add_class_num(verb)
    verb.add_argument("--subset", action="store_true", help="accept labels without a result")
    verb.add_argument("--output", metavar="JSON", help="write the score to a file")

    verb = add_verb(verbs, "report", report)
    verb.add_argument("summary", nargs="*", metavar="SUMMARY", help="of one run each")
    verb.add_argument("--output", metavar="JSON", help="write the figures to a file")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
