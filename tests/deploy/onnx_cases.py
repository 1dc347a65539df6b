"""Clean-up of graphs, checked where onnx is: a program for the environment of Paddle2ONNX.

    PYTHON onnx_cases.py FOLDER_OF_THE_CLEAN_UP SEED      random graphs, each step and all of them
    PYTHON onnx_cases.py --describe FILE                  what is in an ONNX file

Every graph is drawn with what Paddle2ONNX writes between operators: Identity, Constant, Reshape of constants,
biases added behind. ONNX' own reference computes it before and after. Standard output is JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator


class Drawing:
    """A random network, drawn node by node the way Paddle2ONNX draws."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.RandomState(seed)
        self.opset = int(self.rng.choice([11, 13, 21]))
        self.nodes: list[onnx.NodeProto] = []

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        # Something that does nothing stands behind half of the nodes.
        return self.node("Identity", [name]) if kind != "Identity" and self.rng.rand() < 0.5 else name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        return self.node("Constant", [], value=numpy_helper.from_array(np.asarray(value, dtype)))

    def weights(self, *shape: int) -> np.ndarray:
        return (0.4 * self.rng.standard_normal(shape)).astype(np.float32)

    def biased_conv(self, source: str, inputs: int, outputs: int, group: int, kernel: int) -> str:
        weight = self.constant(self.weights(outputs, inputs // group, kernel, kernel))
        pads = [kernel // 2] * 4
        product = self.node("Conv", [source, weight], group=group, kernel_shape=[kernel] * 2, pads=pads)
        if self.rng.rand() < 0.2:
            return product
        bias = self.node(
            "Reshape",
            [self.constant(self.weights(outputs)), self.constant([1, -1, 1, 1], np.int64)],
        )
        pair = [product, bias]
        biased = self.node("Add", pair if self.rng.rand() < 0.7 else pair[::-1])
        # Where the product has a second reader, the constant is no bias.
        return biased if self.rng.rand() < 0.7 else self.node("Add", [biased, product])

    def limit(self, value: float) -> str:
        return self.node("Squeeze", [self.constant([value])])

    def linear(self, rows: str, inputs: int, outputs: int) -> str:
        product = self.node("MatMul", [rows, self.constant(self.weights(inputs, outputs))])
        return self.node("Add", [product, self.constant(self.weights(outputs))])

    def flattened(self, x: str, channels: int) -> str:
        """Flatten as Paddle2ONNX does: by a fixed shape, or by one that is asked for at run time."""
        if self.rng.rand() < 0.5:
            return self.node("Reshape", [x, self.constant([-1, channels], np.int64)])
        begin, end, axis = (self.constant([value], np.int64) for value in (0, 1, 0))
        count = self.node("Slice", [self.node("Shape", [x]), begin, end, axis])
        return self.node("Reshape", [x, self.node("Concat", [count, self.constant([-1], np.int64)], axis=0)])

    def network(self) -> onnx.ModelProto:
        channels = int(self.rng.randint(2, 6))
        x = self.biased_conv("image", 3, channels, 1, 3)
        for _ in range(self.rng.randint(1, 4)):
            y = self.node("Relu", [self.biased_conv(x, channels, channels, 1, 1)])
            ghosts = self.biased_conv(y, channels, channels, channels, 3)
            x = self.node("Add", [self.node("Mul", [y, ghosts]), y])
            gate = self.node(
                "Reshape",
                [self.node("GlobalAveragePool", [x]), self.constant([-1, channels], np.int64)],
            )
            gate = self.node("Clip", [self.linear(gate, channels, channels), self.limit(0), self.limit(1)])
            gate = self.node("Reshape", [gate, self.constant([-1, channels, 1, 1], np.int64)])
            x = self.node("Concat", [self.node("Mul", [x, gate]), x], axis=1)
            channels *= 2
        rows = self.flattened(self.node("GlobalAveragePool", [x]), channels)
        # No softmax: where it saturates, errors hide.
        self.nodes.append(helper.make_node("Identity", [self.linear(rows, channels, 5)], ["class"]))
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info("image", 1, ["rows", 3, 6, 5])],
            [helper.make_tensor_value_info("class", 1, ["rows_out", 5])],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


STEPS = (
    "fold_constants",
    "drop_identities",
    "merge_biases",
    "read_no_shapes",
    "keep_batch_in_reshapes",
    "merge_linear_layers",
    "drop_unused",
)


def largest_errors(room: Any, seed: int) -> dict[str, float]:
    """Return step -> largest difference of the outputs after it, as a share of the largest output."""
    drawing = Drawing(seed)
    model = drawing.network()
    images = drawing.weights(int(drawing.rng.randint(1, 4)), 3, 6, 5)
    [expected] = ReferenceEvaluator(model).run(None, {"image": images})
    graph = room.read_graph(model)
    errors = {}
    for step in STEPS:
        getattr(room, step)(graph)
        [given] = ReferenceEvaluator(graph.model()).run(None, {"image": images})
        errors[step] = float(np.abs(given - expected).max() / np.abs(expected).max())
    room.rename(graph, "x", "prob")
    finished = room.finished(graph, "drawn", 5, {"key": "value"}, ("a", "1"))
    [given] = ReferenceEvaluator(finished).run(None, {"x": images})
    errors["finished"] = float(np.abs(given - expected).max() / np.abs(expected).max())
    left = {node.op_type for node in finished.graph.node}
    assert not left & {"Identity", "Constant", "MatMul", "Squeeze"}, left
    sides = [dim.dim_param or dim.dim_value for dim in finished.graph.output[0].type.tensor_type.shape.dim]
    assert sides == ["batch", 5], sides
    return errors


def describe(path: str) -> dict[str, Any]:
    """Return what is in an ONNX file."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in values
    }
    made = [name for node in model.graph.node for name in node.output]
    return {
        "opset": [[entry.domain, entry.version] for entry in model.opset_import],
        "kinds": [node.op_type for node in model.graph.node],
        "names": [node.name for node in model.graph.node],
        "constants": [tensor.name for tensor in model.graph.initializer],
        "shapes": shapes,
        "without_shape": [name for name in made if not shapes.get(name)],
        "producer": model.producer_name,
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
    }


def main() -> None:
    if sys.argv[1] == "--describe":
        answer: Any = describe(sys.argv[2])
    else:
        sys.path[0] = sys.argv[1]
        room = importlib.import_module("onnx_graph")
        first = int(sys.argv[2])
        answer = [largest_errors(room, seed) for seed in range(first, first + 12)]
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
