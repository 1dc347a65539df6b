"""Paddle Lite's converter, `opt`, in a process of its own.

It may end with code 0 and no file, or kill its process; both are told here. Imports the ground, never paddle.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ppghost.artifact import Artifact
from ppghost.environments import LITE, ensure_environment, run_python
from ppghost.errors import ArtifactError
from ppghost.export.lite.graph import with_linear_layers_as_mul
from ppghost.export.lite.header import clear_junk

_CONVERTER = Path(__file__).resolve().parents[1] / "inside" / "lite_opt.py"
_LINES_OF_OUTPUT = 6


@dataclass(frozen=True)
class Form:
    """A form in which Lite reads a network.

    Attributes:
        target: for which processors: "arm" or "x86".
        fp16: compute with 16 bits where the processor can. Lite itself would store 32 bits all the same, so
            the weights are stored as 16-bit integers with a factor for each channel; Lite makes floats of
            them when it loads the file.
    """

    target: str
    fp16: bool = False

    @property
    def precision(self) -> str:
        """What the network computes with."""
        return "fp16" if self.fp16 else "fp32"

    @property
    def file_name(self) -> str:
        """The file's name in an artifact."""
        return f"inference.{self.target}.{self.precision}.nb"


def convert_to_nb(source: Artifact, form: Form, out: Path) -> None:
    """Write the `.nb` file of a Paddle artifact; the same artifact gives the same bytes.

    Side effects: makes the environment of Paddle Lite where it is missing.

    Args:
        source: an artifact with Paddle's pdmodel form.
        form: what to write.
        out: the file; its name ends with `.nb`.

    Raises:
        ArtifactError: the source has no pdmodel form, or cannot be converted.
        ToolMissingError: the environment cannot be made.
    """
    model = source.facts.model("pdmodel")
    program = with_linear_layers_as_mul(source.path_of(model.graph).read_bytes())
    python = lite_python()
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        graph, made = Path(folder) / "inference.pdmodel", Path(folder) / "made.nb"
        graph.write_bytes(program)
        job = {
            "graph": str(graph),
            "weights": str(source.path_of(model.weights or "").resolve()),
            "target": form.target,
            "fp16": form.fp16 and form.target == "arm",
            "weights16": form.fp16,
            "out": str(made.with_suffix("")),
        }
        result = run_python(python, [str(_CONVERTER), json.dumps(job)], Path(folder))
        if result.returncode != 0 or not made.exists():
            raise ArtifactError(f"{source.folder} cannot become {out.name}: {_reason(result)}")
        clear_junk(made)
        out.write_bytes(made.read_bytes())


def lite_python() -> Path:
    """Return the Python that has Paddle Lite: this one, or that of the isolated environment.

    Raises:
        ToolMissingError: the environment cannot be made.
    """
    is_here = importlib.util.find_spec("paddlelite") is not None
    return Path(sys.executable) if is_here else ensure_environment(LITE)


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    code = result.returncode
    if code == 0:
        what = "ended well and wrote nothing"
    elif code < 0:
        what = f"was killed by {signal.Signals(-code).name}"
    else:
        what = f"ended with code {code}"
    lines = (result.stdout + result.stderr).strip().splitlines()
    return "\n".join([f"Paddle Lite's converter {what}.", *lines[-_LINES_OF_OUTPUT:]])
