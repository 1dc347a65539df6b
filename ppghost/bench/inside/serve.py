"""One measured program: prepares what a job says, then does what it is told, line by line.

    PYTHON serve.py JOB

JOB is JSON. `part` names the file beside this one that knows the work, `cpus` the CPUs to stay on; the rest
is for the part. The part's `prepare(job)` gives facts, which are the first line of standard output, and a
function that takes the words of an order. Each line on standard input is such an order, a JSON object; its
answer is one line of JSON too. Whatever else the libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any, TextIO


def load_part(name: str) -> Any:
    """Return the module in the file `name`.py beside this one."""
    # A package made here, whose module folders are this one and that of the engines: files import each other
    # by `from .`, and neither ppghost's own modules nor these folders stand in the way of anybody's import.
    package = types.ModuleType("inside")
    here = Path(__file__).resolve().parent
    package.__path__ = [str(here), str(here.parents[1] / "engines" / "inside")]
    sys.modules["inside"] = package
    return importlib.import_module(f"inside.{name}")


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would count the memory of the process that started this one.
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def tell(answers: TextIO, answer: dict[str, Any]) -> None:
    """Write one answer, with the memory that it took."""
    answers.write(json.dumps({**answer, "peak_bytes": peak_bytes()}) + "\n")
    answers.flush()


def main() -> None:
    """Prepare, then obey until nobody gives orders any more."""
    # The folder of this file would come first in every search for a module.
    sys.path.pop(0)
    job = json.loads(sys.argv[1])
    if job["cpus"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cpus"])
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        facts, obey = load_part(job["part"]).prepare(job)
        tell(answers, facts)
        for line in sys.stdin:
            tell(answers, obey(**json.loads(line)))


if __name__ == "__main__":
    main()
