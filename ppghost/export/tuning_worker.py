"""One engine in a process of its own: opened, checked against golden, then timed turn by turn.

Started by `ppghost.export.tuning`. Told one line of JSON, it answers with one: first what to open, answered
by {"ready": true}; then {"seconds": of one run} for each {"run": true}. A refusal is {"error": why}. What
vendors' libraries print goes to standard error. Never imports Paddle: the target does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ppghost.artifact import read_artifact, read_golden
from ppghost.errors import GhostError
from ppghost.export.target import load_target
from ppghost.export.verify import check_predictor
from ppghost.predict import Predictor

TURN_SECONDS = 0.06
LEAST_RUNS = 3


def serve(questions: TextIO, answer: Callable[[dict[str, Any]], object]) -> None:
    """Answer every question until there is no more, or until the engine is refused.

    Args:
        questions: lines of JSON; the first names folder, options, batch_size and rtol.
        answer: takes each answer.
    """
    request = json.loads(questions.readline())
    artifact = read_artifact(Path(request["folder"]))
    target = load_target(artifact.facts.target)
    try:
        with target.open(artifact, **request["options"]) as predictor:
            golden = read_golden(artifact)
            checks = check_predictor(predictor, artifact, golden, target.atol, request["rtol"], "golden")
            wrong = [str(check) for check in checks if not check.passed]
            if wrong:
                answer({"error": f"it does not give the network's numbers: {'; '.join(wrong)}"})
                return
            images = np.resize(golden.tensor, (request["batch_size"], *golden.tensor.shape[1:]))
            predictor(images)
            answer({"ready": True})
            for _ in questions:
                answer({"seconds": _time(predictor, images)})
    except GhostError as error:
        answer({"error": str(error)})


def _time(predictor: Predictor, images: np.ndarray) -> float:
    """Return the median time of one run in seconds, over a short while."""
    predictor(images)  # the threads of the engine whose turn it was before still spin for a moment
    times: list[float] = []
    end = time.perf_counter() + TURN_SECONDS
    while len(times) < LEAST_RUNS or time.perf_counter() < end:
        started = time.perf_counter()
        predictor(images)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def main() -> None:
    """Serve on standard input and output."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def answer(message: dict[str, Any]) -> None:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

        serve(sys.stdin, answer)


if __name__ == "__main__":
    main()
