"""From picture files to answers: what a user gets, decoding and preprocessing included.

The job gives `program` ("ours" or "paddleclas"), `pictures` (paths), `threads`, and what the program needs.
The orders are

    what="time", calls      classify so many pictures more, going round; the answer is the mean seconds of one
    what="classes", calls   the class ids of the best answer for the first so many pictures
    what="parts", calls     milliseconds of decoding and of preparing one of them (ours)

PaddleClas' predictor runs on no Paddle that can be installed; what runs here is a plain loop of our own in
its order: read with OpenCV, its own operators one after another, a batch of one, Paddle Inference with
oneDNN, its own Topk.
"""

from __future__ import annotations

import importlib
import itertools
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .networks import paddle_predictor

Classify = Callable[[Iterable[str]], Iterator[int]]
"""Paths of pictures to the best class of each, in order."""

_HEAD_START = 32


def ours(job: dict[str, Any]) -> tuple[str, Classify]:
    """Return what `ppghost infer --artifact` does behind its start-up: a thread for each of several CPUs."""
    import cv2

    if job["threads"] > 1:
        cv2.setNumThreads(1)
    predict = importlib.import_module("ppghost.predict")
    classifier = predict.Classifier.from_artifact(job["artifact"], threads=job["threads"])

    def classify(paths: Iterable[str]) -> Iterator[int]:
        for answer in classifier.classify(paths, workers=job["threads"]):
            yield answer.to_dict()["class_ids"][0]

    return f"ppghost {importlib.import_module('ppghost').__version__}", classify


def paddleclas(job: dict[str, Any]) -> tuple[str, Classify]:
    """Return the loop of PaddleClas' `predict_cls.py`, written anew around its own operators."""
    import cv2
    import paddle
    from paddle import inference

    create_operators = importlib.import_module(job["operators"]).create_operators
    postprocess = importlib.import_module(job["postprocess"]).Topk(topk=5)
    predictor, copy_in, copy_out = paddle_predictor(inference, job)
    operators = create_operators(job["transform_ops"])

    def classify(paths: Iterable[str]) -> Iterator[int]:
        for path in paths:
            image: Any = cv2.imread(path)
            image = image[:, :, ::-1]
            for operator in operators:
                image = operator(image)
            copy_in(np.array([image]))
            predictor.run()
            [answer] = postprocess(copy_out())
            yield int(answer["class_ids"][0])

    return f"paddle {paddle.__version__}", classify


PROGRAMS: dict[str, Callable[[dict[str, Any]], tuple[str, Classify]]] = {
    "ours": ours,
    "paddleclas": paddleclas,
}


def parts_of_a_picture(job: dict[str, Any], paths: Sequence[str]) -> dict[str, float]:
    """Return the milliseconds that our decoding and our preparing of one picture take, on one core."""
    pipeline = importlib.import_module("ppghost.artifact").read_artifact(job["artifact"]).pipeline
    times = [_times_of(pipeline, path) for path in paths]
    decode, rest = (1000 * statistics.mean(column) for column in zip(*times))
    return {"decode_ms": decode, "prepare_ms": rest}


def _times_of(pipeline: Any, path: str) -> tuple[float, float]:
    """Return the seconds of reading and decoding one picture, and of what the pipeline does then."""
    begin = time.perf_counter()
    image = pipeline.ops[0](Path(path).read_bytes(), None)
    middle = time.perf_counter()
    type(pipeline)(pipeline.ops[1:]).to_chw(image)
    return middle - begin, time.perf_counter() - middle


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., dict[str, Any]]]:
    """Open the program; return its version."""
    version, classify = PROGRAMS[job["program"]](job)
    endless = classify(itertools.cycle(job["pictures"]))

    def obey(what: str, calls: int) -> dict[str, Any]:
        if what == "classes":
            return {"classes": list(classify(job["pictures"][:calls]))}
        if what == "parts":
            return parts_of_a_picture(job, job["pictures"][:calls])
        # What was prepared while the others took their turns has cost this turn nothing.
        next(itertools.islice(endless, _HEAD_START, None))
        start = time.perf_counter()
        next(itertools.islice(endless, calls - 1, None))
        return {"seconds": [(time.perf_counter() - start) / calls]}

    return {"framework": version}, obey
