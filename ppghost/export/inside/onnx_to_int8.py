"""From an ONNX file to 8 bits: the program that `ppghost.export.quantize` starts.

    PYTHON onnx_to_int8.py JOB

JOB is JSON: `model`, `rows` (a .npy, `float32 [N, C, H, W]`), `folder` (gets `<method>.onnx` of each
method), `methods`, `percentile`, `keep` (see `kept_nodes`), `kept_weights` ("int8" or "fp32"),
`sensitivity` (how many rows to measure it on, 0 for none), `notes` (text by text), `threads`. The last line
of standard output is JSON: `nodes` (those that compute in 8 bits), `kept`, `versions`, `best`,
`sensitivity`, and for each of `methods` its `ranges` and `fidelity`. What cannot be done ends it with exit
code 1 and a line on standard error that begins with "refused: ".

The work is done by its neighbours: `int8_job`, `ranges` and `clipping`, `int8_graph`. Nothing of ppghost is
imported.
"""

from __future__ import annotations

import importlib
import json
import logging
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


def main() -> None:
    """Quantise, or say why not."""
    sys.path.pop(0)
    logging.disable(logging.WARNING)  # its advice, to fold batch norms first, has been followed
    try:
        facts = load_part("int8_job").quantise(json.loads(sys.argv[1]))
        sys.stdout.write(f"\n{json.dumps(facts)}\n")
    # The errors of onnx and ONNX Runtime have no common base but this one; the other side tells the user.
    except Exception as error:  # noqa: BLE001
        sys.stderr.write(f"\nrefused: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
