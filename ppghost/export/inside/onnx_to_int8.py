"""From an ONNX file to 8 bits: the program that `ppghost.export.quantize` starts.

    PYTHON onnx_to_int8.py JOB

JOB is JSON: `model`, `rows` (a .npy, `float32 [N, C, H, W]`), `folder` (gets `<method>.onnx` of each
method), `methods`, `percentile`, `keep` (see `kept_nodes`), `kept_weights` ("int8" or "fp32"),
`sensitivity` (how many rows to measure it on, 0 for none), `notes` (text by text), `threads`. The last line
of standard output is JSON: `nodes` (those that compute in 8 bits), `kept`, `versions`, and for each method
`ranges`, `fidelity`, `sensitivity`. What cannot be done ends it with exit code 1 and a line on standard error
that begins with "refused: ".

ONNX Runtime's quantiser writes the graph and finds the ranges, but those of least squared error (`clipping`).
Memory holds the values of one batch of rows and a histogram for each tensor, however many rows there are.

Imports onnx, ONNX Runtime, NumPy and its neighbours; nothing of ppghost.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
import logging
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference, version_converter
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    HistogramCollector,
    TensorsData,
    create_calibrator,
    save_tensors_data,
)

OPSET = 13
"""The first whose DequantizeLinear has a scale for each channel."""
BATCH = 8
BINS = 2048
BINS_OF_KL = 512
LEVELS_OF_KL = 128
KINDS = ("Conv", "Gemm", "MatMul", "Add", "Concat", "Mul", "GlobalAveragePool")
LINEAR = ("Conv", "Gemm", "MatMul")
_SMALL = 1024
"""Weights of fewer numbers stay as they are: the nodes around them would need as much room."""
_ENOUGH_DB = 200.0


class Rows(CalibrationDataReader):
    """One batch of rows for ONNX Runtime's calibrators."""

    def __init__(self, name: str, rows: np.ndarray) -> None:
        self._feeds = iter([{name: np.ascontiguousarray(rows)}])

    def get_next(self) -> Optional[dict[str, np.ndarray]]:
        """Return the batch, and None the next time."""
        return next(self._feeds, None)


def read_model(path: str) -> ModelProto:
    """Return a model that can be quantised, with the shapes of all values.

    Raises:
        ValueError: it holds numbers of 8 bits already, or has not one input and one output.
    """
    model = onnx.load(path)
    kinds = {node.op_type for node in model.graph.node}
    found = sorted(kind for kind in kinds if "Quantize" in kind or kind.startswith("QLinear"))
    if found:
        raise ValueError(f"the model is quantised already: it has {', '.join(found)}. Give the fp32 model")
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise ValueError(f"it has {len(model.graph.input)} inputs, {len(model.graph.output)} outputs, not 1")
    if max((each.version for each in model.opset_import if not each.domain), default=0) < OPSET:
        model = version_converter.convert_version(model, OPSET)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{number}"
    return shape_inference.infer_shapes(model)


def weight_of(node: NodeProto, constants: Mapping[str, Any]) -> Optional[str]:
    """Return the name of the constant matrix or kernels of a linear layer, None where it has none."""
    is_linear = node.op_type in LINEAR and len(node.input) > 1
    return node.input[1] if is_linear and node.input[1] in constants else None


def parts_of(model: ModelProto) -> dict[str, list[str]]:
    """Return which nodes are the `first` conv, the `classifier` and `se`, the squeeze-and-excitation layers.

    A Mul is such a layer's end where one of its factors comes, without another Mul between, from a global
    average; the layer is what lies between the two.
    """
    nodes = list(model.graph.node)
    constants = {each.name: each for each in model.graph.initializer}
    producers = {name: node for node in nodes for name in node.output}
    linear = [node for node in nodes if weight_of(node, constants)]
    parts: dict[str, list[str]] = {
        "first": [node.name for node in linear[:1]],
        "classifier": [node.name for node in linear[-1:]],
    }
    gates: dict[str, None] = {}
    for node in nodes:
        for factor in node.input if node.op_type == "Mul" else ():
            gates.update(dict.fromkeys(_gate(factor, producers)))
    parts["se"] = list(gates)
    return parts


def _gate(name: str, producers: Mapping[str, NodeProto]) -> list[str]:
    """Return the nodes from a global average to a value; none where it has none."""
    found: list[str] = []
    while name in producers:
        node = producers[name]
        if node.op_type in ("Mul", "Concat", "Add") and not found:
            return []
        found.append(node.name)
        if node.op_type in ("GlobalAveragePool", "ReduceMean"):
            return found
        name = node.input[0]
        if len(found) > 12:  # a gate is a short chain; this is the trunk
            return []
    return []


