"""The graph of an ONNX file in 8 bits: which nodes keep computing in float, what is written, and how small.

ONNX Runtime's quantiser writes QuantizeLinear and DequantizeLinear around the nodes; `compact` leaves out of
its file what no engine needs.

Imports onnx, ONNX Runtime and NumPy; nothing of ppghost.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference, version_converter
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

OPSET = 13
"""The first whose DequantizeLinear has a scale for each channel."""
KINDS = ("Conv", "Gemm", "MatMul", "Add", "Concat", "Mul", "GlobalAveragePool")
LINEAR = ("Conv", "Gemm", "MatMul")
_SMALL = 1024
"""Weights of fewer numbers stay as they are: the nodes around them would need as much room."""
_SHORTER = {
    "_QuantizeLinear_Output": ".q",
    "_DequantizeLinear_Output": ".dq",
    "_quantized": ".int8",
    "_zero_point": ".zero",
    "_scale": ".scale",
}
"""What ONNX Runtime's quantiser adds to names, some thousand times, and what stands for it."""


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
    fold_batch_norms(model)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{number}"
    return shape_inference.infer_shapes(model)


def fold_batch_norms(model: ModelProto) -> None:
    """Put each batch norm that follows a conv, and only it, into the conv's weights and bias."""
    constants = {each.name: each for each in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    producers = {name: node for node in model.graph.node for name in node.output}
    for norm in [node for node in model.graph.node if node.op_type == "BatchNormalization"]:
        conv = producers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or readers[norm.input[0]] > 1:
            continue
        names = (*conv.input[1:], *norm.input[1:])
        if any(name not in constants or readers[name] > 1 for name in names):
            continue
        weight, *bias, scale, shift, mean, variance = (
            numpy_helper.to_array(constants[name]) for name in names
        )
        epsilon = next((each.f for each in norm.attribute if each.name == "epsilon"), 1e-5)
        factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        folded = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        moved = shift + (sum(bias) - mean) * factor
        for name in names:
            model.graph.initializer.remove(constants[name])
        conv.input[1:] = [names[0], norm.input[2]]
        conv.output[0] = norm.output[0]
        for name, value in ((names[0], folded), (norm.input[2], moved)):
            model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        model.graph.node.remove(norm)


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
    """Store the weights of layers that compute in float in 8 bits, one scale a channel.

    Cast and Mul unpack them, which engines compute once, as they load the file. A DequantizeLinear would
    keep the weights small in memory, and ONNX Runtime would unpack them anew in every run: three quarters
    of the time of a GhostNet.
    """
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
            [numpy_helper.from_array(levels, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
        )
        nodes += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.levels"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.levels", f"{name}.scale"], [name]),
            node,
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def levels_of(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 levels of the weight's shape, and float32 scales, symmetric around zero.

    The scales have the weight's number of axes; all but `axis` are 1 long.
    """
    others = tuple(each for each in range(weight.ndim) if each != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    levels = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return levels, scale.astype(np.float32)


def compact(model: ModelProto) -> None:
    """Take away what computes nothing: shapes, names of added nodes, zero points that are 0, long names."""
    graph = model.graph
    del graph.value_info[:]
    constants = {each.name: each for each in graph.initializer}
    unused: set[str] = set()
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        node.name = ""
        # Without a zero point it is 0 in the type of what is dequantised, or uint8 in QuantizeLinear.
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        if node.op_type == "DequantizeLinear" and zero is not None and node.input[0] in constants:
            if numpy_helper.to_array(zero).any():
                continue
            unused.add(node.input.pop())
    for name in unused.difference(name for node in graph.node for name in node.input):
        graph.initializer.remove(constants[name])
    _shorten_names(model)


def _shorten_names(model: ModelProto) -> None:
    """Give the quantiser's values the endings of `_SHORTER`, where that makes no two names one."""
    graph = model.graph
    fixed = {each.name for each in (*graph.input, *graph.output)}
    names = {name for node in graph.node for name in (*node.input, *node.output)} - fixed
    new = {name: _shorter(name) for name in names}
    taken = Counter([*new.values(), *fixed])
    new = {old: short for old, short in new.items() if taken[short] == 1}
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [new.get(name, name) for name in side]
    for constant in graph.initializer:
        constant.name = new.get(constant.name, constant.name)


def _shorter(name: str) -> str:
    for long, short in _SHORTER.items():
        name = name.replace(long, short)
    return name


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
