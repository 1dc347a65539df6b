"""One inference over a folder of bins: by Ascend's tools on the device, or by ONNX Runtime in its place.

All leave a folder of results with a summary. ONNX Runtime's are of the same form, file by file: batches in
the tools' order, the last one filled up with its first picture, `<stem>_0.npy`, `sumary.json`.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import numpy as np
from ais_summary import SUMMARY_FILE, write_summary
from bins import list_bins, read_bins

from ppghost.engines import EngineNetwork
from ppghost.engines.onnx_header import read_onnx_header
from ppghost.errors import DataError, ToolMissingError
from ppghost.offline.names import stem_of
from ppghost.offline.outputs import write_scores
from ppghost.offline.preparing import claim_folder, read_record
from ppghost.offline.stand_in import open_stand_in
from ppghost.vision.variants import OTHER, VARIANTS

_WARM_UP = 3


@dataclass(frozen=True)
class Run:
    """What is to be run.

    Attributes:
        model: the OM file, or the ONNX file for ONNX Runtime.
        bins: folder of inputs; None measures the speed alone, with zeros.
        output: folder of the results.
        batch: pictures at once.
        outfmt: "NPY", "BIN" or "TXT".
        loop: how often each batch is computed.
    """

    model: Path
    bins: Optional[Path]
    output: Path
    batch: int
    outfmt: str = "NPY"
    loop: int = 1


def ais_bench_command(run: Run) -> list[str]:
    """Return the words of `ais_bench`'s command; results go to `run.output`, the summary beside it."""
    words = [sys.executable, "-m", "ais_bench", "--model", str(run.model)]
    words += [] if run.bins is None else ["--input", str(run.bins)]
    # A dot or a slash at the end has no name.
    output = run.output.absolute()
    words += ["--output", str(output.parent), "--output_dirname", output.name, "--outfmt", run.outfmt]
    words += ["--batchsize", str(run.batch)]
    return words if run.loop == 1 else [*words, "--loop", str(run.loop)]


def ais_infer_command(run: Run) -> list[str]:
    """Return the words of `ais_infer.py`'s command; the results appear in `run.output`/<date>.

    Raises:
        ToolMissingError: the script is not on PATH.
    """
    script = shutil.which("ais_infer.py")
    if script is None:
        raise ToolMissingError(f"ais_infer.py is not on PATH. {_REMEDY}")
    words = [sys.executable, script, "--model", str(run.model)]
    words += [] if run.bins is None else ["--input", str(run.bins)]
    words += ["--output", str(run.output), "--outfmt", run.outfmt, "--batchsize", str(run.batch)]
    return words if run.loop == 1 else [*words, "--loop", str(run.loop)]


def run_on_npu(run: Run, engine: str) -> None:
    """Run Ascend's own tool; what it prints goes to the terminal.

    Raises:
        ToolMissingError: the tool is not installed, or it failed.
    """
    if engine == "ais_bench" and importlib.util.find_spec("ais_bench") is None:
        raise ToolMissingError(f"The Python package ais_bench is not installed. {_REMEDY}")
    command = ais_bench_command(run) if engine == "ais_bench" else ais_infer_command(run)
    run.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    if engine == "ais_infer":
        run.output.mkdir(exist_ok=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        raise ToolMissingError(f"{engine} ended with code {code}. The command was:\n{' '.join(command)}")


_REMEDY = (
    "Install aclruntime and ais_bench (github.com/Ascend/tools, ais-bench_workload/tool/ais_infer) on the "
    "machine "
    "with the NPU; without one, --engine onnxruntime writes the same files."
)


def run_onnxruntime(
    run: Run, threads: int, arguments: Sequence[str], progress: Callable[[int, int], object]
) -> Path:
    """Run ONNX Runtime in place of the device; return the summary.

    Args:
        run: what to run.
        threads: how many threads the network may use.
        arguments: the words of our own command, which the summary repeats as the tools' does.
        progress: told how many pictures were computed just now, and how many there are.

    Raises:
        DataError: the bins do not fit.
        ArtifactError: the network's output is no row of scores.
        ConfigError: the batch size contradicts the graph.
        ToolMissingError: ONNX Runtime cannot be had.
        OutputError: the results cannot be written.
    """
    paths = [] if run.bins is None else list_bins(run.bins)
    made = [run.output / f"{stem_of(path)}_0.{run.outfmt.lower()}" for path in paths]
    milliseconds: list[float] = []
    network, shape = open_stand_in(run.model, run.batch, threads)
    with network:
        facts = {"args": list(arguments), "engine": f"onnxruntime {network.version}", "threads": threads}
        facts.update(_checked_record(run, shape, len(paths)))
        claim_folder(run.output, [path.name for path in made], SUMMARY_FILE)
        for _ in range(_WARM_UP):
            network(np.zeros((run.batch, *shape), np.float32))
        for start in range(0, max(1, len(paths)), run.batch):
            scores = _compute(
                network, _batch(paths[start : start + run.batch], shape, run.batch), run.loop, milliseconds
            )
            targets = made[start : start + run.batch]
            for target, row in zip(targets, scores):
                write_scores(target, row)
            progress(len(targets), len(paths))
    summary = run.output / SUMMARY_FILE
    write_summary(summary, list(zip(paths, made)), milliseconds, run.batch, facts)
    return summary


def _checked_record(run: Run, shape: tuple[int, int, int], count: int) -> dict[str, str]:
    """Return which way the bins were made, where their record tells it.

    Raises:
        DataError: the record is of other inputs than the network's, or of other files than are there.
    """
    bins = run.bins
    record = None if bins is None else read_record(bins)
    if record is None:
        return {}
    way = read_onnx_header(run.model).metadata.get("preprocessing")
    if way in (*VARIANTS, OTHER) and way != record.preprocessing:
        raise DataError(
            f"The bins of '{bins}' were made the way of '{record.preprocessing}', and '{run.model}' is for "
            f"'{way}'. "
            "Prepare the pictures again, with --artifact or --way."
        )
    if (record.dtype, tuple(record.shape)) != ("float32", shape):
        raise DataError(
            f"The bins of '{bins}' are {record.dtype} {list(record.shape)}; the network takes float32 "
            f"{list(shape)}. "
            "Prepare the pictures again."
        )
    if record.written != count:
        raise DataError(
            f"'{bins}' holds {count} bins, but {record.written} were prepared. Prepare the pictures again."
        )
    return {"preprocessing": record.preprocessing}


def _batch(paths: list[Path], shape: tuple[int, int, int], size: int) -> np.ndarray:
    """Return the inputs of a batch, filled up with the first one; zeros where there is no picture."""
    if not paths:
        return np.zeros((size, *shape), np.float32)
    return read_bins(paths + paths[:1] * (size - len(paths)), shape)


def _compute(network: EngineNetwork, images: np.ndarray, loop: int, milliseconds: list[float]) -> np.ndarray:
    """Return scores [N, C], computed `loop` times; the times are added to `milliseconds`."""
    for _ in range(loop):
        scores = network(images)
        milliseconds.append(1000 * network.seconds)
    return scores
