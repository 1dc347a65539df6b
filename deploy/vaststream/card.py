"""One inference over a list of npz files: by `vamp` on the card, or by ONNX Runtime in its place.

Both take the description of the vision processor and the list, and leave `output_000000.npz` and on. In place
of the card our own pipeline obeys the description, with the card's half-precision mean and deviation.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Callable, Optional

import numpy as np
from npz_files import output_name, read_datalist, read_levels, write_output
from vdsp import BUILD_IN, CROPPED, SDK, Vdsp, is_for_cropped, pipeline_of, read_vdsp

from ppghost.engines.onnx_header import read_onnx_header
from ppghost.errors import ConfigError, DataError, ToolMissingError
from ppghost.offline.preparing import claim_folder, read_record
from ppghost.offline.stand_in import open_stand_in
from ppghost.predict import in_order
from ppghost.vision import Pipeline, softmax
from ppghost.vision.variants import OTHER, VARIANTS

ORIGINAL = "none"
"""What the record of inputs calls the preprocessing of pictures that were only decoded."""

_WARM_UP, _ROUNDS = 3, 30
_REMEDY = (
    "It comes with VastStream's SDK, for a machine with the card; without one, --engine onnxruntime writes "
    "the same files."
)


@dataclass(frozen=True)
class Run:
    """What is to be run.

    Attributes:
        model: beginning of the compiled files' paths, "deploy_weights/x/mod"; for ONNX Runtime the ONNX file.
        vdsp: description of the vision processor.
        datalist: list of the inputs; None measures the speed alone.
        output: folder of the results; None where there are no inputs.
        batch: pictures at once.
        instances: how many copies of the model the card runs.
        processes: how many processes feed it.
    """

    model: str
    vdsp: Path
    datalist: Optional[Path]
    output: Optional[Path]
    batch: int = 1
    instances: int = 1
    processes: int = 1


@dataclass(frozen=True)
class Speed:
    """How fast a run was.

    Attributes:
        engine: what ran it.
        mean_ms: mean time of a batch in the network alone.
        throughput: pictures a second, by that time.
    """

    engine: str
    mean_ms: float
    throughput: float


def check_shape(run: Run, text: str) -> None:
    """Make sure that a shape, as vamp takes it, is that of the description.

    Args:
        run: with the description.
        text: "[3,224,224]".

    Raises:
        ConfigError: it is another one, or no shape.
    """
    _, vdsp = read_vdsp(run.vdsp)
    expected = f"[3,{vdsp.crop},{vdsp.crop}]"
    if "".join(text.split()) != expected:
        raise ConfigError(f"The shape is {text}; '{run.vdsp}' gives {expected}. Give that, or leave -s out.")


def vamp_command(run: Run) -> list[str]:
    """Return the words of `vamp`'s command.

    Raises:
        ConfigError: the description cannot be used, or is not one that vamp reads.
    """
    form, vdsp = read_vdsp(run.vdsp)
    if form == SDK:
        raise ConfigError(f"'{run.vdsp}' is for sample_cls.py; vamp reads the one in the folder 'vamp'.")
    words = ["vamp", "-m", run.model, "--vdsp_params", str(run.vdsp)]
    words += ["-i", str(run.instances), "-p", str(run.processes), "-b", str(run.batch)]
    words += ["-s", f"[3,{vdsp.crop},{vdsp.crop}]"] if form == BUILD_IN else []
    if run.datalist is not None:
        words += ["--datalist", str(run.datalist), "--path_output", str(run.output)]
    return words


def run_vamp(run: Run) -> None:
    """Run `vamp`; what it prints goes to the terminal.

    Raises:
        ConfigError: as in `vamp_command`.
        DataError: the inputs do not fit the description.
        OutputError: the folder of the results cannot be written, or holds other files.
        ToolMissingError: vamp is not installed, or it failed.
    """
    command = vamp_command(run)
    inputs = _inputs(run, read_vdsp(run.vdsp)[1])
    if shutil.which("vamp") is None:
        raise ToolMissingError(f"vamp is not on PATH. {_REMEDY} The command is:\n{' '.join(command)}")
    if run.output is not None:
        _emptied(run.output, len(inputs))
    code = subprocess.run(command, check=False).returncode
    if code:
        raise ToolMissingError(f"vamp ended with code {code}. The command was:\n{' '.join(command)}")


def run_onnxruntime(run: Run, threads: int, progress: Callable[[int, int], object]) -> Speed:
    """Run ONNX Runtime in place of the card.

    Args:
        run: what to run; instances and processes are the card's and mean nothing here.
        threads: how many threads prepare pictures, and how many the network may use.
        progress: told how many pictures were computed just now, and how many there are.

    Raises:
        ArtifactError: the model cannot be used.
        ConfigError: batch, sides or description contradict the model.
        DataError: an input is broken or does not fit the description.
        ToolMissingError: ONNX Runtime cannot be had.
        OutputError: the results cannot be written.
    """
    form, vdsp = read_vdsp(run.vdsp)
    inputs = _inputs(run, vdsp)
    header = read_onnx_header(Path(run.model))
    _check_way(run, inputs, header.metadata.get("preprocessing"))
    seconds: list[float] = []
    network, shape = open_stand_in(Path(run.model), run.batch, threads, is_compiled=True)
    with network:
        if shape != (3, vdsp.crop, vdsp.crop):
            raise ConfigError(
                f"'{run.vdsp}' gives [3, {vdsp.crop}, {vdsp.crop}], and '{run.model}' takes {list(shape)}. "
                "Give the description that belongs to this network."
            )
        targets = [] if run.output is None else _emptied(run.output, len(inputs))
        zeros = np.zeros((run.batch, *shape), np.float32)
        for _ in range(_WARM_UP):
            network(zeros)
        for _ in range(0 if inputs else _ROUNDS):
            network(zeros)
            seconds.append(network.seconds)
        for start, rows in _batches(run, inputs, pipeline_of(vdsp, form), vdsp.crop, threads):
            filled = np.concatenate([rows, np.repeat(rows[:1], run.batch - len(rows), axis=0)])
            scores = network(filled)[: len(rows)]
            seconds.append(network.seconds)
            # The compiler puts softmax behind a network without one; here this does.
            probabilities = scores if header.ends_in_softmax else softmax(scores)
            for target, row in zip(targets[start:], probabilities):
                write_output(target, row)
            progress(len(rows), len(inputs))
        mean = sum(seconds) / len(seconds)
        return Speed(f"onnxruntime {network.version}", 1000 * mean, run.batch / mean)


def _inputs(run: Run, vdsp: Vdsp) -> list[Path]:
    """Return the inputs; none where only the speed is asked for.

    Raises:
        DataError: the list cannot be read, or the inputs were made for another description.
    """
    if run.datalist is None:
        return []
    inputs = read_datalist(run.datalist)
    record = read_record(inputs[0].parent.parent)
    if record is None:
        return inputs
    if record.preprocessing == ORIGINAL and is_for_cropped(run.vdsp):
        raise DataError(
            f"The pictures of '{run.datalist}' have their own sizes, and '{run.vdsp}' is for cropped ones. "
            "Take the description that crops, or make the inputs again: image2npz --artifact FOLDER"
        )
    if record.preprocessing != ORIGINAL and vdsp.resize > vdsp.crop:
        raise DataError(
            f"The pictures of '{run.datalist}' are cropped, and '{run.vdsp}' would crop them again. Take the "
            f"one that is called {CROPPED}."
        )
    return inputs


def _check_way(run: Run, inputs: list[Path], way: Optional[str]) -> None:
    """Raise DataError if the inputs were cropped another way than the one that the network is for."""
    record = read_record(inputs[0].parent.parent) if inputs else None
    made = ORIGINAL if record is None else record.preprocessing
    if made != ORIGINAL and way in (*VARIANTS, OTHER) and way != made:
        raise DataError(
            f"The pictures of '{run.datalist}' were cropped the way of '{made}', and '{run.model}' is for "
            f"'{way}'. Make them again: vaststream.py image2npz --artifact FOLDER"
        )


def _emptied(folder: Path, count: int) -> list[Path]:
    """Return the paths of the results, where nothing of an earlier run is left."""
    targets = [folder / output_name(index) for index in range(count)]
    claim_folder(folder, [target.name for target in targets])
    for target in targets:
        target.unlink(missing_ok=True)
    return targets


def _batches(
    run: Run, inputs: list[Path], pipeline: Pipeline, side: int, threads: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield where a batch begins in the list, and its rows, float32 [N, 3, H, W]; the last may be shorter."""

    def prepare(path: Path) -> np.ndarray:
        levels = read_levels(path)
        if is_for_cropped(run.vdsp) and levels.shape[:2] != (side, side):
            raise DataError(
                f"'{path}' has {levels.shape[1]} x {levels.shape[0]} pixels, and '{run.vdsp}' is for "
                f"pictures that are cropped to {side} x {side}. Take the description that crops."
            )
        return pipeline.to_chw(levels)

    rows = in_order(prepare, inputs, threads)
    for start in range(0, len(inputs), run.batch):
        yield start, np.stack(list(islice(rows, run.batch)))