def kept_nodes(model: ModelProto, patterns: Sequence[str]) -> list[str]:
    """Return the nodes that keep computing in float, in the graph's order.

    Args:
        model: with a name for every node.
        patterns: "first", "classifier", "se", or shell patterns of names of nodes.

    Raises:
        ValueError: a pattern fits no node.
    """
    parts, names = parts_of(model), [node.name for node in model.graph.node]
    kept: set[str] = set()
    for pattern in patterns:
        found = parts[pattern] if pattern in parts else fnmatch.filter(names, pattern)
        if not found and pattern not in parts:
            raise ValueError(
                f"no node is called '{pattern}'; accepted: {', '.join(parts)}, or a pattern of names such as "
                f"{', '.join(names[:3])}"
            )
        kept.update(found)
    return [name for name in names if name in kept]


class Histograms(HistogramCollector):
    """Histograms of all values over ranges that are known, where ONNX Runtime's grow without bounds.

    Attributes:
        weighted: name of a value -> float64 [bins]: the counts of each row in relation to its mean square, so
            that errors count as shares of their row, and one wild picture does not outweigh all others.

    Args:
        ranges: name of a value -> its lowest and highest.
    """

    def __init__(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        super().__init__("percentile", False, BINS, LEVELS_OF_KL, 100.0, "same")
        self.weighted: dict[str, np.ndarray] = {}
        for name, (lowest, highest) in ranges.items():
            # Symmetric, as ONNX Runtime expects it; a value that is always 0 has a range nevertheless.
            end = np.float32(max(-lowest, highest, 1e-8))
            edges = np.linspace(-end, end, BINS + 1, dtype=np.float32)
            counts = np.zeros(BINS, np.int64)
            self.histogram_dict[name] = (counts, edges, np.float32(lowest), np.float32(highest), end)

    def collect(self, name_to_arr: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Count the values of one batch."""
        for name, arrays in name_to_arr.items():
            counts, end = self.histogram_dict[name][0], self.histogram_dict[name][4]
            weighted = self.weighted.setdefault(name, np.zeros(BINS))
            for row in (row for array in arrays for row in array):
                found = np.histogram(row, BINS, range=(-end, end))[0]
                counts += found
                weighted += found / max(float(np.square(row, dtype=np.float64).mean()), 1e-12)


def find_ranges(
    model: ModelProto, rows: np.ndarray, methods: Sequence[str], percentile: float
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the range of every value that may be quantised, by method.

    Args:
        model: with shapes.
        rows: float32 [N, C, H, W], as prepared.
        methods: of "minmax", "percentile", "kl" and "mse".
        percentile: which share of the values the range of "percentile" holds, 0 to 100.
    """
    data = _calibrated(model, rows, CalibrationMethod.MinMax).compute_data()
    found = {"minmax": {name: _plain(data[name].range_value) for name in data}}
    if set(methods) == {"minmax"}:
        return found
    counted = _calibrated(model, rows, CalibrationMethod.Percentile, Histograms(found["minmax"])).collector
    counted.percentile = percentile
    if "percentile" in methods:
        found["percentile"] = _ends(counted.compute_percentile())
    if "mse" in methods:
        search = load_part("clipping").least_squares_range
        found["mse"] = {
            name: search(counted.weighted[name], each[1]) for name, each in counted.histogram_dict.items()
        }
    if "kl" in methods:
        coarse = Histograms({})
        coarse.histogram_dict = {name: _coarse(each) for name, each in counted.histogram_dict.items()}
        found["kl"] = _ends(coarse.compute_entropy())
    return found


def _ends(found: Mapping[str, Sequence[Any]]) -> dict[str, tuple[float, float]]:
    return {name: _plain(each) for name, each in found.items()}


def _coarse(histogram: Sequence[Any]) -> tuple[Any, ...]:
    """Return a histogram with fewer bins: the search for the least divergence takes their number squared."""
    counts, edges, *rest = histogram
    return (counts.reshape(BINS_OF_KL, -1).sum(axis=1), edges[:: BINS // BINS_OF_KL], *rest)


def _calibrated(
    model: ModelProto, rows: np.ndarray, kind: Any, collector: Optional[HistogramCollector] = None
) -> Any:
    """Return a calibrator that has seen all rows, batch by batch."""
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(path, None, str(path.with_name("all.onnx")), kind)
        calibrator.collector = collector
        for batch in batches(model, rows):
            calibrator.collect_data(Rows(model.graph.input[0].name, batch))
        return calibrator


def _plain(ends: Any) -> tuple[float, float]:
    return float(np.asarray(ends[0]).min()), float(np.asarray(ends[1]).max())


def batches(model: ModelProto, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows in portions that the model takes; where it is for a fixed number, a rest is left out."""
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    size = fixed or BATCH
    for start in range(0, len(rows) - (fixed - 1 if fixed else 0), size):
        yield rows[start : start + size]


def quantised(
    model: ModelProto,
    ranges: Mapping[str, tuple[float, float]],
    *,
    only: Optional[Sequence[str]] = None,
    kept: Sequence[str] = (),
) -> ModelProto:
    """Return a model whose nodes compute in 8 bits, as QuantizeLinear and DequantizeLinear around them say.

    Weights are symmetric int8, one scale a channel; activations are uint8, one scale a tensor.

    Args:
        model: in float.
        ranges: name of a value -> its range.
        only: the nodes to quantise; None for all of `KINDS`.
        kept: the nodes not to quantise.
    """
    pairs = {name: tuple(np.array(end, np.float32) for end in ends) for name, ends in ranges.items()}
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        cache, out = Path(folder) / "ranges.json", Path(folder) / "int8.onnx"
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, pairs), cache)
        copied = ModelProto()
        copied.CopyFrom(model)
        quantize_static(
            copied,
            str(out),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(KINDS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=None if only is None else list(only),
            nodes_to_exclude=list(kept),
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            calibration_cache_path=str(cache),
        )
        return onnx.load(out)


def shrink_weights(model: ModelProto, names: Sequence[str]) -> None:
    """Store the weights of layers that compute in float in 8 bits, one scale a channel."""
    constants = {each.name: each for each in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        name = weight_of(node, constants) if node.name in names else None
        weight = numpy_helper.to_array(constants[name]) if name else np.zeros(0, np.float32)
        if name is None or weight.dtype != np.float32 or weight.size < _SMALL:
            nodes.append(node)
            continue
        is_transposed = any(each.name == "transB" and each.i for each in node.attribute)
        axis = 0 if node.op_type == "Conv" or is_transposed else weight.ndim - 1
        levels, scale = levels_of(weight, axis)
        model.graph.initializer.remove(constants[name])
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(levels, f"{name}.int8"),
                numpy_helper.from_array(scale, f"{name}.scale"),
                numpy_helper.from_array(np.zeros(len(scale), np.int8), f"{name}.zero"),
            ]
        )
        inputs = [f"{name}.{part}" for part in ("int8", "scale", "zero")]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], f"{name}.float", axis=axis))
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def levels_of(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 levels of the weight's shape and float32 scales [channels], symmetric around zero."""
    others = tuple(each for each in range(weight.ndim) if each != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    levels = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return levels, scale.reshape(-1).astype(np.float32)


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


def without_softmax(model: ModelProto) -> ModelProto:
    """Return a model that gives logits: probabilities of 0 do not tell how far the logits are apart."""
    bare = ModelProto()
    bare.CopyFrom(model)
    last = bare.graph.output[0]
    for node in bare.graph.node:
        if node.op_type == "Softmax" and node.output[0] == last.name:
            last.name = node.input[0]
            bare.graph.node.remove(node)
            break
    return bare


def fidelity(given: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Return how near the logits are to those in float.

    Returns:
        `sqnr_db`: power of the logits in relation to that of the error, in decibels; `cosine`: the mean
        of the rows'; `same_top1`: the share of rows with the same best class.
    """
    noise, power = float(((given - expected) ** 2).sum()), float((expected**2).sum())
    norms = np.linalg.norm(given, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (given * expected).sum(axis=1) / np.maximum(norms, 1e-30)
    return {
        "sqnr_db": min(10 * np.log10(power / noise), _ENOUGH_DB) if noise and power else _ENOUGH_DB,
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


def finished(model: ModelProto, job: Mapping[str, Any], method: str) -> ModelProto:
    """Return the model with its notes, checked, without the shapes and names that nothing needs."""
    del model.graph.value_info[:]
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.name = ""  # some hundreds of them are a percent of a small network's file
    notes = {each.key: each.value for each in model.metadata_props}
    helper.set_model_props(model, {**notes, **job["notes"], "calibration": method})
    onnx.checker.check_model(model, full_check=True)
    return model


def quantise(job: dict[str, Any]) -> None:
    """Write the files that a job describes, and tell about them.

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
    facts = {
        "nodes": [n.name for n in model.graph.node if n.op_type in KINDS and n.name not in kept],
        "kept": kept,
        "methods": methods,
        "best": best,
        "sensitivity": sensitivity_of(model, ranges[best], few, threads) if len(few) else [],
        "versions": {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
    }
    sys.stdout.write(f"\n{json.dumps(facts)}\n")


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
        quantise(json.loads(sys.argv[1]))
    # The errors of onnx and ONNX Runtime have no common base but this one; the other side tells the user.
    except Exception as error:  # noqa: BLE001
        sys.stderr.write(f"\nrefused: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
