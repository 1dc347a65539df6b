"""An engine behind two pipes: the program that `ppghost.engines.process` starts.

    PYTHON worker.py NAME JOB INPUTS

NAME is the engine's, JOB its job as JSON, INPUTS a file in which the other side leaves the rows. Each line
on standard input is `{"shape": [N, C, H, W]}`. The first line of standard output tells the engine's facts;
after it, each request is answered by a line `{"shape": [N, classes], "seconds": of the run}` and as many
float32. What cannot be done is answered by `{"error": why}`. What libraries print goes to standard error.
Ends with its input.

Imports nothing of ppghost, which need not be there.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any, BinaryIO


def load_engine(name: str, job: dict[str, Any]) -> Any:
    """Return what `run_<name>.py` beside this file loads."""
    # A package made here, whose only module folder is this one: an engine imports its neighbours by `from .`,
    # and this folder stands in the way of nobody's import.
    package = types.ModuleType("inside")
    package.__path__ = [str(Path(__file__).resolve().parent)]
    sys.modules["inside"] = package
    return importlib.import_module(f"inside.run_{name}").load(job)


def tell(answers: BinaryIO, facts: dict[str, Any], data: bytes = b"") -> None:
    """Write one answer."""
    answers.write(json.dumps(facts).encode() + b"\n" + data)
    answers.flush()


def serve(loaded: Any, inputs: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    import numpy as np

    rows = np.zeros(0, np.float32)
    for line in requests:
        shape = json.loads(line)["shape"]
        size = math.prod(shape)
        if size > rows.size:  # the other side has made the file larger
            rows = np.asarray(np.memmap(inputs, np.float32, "r+"))
        start = time.perf_counter()
        try:
            output = loaded.run(rows[:size].reshape(shape))
        # The engines' errors have no common base but this one; the other side tells the user.
        except Exception as error:  # noqa: BLE001
            tell(answers, {"error": f"{error}"})
            continue
        seconds = time.perf_counter() - start
        output = np.ascontiguousarray(output, np.float32)
        tell(answers, {"shape": output.shape, "seconds": seconds}, output.tobytes())


def main() -> None:
    """Load, tell, serve."""
    # The folder of this file would come first in every search for a module.
    sys.path.pop(0)
    # Ctrl-C reaches every process of a terminal; the other side ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name, job, inputs = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    # A reader that is gone needs no answer.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers, contextlib.suppress(BrokenPipeError):
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            loaded = load_engine(name, job)
        except Exception as error:  # noqa: BLE001 - as above
            tell(answers, {"error": f"{type(error).__name__}: {error}"})
            return
        tell(answers, {"version": loaded.version, "rows": loaded.rows})
        serve(loaded, inputs, sys.stdin.buffer, answers)
    # The other side may have been killed; then nobody else clears up.
    with contextlib.suppress(OSError):
        inputs.unlink(missing_ok=True)
        inputs.parent.rmdir()


if __name__ == "__main__":
    main()
