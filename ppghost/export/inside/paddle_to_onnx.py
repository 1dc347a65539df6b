"""From Paddle's graph files to a clean ONNX file: the program that `ppghost.export.onnx` starts.

    PYTHON paddle_to_onnx.py JOB

JOB is JSON: `graph` and `weights` (Paddle's files), `out`, `opset`, `batch` (null leaves it open), `input`,
`output`, `name`, `class_num`, `version`, `facts` (text by text). The last line of standard output is JSON:
the versions of what wrote the file. What cannot be converted ends it with exit code 1 and a line on standard
error that begins with "refused: ".

Imports Paddle2ONNX, which imports Paddle; nothing of ppghost.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any


def load_part(name: str) -> Any:
    """Return the module in the file `name`.py beside this one."""
    # The folder of this file would come first in every search for a module, so it is none of the places.
    package = types.ModuleType("inside")
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules["inside"] = package
    return importlib.import_module(f"inside.{name}")


NEWEST = 21
"""The newest operator set that Paddle2ONNX 2.1 writes; asked for a newer one, it ends the process."""


def converted(job: dict[str, Any]) -> Any:
    """Return the model as Paddle2ONNX writes it, in the operator set of a job.

    Side effects: leaves it in the file that the job writes.

    Raises:
        ValueError: the onnx of this Python is older than the operator set.
    """
    import onnx
    import paddle2onnx
    from onnx import version_converter

    known = onnx.defs.onnx_opset_version()
    if job["opset"] > known:
        raise ValueError(
            f"onnx {onnx.__version__} of {sys.executable} ends at operator set {known}. Take that one, or a "
            "Python without onnx: an isolated environment with a newer one is made then"
        )
    paddle2onnx.export(
        job["graph"],
        job["weights"],
        job["out"],
        opset_version=min(job["opset"], NEWEST),
        auto_upgrade_opset=False,
        enable_onnx_checker=True,
        # Its optimiser installs packages while it runs.
        optimize_tool="None",
    )
    model = onnx.load(job["out"])
    return model if job["opset"] <= NEWEST else version_converter.convert_version(model, job["opset"])


def convert(job: dict[str, Any]) -> None:
    """Write the ONNX file that a job describes.

    Raises:
        ValueError: the graph cannot be what the job says.
    """
    import onnx
    import paddle2onnx

    onnx_graph = load_part("onnx_graph")
    graph = onnx_graph.read_graph(converted(job))
    if graph.opset != job["opset"]:
        raise ValueError(f"the graph needs operator set {graph.opset}, not {job['opset']}")
    if job["batch"] is not None:
        if graph.input_shape[0] not in (onnx_graph.BATCH, job["batch"]):
            raise ValueError(f"the graph is for {graph.input_shape[0]} rows, not for {job['batch']}")
        graph.input_shape[0] = job["batch"]
    onnx_graph.clean(graph)
    onnx_graph.rename(graph, job["input"], job["output"])
    producer = ("ppghost", job["version"])
    model = onnx_graph.finished(graph, job["name"], job["class_num"], job["facts"], producer)
    onnx.save(model, job["out"])
    versions = {"paddle2onnx": paddle2onnx.__version__, "onnx": onnx.__version__}
    sys.stdout.write(f"\n{json.dumps(versions)}\n")


def main() -> None:
    """Convert, or say why not."""
    sys.path.pop(0)
    try:
        convert(json.loads(sys.argv[1]))
    # Paddle2ONNX's and ONNX' errors have no common base but this one; the other side tells the user.
    except Exception as error:  # noqa: BLE001
        sys.stderr.write(f"\nrefused: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
