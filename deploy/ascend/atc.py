"""ONNX to OM: Ascend's compiler `atc`, and the configuration of AIPP, which normalises on the device.

Sources: CANN's "ATC Tool Instructions" and "AIPP Configuration File Template".
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ppghost.engines.onnx_header import OnnxHeader, read_onnx_header
from ppghost.errors import ConfigError, ToolMissingError
from ppghost.vision import Pipeline
from ppghost.vision.variants import levels_of

OPSET = 11
"""The operator set of the published pipeline, which every CANN since 5.0 reads."""

_ONNX = 5
_SOC = re.compile(r"Ascend[0-9][0-9A-Za-z_]*")
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_.:,-]+")
_BATCHES = range(1, 1025)


@dataclass(frozen=True)
class Conversion:
    """One run of `atc`.

    Attributes:
        model: the ONNX file.
        input: name of its input.
        shape: batch, channels, height, width.
        output: path of the OM file without its suffix.
        soc: name of the processor, "Ascend310P3".
        aipp: AIPP's configuration; None feeds normalised float32.
    """

    model: Path
    input: str
    shape: tuple[int, int, int, int]
    output: Path
    soc: str
    aipp: Optional[Path] = None

    def command(self) -> list[str]:
        """Return the words of the command."""
        sides = ",".join(map(str, self.shape))
        words = [
            "atc",
            f"--framework={_ONNX}",
            f"--model={self.model}",
            "--input_format=NCHW",
            f"--input_shape={self.input}:{sides}",
            f"--output={self.output}",
            "--log=debug",
            f"--soc_version={self.soc}",
        ]
        return words if self.aipp is None else [*words, f"--insert_op_conf={self.aipp}"]

    def line(self) -> str:
        """Return the command as a shell reads it, the shape in quotes as the published pipeline writes it."""
        shape = f"{self.input}:{','.join(map(str, self.shape))}"
        plain = f"--input_shape={shape}"
        written = f'--input_shape="{shape}"' if _NEEDS_NO_QUOTES.fullmatch(shape) else shlex.quote(plain)
        return " ".join(written if word == plain else shlex.quote(word) for word in self.command())


def plan(
    model: Path, batches: Sequence[int], soc: str, output: Path, aipp: Optional[Path] = None
) -> list[Conversion]:
    """Return a conversion for each batch size; the OM files are `<stem>_bs<batch>.om` in `output`.

    Raises:
        ArtifactError: the model cannot be read.
        ConfigError: the model cannot be converted so, or there is no such batch size or processor.
    """
    if not _SOC.fullmatch(soc):
        raise ConfigError(
            f"The processor is '{soc}'; accepted: Ascend310, Ascend310P3, Ascend910B... `npu-smi info` "
            "tells the "
            "name; put Ascend before it."
        )
    header = read_onnx_header(model)
    name, shape = _checked_input(model, header)
    conversions = []
    for batch in dict.fromkeys(batches):
        if batch not in _BATCHES:
            raise ConfigError(f"The batch size is {batch}; accepted: 1 to {_BATCHES[-1]}.")
        if shape[0] not in (None, batch):
            raise ConfigError(
                f"The batch size is {batch}, but '{model}' was exported with {shape[0]}. Export it with a "
                "batch "
                "that is left open: ppghost export --target onnx --batch dynamic"
            )
        _, channels, height, width = (side or 0 for side in shape)
        om = output / f"{model.stem}_bs{batch}"
        conversions.append(Conversion(model, name, (batch, channels, height, width), om, soc, aipp))
    return conversions


def _checked_input(model: Path, header: OnnxHeader) -> tuple[str, tuple[Optional[int], ...]]:
    if header.opset != OPSET:
        raise ConfigError(
            f"'{model}' uses operator set {header.opset}; accepted: {OPSET}, which every atc reads. Export "
            "it again: "
            f"ppghost export --target onnx --opset {OPSET}"
        )
    if len(header.inputs) != 1:
        names = ", ".join(tensor.name for tensor in header.inputs) or "none"
        raise ConfigError(f"'{model}' has the inputs {names}; accepted: one.")
    [tensor] = header.inputs
    if len(tensor.shape) != 4 or tensor.shape[1] != 3 or None in tensor.shape[2:]:
        raise ConfigError(f"The input of '{model}' is {list(tensor.shape)}; accepted: [N, 3, height, width].")
    return tensor.name, tensor.shape


def convert(conversion: Conversion) -> None:
    """Run `atc`; what it prints goes to the terminal.

    Raises:
        ToolMissingError: it is not installed, or it failed.
    """
    if not is_installed():
        raise ToolMissingError("atc is not on PATH. " + REMEDY)
    conversion.output.parent.mkdir(parents=True, exist_ok=True)
    code = subprocess.run(conversion.command(), check=False).returncode
    if code:
        raise ToolMissingError(
            f"atc ended with code {code}. Its log tells why. The command was:\n{conversion.line()}"
        )


def is_installed() -> bool:
    """Say whether `atc` is on PATH."""
    return shutil.which("atc") is not None


REMEDY = (
    "Install Huawei's CANN toolkit (5.1 or newer) on a Linux machine and read its settings into the shell: "
    "source /usr/local/Ascend/ascend-toolkit/set_env.sh"
)


def aipp_text(pipeline: Pipeline, height: int, width: int) -> str:
    """Return AIPP's configuration for pictures of RGB levels that are resized and cropped already.

    AIPP computes `(level - mean_chn - min_chn) * var_reci_chn`; `mean_chn` takes whole numbers only, so the
    mean stands in `min_chn`. It computes in float16, so its results differ from the bins of float32.

    Raises:
        PipelineError: the mean and the deviation cannot be told from the pipeline.
    """
    mean, std = levels_of(pipeline)
    lines = [
        "aipp_op {",
        "  aipp_mode: static",
        "  input_format: RGB888_U8",
        f"  src_image_size_w: {width}",
        f"  src_image_size_h: {height}",
        "  crop: false",
        "  csc_switch: false",
        "  rbuv_swap_switch: false",
    ]
    lines += [f"  min_chn_{channel}: {_plain(255 * level)}" for channel, level in enumerate(mean)]
    lines += [f"  var_reci_chn_{channel}: {_plain(1 / (255 * level))}" for channel, level in enumerate(std)]
    return "\n".join([*lines, "}", ""])


def _plain(number: float) -> str:
    """Return a number without exponent, which protobuf's text form reads on every version."""
    return f"{number:.12f}".rstrip("0").rstrip(".")
