"""What `ppghost quantize` measures of the network in float and of each one in 8 bits.

Program: may print. Imports no Paddle.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Optional

import numpy as np
from tqdm import tqdm

from ppghost.accuracy.counting import Accuracy, answer_of
from ppghost.artifact import Artifact
from ppghost.data.lists import PictureList
from ppghost.engines import ENGINES, EngineNetwork, is_at_hand, open_engine
from ppghost.errors import DataError, GhostError
from ppghost.export.quantize import Candidate, Quantised
from ppghost.offline.scoring import MOST
from ppghost.predict import Predictor, Scored, score_pictures
from ppghost.results import printable

_LOG = logging.getLogger(__name__)

ROUNDS = 100
"""How many times fp32 and int8 take turns when their speed is measured."""
_WARM_UP = 3
_ENGINE = "onnxruntime"
_BATCH = 8

Figures = dict[str, Any]


def measured(source: Artifact, made: Quantised, judged: Optional[PictureList], row: np.ndarray) -> Figures:
    """Return sizes and accuracies of the network in float and of every candidate, and latencies of two.

    The candidates are one graph with other scales: the latency is that of the network in float and of the
    best one.

    Args:
        source: the network in float.
        made: the candidates.
        judged: labelled pictures for top-1; None leaves it out.
        row: float32 [1, C, H, W], a picture to measure the latency with.

    Raises:
        DataError: none of the labelled pictures can be read.
    """
    model = source.path_of(source.facts.model("onnx").graph)
    fp32: Figures = {"bytes": model.stat().st_size}
    models = {"fp32": model, **{each.method: each.model for each in made.candidates}}
    figures = {"fp32": fp32, **{each.method: _facts_of(each, fp32["bytes"]) for each in made.candidates}}
    if judged is not None:
        _add_accuracy(source, models, figures, judged)
    timed = {name: models[name] for name in ("fp32", made.best.method)}
    for name, engine in ENGINES.items():
        if name == _ENGINE or (engine.form == "onnx" and is_at_hand(engine)):
            _add_latency(name, source, timed, figures, row)
    return {
        "model": source.facts.name,
        "version": source.facts.version,
        "shipped": made.best.method,
        "fp32": figures.pop("fp32"),
        "int8": figures,
        "computes_in_float": list(made.kept),
        "computes_in_int8": list(made.nodes),
        "versions": dict(made.versions),
        "sensitivity": [dict(each) for each in made.sensitivity],
    }


def _facts_of(candidate: Candidate, fp32_bytes: int) -> Figures:
    size = candidate.model.stat().st_size
    return {"bytes": size, "share_of_fp32_bytes": size / fp32_bytes, **candidate.fidelity}


class _Together:
    """Several networks as one predictor, so that each picture is read once for all of them.

    Args:
        networks: each gives as many classes.
    """

    def __init__(self, networks: Sequence[Predictor]) -> None:
        self._networks = networks

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, networks * classes]`."""
        return np.concatenate([network(images) for network in self._networks], axis=1)

    def __enter__(self) -> _Together:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: who opened the networks releases them."""


def _add_accuracy(
    source: Artifact, models: Mapping[str, Path], figures: Mapping[str, Figures], judged: PictureList
) -> None:
    """Measure every network on the same prepared pictures; a broken picture is told and not counted."""
    _LOG.info("Measuring top-1 on %d pictures", len(judged))
    counts = {name: Accuracy() for name in models}
    with ExitStack() as stack:
        networks = [
            stack.enter_context(open_engine(_ENGINE, path, source.facts.input_shape, batch_size=_BATCH))
            for path in models.values()
        ]
        paths = (judged.path(index) for index in range(len(judged)))
        scored = score_pictures(_Together(networks), source.pipeline, paths, batch_size=_BATCH)
        # tqdm shows no bar where standard error is no terminal.
        bar = stack.enter_context(tqdm(total=len(judged), unit="picture", disable=None))
        for index, one in enumerate(scored):
            _count(one, counts, judged, index, gives_logits=source.facts.output == "logits")
            bar.update()
    for name, accuracy in counts.items():
        if not accuracy.tally.total:
            raise DataError(f"None of the {len(judged)} pictures of {judged.source} could be read.")
        top = accuracy.tally.top_n()
        figures[name].update(
            top1=top.accuracy(1), top5=top.accuracy(MOST), counted=top.total, broken=accuracy.broken
        )


def _count(
    scored: Scored, counts: Mapping[str, Accuracy], judged: PictureList, index: int, *, gives_logits: bool
) -> None:
    """Count the answers of all networks for one picture."""
    if scored.failure is not None:
        _LOG.error("%s: %s; it is not counted", printable(scored.source), scored.failure)
    outputs = [None] * len(counts) if scored.output is None else np.split(scored.output, len(counts))
    for accuracy, output in zip(counts.values(), outputs):
        one = dataclasses.replace(scored, output=output)
        label = int(judged.labels[index])
        accuracy.add(answer_of(judged.name(index), label, one, gives_logits=gives_logits))


def _add_latency(
    engine: str,
    source: Artifact,
    models: Mapping[str, Path],
    figures: Mapping[str, Figures],
    row: np.ndarray,
) -> None:
    """Measure every network in one engine; an engine that only came along may fail, and that is told."""
    try:
        with ExitStack() as stack:
            networks = {
                name: stack.enter_context(open_engine(engine, path, source.facts.input_shape))
                for name, path in models.items()
            }
            seconds = _seconds(networks, row)
    except GhostError as error:
        if engine == _ENGINE:
            raise
        _LOG.warning("%s is not measured: %s", engine, error)
        return
    for name, each in seconds.items():
        figures[name].setdefault("milliseconds", {})[engine] = 1000 * float(np.median(each))
        ratios = each / seconds["fp32"]
        quartiles = [float(quartile) for quartile in np.percentile(ratios, (25, 50, 75))]
        figures[name].setdefault("times_fp32_quartiles", {})[engine] = quartiles


def _seconds(networks: Mapping[str, EngineNetwork], row: np.ndarray) -> dict[str, np.ndarray]:
    """Return how long a picture takes, float64 [ROUNDS] in turns, so that all meet the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(ROUNDS + _WARM_UP):
        for name, network in networks.items():
            start = time.perf_counter()
            network(row)
            # The engine's own clock, where it has a process of its own: the bridge is no part of it.
            took = network.seconds or time.perf_counter() - start
            if turn >= _WARM_UP:
                seconds[name].append(took)
    return {name: np.array(each) for name, each in seconds.items()}
