"""Build a TensorRT engine from an exported ONNX folder: with TensorRT's Python package, or the trtexec line.

    python deploy/onnx/build_tensorrt.py FOLDER [--precision fp16] [--batch 1 8 32] [--print-only]

Program: it may print. The settings are plain data, made without TensorRT. They are tested as data; no GPU has
run them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppghost.artifact import check_artifact, read_artifact  # noqa: E402 - the checkout must be found first
from ppghost.engines.files import rows_of  # noqa: E402
from ppghost.errors import ArtifactError, ConfigError, GhostError, ToolMissingError  # noqa: E402
from ppghost.export.onnx import MOST_ROWS  # noqa: E402
from ppghost.files import replaced_file  # noqa: E402

PRECISIONS = ("fp32", "fp16")
WORKSPACE_MIB = 1024


@dataclass(frozen=True)
class Build:
    """How an engine is built.

    Attributes:
        model: the ONNX file.
        input: name of its input.
        input_shape: channels, height, width.
        batches: smallest, usual and largest number of rows; equal where the file fixes the number.
        is_fixed: whether the file fixes the number of rows, so that there is nothing to choose.
        engine: the file to write.
        timing_cache: what the builder learns about this GPU; a second build reads it and takes seconds.
        precision: one of `PRECISIONS`.
        workspace_mib: memory that the builder may use.
    """

    model: Path
    input: str
    input_shape: tuple[int, int, int]
    batches: tuple[int, int, int]
    is_fixed: bool
    engine: Path
    timing_cache: Path
    precision: str = "fp16"
    workspace_mib: int = WORKSPACE_MIB

    def profile(self) -> tuple[tuple[int, ...], ...]:
        """Return the smallest, the usual and the largest shape of the input."""
        return tuple((batch, *self.input_shape) for batch in self.batches)

    def trtexec(self) -> list[str]:
        """Return the words of the command that builds the same."""
        words = ["trtexec", f"--onnx={self.model}", f"--saveEngine={self.engine}"]
        if not self.is_fixed:
            for kind, shape in zip(("min", "opt", "max"), self.profile()):
                words.append(f"--{kind}Shapes={self.input}:{'x'.join(map(str, shape))}")
        words += ["--fp16"] if self.precision == "fp16" else []
        words += [f"--memPoolSize=workspace:{self.workspace_mib}", f"--timingCacheFile={self.timing_cache}"]
        return [*words, "--skipInference"]


def plan(folder: Path, precision: str, batches: Sequence[int]) -> Build:
    """Return how the engine of an exported folder is built.

    Args:
        folder: an artifact of the target onnx.
        precision: one of `PRECISIONS`.
        batches: the numbers of rows that will come, the usual one first; at least one.

    Raises:
        ArtifactError: the folder is no such artifact, or was changed.
        ConfigError: the batches contradict the graph.
    """
    artifact = read_artifact(folder)
    check_artifact(artifact)
    model = artifact.facts.model("onnx")
    rows = rows_of(artifact.path_of(model.graph))
    if rows is not None and set(batches) != {rows}:
        raise ConfigError(
            f"{folder} was exported for {rows} rows at once; accepted: --batch {rows}, or a folder "
            "exported with --batch dynamic."
        )
    # A folder may be called `.`, which is no name to build another one with.
    beside = folder.resolve() if folder.name in ("", "..") else folder
    return Build(
        artifact.path_of(model.graph),
        model.input,
        artifact.facts.input_shape,
        (min(batches), batches[0], max(batches)),
        rows is not None,
        beside.with_name(f"{beside.name}_{precision}.plan"),
        beside.with_name(f"{beside.name}.timing"),
        precision,
    )


def build(settings: Build) -> None:
    """Build with TensorRT's Python package and write engine and timing cache.

    Raises:
        ToolMissingError: the package is missing.
        ArtifactError: TensorRT cannot read or build the network.
        OutputError: the files cannot be written.
    """
    if importlib.util.find_spec("tensorrt") is None:
        raise ToolMissingError(
            "TensorRT is not installed. On a machine with an NVIDIA GPU: pip install tensorrt; "
            f"or, where trtexec is on PATH: {shlex.join(settings.trtexec())}"
        )
    trt: Any = importlib.import_module("tensorrt")
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.WARNING))
    if not parser.parse_from_file(str(settings.model)):
        reasons = "; ".join(str(parser.get_error(place)) for place in range(parser.num_errors))
        raise ArtifactError(f"TensorRT cannot read {settings.model}: {reasons}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib << 20)
    if settings.precision == "fp16":
        config.set_flag(trt.BuilderFlag.FP16)
    if not settings.is_fixed:
        profile = builder.create_optimization_profile()
        profile.set_shape(settings.input, *settings.profile())
        config.add_optimization_profile(profile)
    known = settings.timing_cache.read_bytes() if settings.timing_cache.is_file() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ArtifactError(f"TensorRT cannot build {settings.model}; its log above tells why.")
    for path, content in ((settings.engine, engine), (settings.timing_cache, cache.serialize())):
        with replaced_file(path) as part:
            part.write_bytes(bytes(content))


def batch(text: str) -> int:
    """Return a number of rows."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= MOST_ROWS:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1 to {MOST_ROWS}")
    return number


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", help="exported with --target onnx")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16", help="default: %(default)s")
    parser.add_argument(
        "--batch",
        type=batch,
        nargs="+",
        default=[1, 32],
        metavar="N",
        help="the usual one first (default: 1 32)",
    )
    parser.add_argument("--print-only", action="store_true", help="print the trtexec line and build nothing")
    options = parser.parse_args(arguments)
    try:
        settings = plan(Path(options.folder), options.precision, options.batch)
        sys.stdout.write(shlex.join(settings.trtexec()) + "\n")
        if not options.print_only:
            build(settings)
    except GhostError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
