"""Clean-up of an ONNX graph as Paddle2ONNX writes it: the same numbers with a fifth of the nodes.

Every step is exact: it moves constants, names and additions of constants, and changes no product. What a step
does not know it leaves as it is, so any network passes, and only known patterns become faster.

Imports onnx and NumPy; nothing of ppghost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

BATCH = "batch"

Sides = list[Union[int, str, None]]
"""Sides of a value: numbers, names, or None where nothing is known."""


@dataclass
class Graph:
    """A graph in work.

    Attributes:
        nodes: in an order in which they can be computed.
        constants: name -> value.
        input: name of the only input.
        output: name of the only output.
        input_shape: sides of the input; a name for a side that is left open.
        opset: version of the standard operators.
        ir_version: of the file's form.
    """

    nodes: list[NodeProto]
    constants: dict[str, np.ndarray]
    input: str
    output: str
    input_shape: Sides
    opset: int
    ir_version: int

    def producers(self) -> dict[str, NodeProto]:
        """Return value -> the node that computes it."""
        return {name: node for node in self.nodes for name in node.output}

    def uses(self) -> Counter[str]:
        """Return value -> how many nodes read it; the graph's output counts as one."""
        return Counter([self.output, *(name for node in self.nodes for name in node.input if name)])

    def replace(self, old: Mapping[int, Optional[NodeProto]], names: Mapping[str, str]) -> None:
        """Put nodes in the place of others and read other values.

        Args:
            old: `id` of a node -> what stands in its place; None for nothing.
            names: value -> the value that is read in its place.
        """
        kept = [old.get(id(node), node) for node in self.nodes]
        self.nodes = [node for node in kept if node is not None]
        for node in self.nodes:
            for place, name in enumerate(node.input):
                node.input[place] = _resolved(name, names)
        self.output = _resolved(self.output, names)

    def model(self, name: str = "graph") -> ModelProto:
        """Return the graph as a model; the sides of the output are those that follow from the input's."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(self.input, TensorProto.FLOAT, self.input_shape)],
            [helper.make_tensor_value_info(self.output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, key) for key, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version)

    def shapes(self) -> dict[str, Sides]:
        """Return value -> its sides, for the values of which they are known."""
        inferred = shape_inference.infer_shapes(self.model(), strict_mode=True, data_prop=True).graph
        known = [value for value in (*inferred.value_info, *inferred.output) if has_shape(value)]
        return {self.input: self.input_shape, **{value.name: sides_of(value) for value in known}}


def _resolved(name: str, names: Mapping[str, str]) -> str:
    while name in names:
        name = names[name]
    return name


def has_shape(value: Any) -> bool:
    """Say whether the number of sides of a value is known."""
    return bool(value.type.tensor_type.HasField("shape"))


def sides_of(value: Any) -> Sides:
    """Return the sides of a value whose shape is known."""
    sides = value.type.tensor_type.shape.dim
    return [side.dim_value if side.HasField("dim_value") else side.dim_param or None for side in sides]


def read_graph(model: ModelProto) -> Graph:
    """Return the graph of a model; the open side of its input is called `BATCH`.

    Raises:
        ValueError: it has not one input and one output, or a graph within a node.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    outputs = [value.name for value in model.graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        names = [value.name for value in inputs]
        raise ValueError(f"the graph has the inputs {names} and the outputs {outputs}; accepted: one each")
    for node in model.graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise ValueError(
                f"the graph branches at a node {node.op_type}; accepted: graphs without branches"
            )
    shape = sides_of(inputs[0])
    [opset] = [entry.version for entry in model.opset_import if not entry.domain]
    return Graph(
        list(model.graph.node),
        constants,
        inputs[0].name,
        outputs[0],
        [shape[0] if isinstance(shape[0], int) else BATCH, *shape[1:]],
        opset,
        model.ir_version,
    )


def clean(graph: Graph) -> None:
    """Apply every step."""
    fold_constants(graph)
    drop_identities(graph)
    merge_biases(graph)
    read_no_shapes(graph)
    keep_batch_in_reshapes(graph)
    merge_linear_layers(graph)
    drop_unused(graph)


def _squeezed(node: NodeProto, value: np.ndarray, axes: Optional[np.ndarray] = None) -> np.ndarray:
    # Before operator set 13 the axes are an attribute.
    given = [attribute.ints for attribute in node.attribute if attribute.name == "axes"]
    listed = given[0] if given else axes
    return np.squeeze(value, None if listed is None else tuple(int(axis) for axis in listed))


_OF_CONSTANTS: dict[str, Callable[..., np.ndarray]] = {
    "Constant": lambda node: numpy_helper.to_array(helper.get_node_attr_value(node, "value")),
    "Identity": lambda node, value: value,
    "Reshape": lambda node, value, shape: value.reshape(shape),
    "Squeeze": _squeezed,
}


def fold_constants(graph: Graph) -> None:
    """Compute once what depends on constants alone, as far as it only moves numbers."""
    gone: dict[int, Optional[NodeProto]] = {}
    for node in graph.nodes:
        if node.op_type in _OF_CONSTANTS and all(name in graph.constants for name in node.input):
            values = [graph.constants[name] for name in node.input]
            graph.constants[node.output[0]] = _OF_CONSTANTS[node.op_type](node, *values)
            gone[id(node)] = None
    graph.replace(gone, {})


def drop_identities(graph: Graph) -> None:
    """Read values where they come from."""
    idle = [node for node in graph.nodes if node.op_type == "Identity"]
    graph.replace({id(node): None for node in idle}, {node.output[0]: node.input[0] for node in idle})


def merge_biases(graph: Graph) -> None:
    """Give a convolution the constant that is added to each of its channels behind it."""
    producers, uses = graph.producers(), graph.uses()
    gone: dict[int, Optional[NodeProto]] = {}
    names = {}
    for node in graph.nodes:
        if node.op_type != "Add":
            continue
        for source, constant in (node.input, reversed(node.input)):
            conv, value = producers.get(source), graph.constants.get(constant)
            if conv is None or value is None or conv.op_type != "Conv" or len(conv.input) != 2:
                continue
            channels = len(graph.constants[conv.input[1]])
            if uses[source] == 1 and value.shape in ((1, channels, 1, 1), (channels, 1, 1)):
                graph.constants[constant + ".bias"] = value.reshape(channels)
                conv.input.append(constant + ".bias")
                gone[id(node)], names[node.output[0]] = None, source
    graph.replace(gone, names)


def read_no_shapes(graph: Graph) -> None:
    """Let a reshape that asks for the number of rows at run time keep it instead: 0 stands for that."""
    producers = graph.producers()
    for node in graph.nodes:
        target = producers.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is None or target.op_type != "Concat":
            continue
        rest = [graph.constants.get(name) for name in target.input[1:]]
        known = [sides for sides in rest if sides is not None]
        if len(known) == len(rest) and _is_number_of_rows(graph, target.input[0], node.input[0], producers):
            node.input[1] = node.output[0] + ".shape"
            graph.constants[node.input[1]] = np.concatenate([[0], *known]).astype(np.int64)


def _is_number_of_rows(graph: Graph, name: str, of: str, producers: Mapping[str, NodeProto]) -> bool:
    """Say whether a value is the first side of another one, as a list of one number."""
    part = producers.get(name)
    shape = producers.get(part.input[0]) if part is not None and part.op_type == "Slice" else None
    if part is None or shape is None or shape.op_type != "Shape" or shape.input[0] != of or shape.attribute:
        return False
    limits = [graph.constants.get(place, np.zeros(0)).tolist() for place in part.input[1:3]]
    steps = graph.constants.get(part.input[4], np.zeros(0)).tolist() if len(part.input) == 5 else [1]
    return limits == [[0], [1]] and steps == [1]


def keep_batch_in_reshapes(graph: Graph) -> None:
    """Say of a reshape of each row that it leaves the rows alone, so that their number stays known."""
    for node in graph.nodes:
        target = graph.constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is None or len(target) < 2:
            continue
        row = _row_after(graph.shapes().get(node.input[0], [])[1:], target)
        if row is None:
            continue
        if len(row) == 1:
            changed = helper.make_node("Flatten", node.input[:1], node.output, axis=1)
        else:
            name = node.output[0] + ".shape"
            graph.constants[name] = np.array([0, *row], np.int64)
            changed = helper.make_node("Reshape", [node.input[0], name], node.output)
        graph.replace({id(node): changed}, {})


def _row_after(sides: Sides, target: np.ndarray) -> Optional[list[int]]:
    """Return the sides of a row after a reshape; None where it may move numbers between rows."""
    row = [side for side in sides if isinstance(side, int)]
    size, wanted = math.prod(row), [int(side) for side in target[1:]]
    if not row or len(row) < len(sides) or target[0] not in (0, -1):
        return None
    if target[0] == 0 and wanted.count(-1) == 1:
        others = math.prod(side for side in wanted if side != -1)
        wanted = [size // others if side == -1 and others > 0 else side for side in wanted]
    return wanted if min(wanted) > 0 and math.prod(wanted) == size else None


def merge_linear_layers(graph: Graph) -> None:
    """Write the product of rows and a constant matrix plus a constant row as one node."""
    producers, uses, shapes = graph.producers(), graph.uses(), graph.shapes()
    changed: dict[int, Optional[NodeProto]] = {}
    for node in graph.nodes:
        product = producers.get(node.input[0]) if node.op_type == "Add" else None
        if product is None or product.op_type != "MatMul" or uses[node.input[0]] != 1:
            continue
        rows, matrix, bias = product.input[0], product.input[1], node.input[1]
        if matrix not in graph.constants or bias not in graph.constants or len(shapes.get(rows, [])) != 2:
            continue
        if graph.constants[bias].shape == graph.constants[matrix].shape[1:]:
            gemm = helper.make_node("Gemm", [rows, matrix, bias], node.output)
            changed[id(product)], changed[id(node)] = None, gemm
    graph.replace(changed, {})


def drop_unused(graph: Graph) -> None:
    """Forget what nothing reads."""
    uses = graph.uses()
    while idle := [node for node in graph.nodes if not any(uses[name] for name in node.output)]:
        graph.replace({id(node): None for node in idle}, {})
        uses = graph.uses()
    graph.constants = {name: value for name, value in graph.constants.items() if uses[name]}


# What the constants of a node are, by their place among its inputs.
_PARTS = {
    "Conv": {1: "weight", 2: "bias"},
    "Gemm": {1: "weight", 2: "bias"},
    "MatMul": {1: "weight"},
    "BatchNormalization": {1: "scale", 2: "bias", 3: "mean", 4: "variance"},
    "Clip": {1: "min", 2: "max"},
    "Reshape": {1: "shape"},
}


def rename(graph: Graph, input_name: str, output_name: str) -> None:
    """Name input and output as asked, and everything else by the kinds of the nodes, numbered from 0.

    A constant that several nodes read becomes one for each.
    """
    numbers: Counter[str] = Counter()
    names = {graph.input: input_name}
    constants: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        kind = node.op_type.lower()
        node.name = f"{kind}_{numbers[kind]}"
        numbers[kind] += 1
        for place, name in enumerate(node.input):
            if name in graph.constants:
                part = _PARTS.get(node.op_type, {}).get(place, f"constant_{place}")
                node.input[place] = f"{node.name}.{part}"
                constants[node.input[place]] = graph.constants[name]
            elif name:
                node.input[place] = names[name]
        for place, name in enumerate(node.output):
            # Slashes are not in the names of ours; so no name that a user chooses can be taken already.
            names[name] = output_name if name == graph.output else f"/{node.name}/{place}"
            node.output[place] = names[name]
    graph.input, graph.output, graph.constants = input_name, output_name, constants


def finished(
    graph: Graph, name: str, class_num: int, facts: Mapping[str, str], producer: tuple[str, str]
) -> ModelProto:
    """Return the model with all shapes, checked.

    Args:
        graph: cleaned and named.
        name: of the network.
        class_num: length of an output row.
        facts: noted in the model.
        producer: name and version of the program that writes it.

    Raises:
        ValueError: the output has another shape than the input's rows and the classes give.
        onnx.checker.ValidationError: the graph breaks a rule of ONNX.
        onnx.shape_inference.InferenceError: the shapes contradict each other.
    """
    model = shape_inference.infer_shapes(graph.model(name), check_type=True, strict_mode=True, data_prop=True)
    [output] = model.graph.output
    expected: Sides = [graph.input_shape[0], class_num]
    given = sides_of(output) if has_shape(output) else expected
    # A side that is no number could not be told.
    if len(given) != 2 or any(isinstance(one, int) and one != two for one, two in zip(given, expected)):
        raise ValueError(f"its output is {given} where {expected} must be")
    output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, expected))
    model.producer_name, model.producer_version = producer
    helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    return model
