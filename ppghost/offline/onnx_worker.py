"""ONNX Runtime behind two pipes: the program that `onnx_process` starts in an isolated environment.

    PYTHON onnx_worker.py MODEL THREADS

Standard output begins with a line of JSON, the facts of the model. Each request on standard input is a line
of JSON, `{"shape": [N, 3, H, W]}`, and as many float32; the answer is `{"shape": [N, C], "seconds": S}` and
as many float32. What cannot be computed is answered with `{"error": "..."}`. Ends with its input.

Imports nothing of ours: there is NumPy and ONNX Runtime where it runs, and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any, BinaryIO


def open_session(model: str, threads: int) -> Any:
    """Return a session on the CPU with all optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it names each constant that it removes
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def facts_of(session: Any) -> dict[str, Any]:
    """Return what the other side has to know; sides that are left open are None."""
    import onnxruntime

    def tensors(values: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": value.name,
                "type": value.type,
                "shape": [side if isinstance(side, int) else None for side in value.shape],
            }
            for value in values
        ]

    return {
        "version": onnxruntime.__version__,
        "inputs": tensors(session.get_inputs()),
        "outputs": tensors(session.get_outputs()),
    }


def tell(answers: BinaryIO, facts: dict[str, Any], data: bytes = b"") -> None:
    """Write one answer."""
    answers.write(json.dumps(facts).encode() + b"\n" + data)
    answers.flush()


def serve(session: Any, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    import numpy as np

    name = session.get_inputs()[0].name
    for line in requests:
        shape = json.loads(line)["shape"]
        images = np.frombuffer(requests.read(4 * math.prod(shape)), np.float32).reshape(shape)
        start = time.perf_counter()
        try:
            output = session.run(None, {name: images})[0]
        # ONNX Runtime's errors have no common base but this one; the other side tells the user.
        except Exception as error:  # noqa: BLE001
            tell(answers, {"error": str(error)})
            continue
        seconds = time.perf_counter() - start
        output = np.ascontiguousarray(output, np.float32)
        tell(answers, {"shape": output.shape, "seconds": seconds}, output.tobytes())


def main() -> None:
    """Open the model, tell its facts, and serve."""
    # The folder of this file would come first in every search for a module.
    sys.path.pop(0)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            session = open_session(sys.argv[1], int(sys.argv[2]))
        except Exception as error:  # noqa: BLE001 - as above
            tell(answers, {"error": str(error)})
            return
        tell(answers, facts_of(session))
        serve(session, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
