"""What `onnx_to_int8.py` does: a quantised file for each method, and how near it is to the one in float.

Imports onnx, ONNX Runtime, NumPy and its neighbours; nothing of ppghost.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, helper

from .int8_graph import (
    KINDS,
    compact,
    kept_nodes,
    quantised,
    read_model,
    shrink_weights,
    weight_of,
    without_softmax,
)
from .ranges import batches, find_ranges

_ENOUGH_DB = 200.0


def quantise(job: dict[str, Any]) -> dict[str, Any]:
    """Write the files that a job describes, and return what is to be told about them.

    Raises:
        ValueError: the model or a pattern cannot be used.
    """
    model = read_model(job["model"])
    rows = np.load(job["rows"], mmap_mode="r")
    kept = kept_nodes(model, job["keep"])
    threads = job["threads"]
    ranges = find_ranges(model, rows, job["methods"], job["percentile"])
    expected = run(onnx.load(job["model"]), rows, threads)
    methods: dict[str, Any] = {}
    for method in job["methods"]:
        small = quantised(model, ranges[method], kept=kept)
        if job["kept_weights"] == "int8":
            shrink_weights(small, kept)
        onnx.save(finished(small, job, method), Path(job["folder"]) / f"{method}.onnx")
        methods[method] = {
            "ranges": ranges[method],
            "fidelity": fidelity(run(small, rows, threads), expected),
        }
    best = max(methods, key=lambda method: methods[method]["fidelity"]["cosine"])
    few = rows[: job["sensitivity"]]
    return {
        "nodes": [n.name for n in model.graph.node if n.op_type in KINDS and n.name not in kept],
        "kept": kept,
        "methods": methods,
        "best": best,
        "sensitivity": sensitivity_of(model, ranges[best], few, threads) if len(few) else [],
        "versions": {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
    }


def finished(model: ModelProto, job: Mapping[str, Any], method: str) -> ModelProto:
    """Return the model with its notes, as small as it can be, and checked."""
    compact(model)
    notes = {each.key: each.value for each in model.metadata_props}
    helper.set_model_props(model, {**notes, **job["notes"], "calibration": method})
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: ModelProto, rows: np.ndarray, threads: int, *, as_drawn: bool = False) -> np.ndarray:
    """Return `float64 [N, classes]`: logits, each row's mean taken off; softmax cannot tell them apart.

    With `as_drawn` every node is computed as it stands: ONNX Runtime 1.31 gives wrong numbers for some graphs
    of which one node alone is quantised, once it has optimised them.
    """
    options = onnxruntime.SessionOptions()
    if as_drawn:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    bare = without_softmax(model)
    session = onnxruntime.InferenceSession(
        bare.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    outputs = [session.run(None, {name: batch})[0] for batch in batches(model, rows)]
    logits = np.concatenate(outputs).astype(np.float64)
    return logits - logits.mean(axis=1, keepdims=True)


def fidelity(given: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Return how near the logits are to those in float.

    Returns:
        `sqnr_db`: a row's power in relation to that of its error, in decibels, the median of the rows;
        `cosine`: the mean of the rows'; `same_top1`: the share of rows with the same best class.
    """
    noise, power = ((given - expected) ** 2).sum(axis=1), (expected**2).sum(axis=1)
    decibels = 10 * np.log10(np.maximum(power, 1e-30) / np.maximum(noise, 1e-30))
    norms = np.linalg.norm(given, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (given * expected).sum(axis=1) / np.maximum(norms, 1e-30)
    return {
        "sqnr_db": min(float(np.median(decibels)), _ENOUGH_DB),
        "cosine": float(cosines.mean()),
        "same_top1": float((given.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    }


def sensitivity_of(
    model: ModelProto, ranges: Mapping[str, tuple[float, float]], rows: np.ndarray, threads: int
) -> list[dict[str, Any]]:
    """Return what each linear layer costs when it alone computes in 8 bits, in the graph's order."""
    constants = {each.name: each for each in model.graph.initializer}
    expected = run(model, rows, threads)
    found = []
    for node in model.graph.node:
        weight = weight_of(node, constants)
        if weight:
            one = quantised(model, ranges, only=[node.name])
            shape = list(constants[weight].dims)
            found.append(
                {"layer": node.name, "kind": node.op_type, "weight": shape}
                | fidelity(run(one, rows, threads, as_drawn=True), expected)
            )
    return found
