"""What an ONNX file says about itself: operator set, inputs, outputs, notes. Read without onnx itself.

Only the fields of these facts are read; the weights are skipped. Source: onnx.proto3 of the ONNX project.
Imports only the rock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ppghost.errors import ArtifactError
from ppghost.protobuf import Value, as_bytes, as_text, read_fields

# Numbers of the fields in onnx.proto3.
_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_METADATA = 7, 8, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE = 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR = 1, 2, 4
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_INITIALIZER_NAME, _VALUE_NAME, _VALUE_TYPE = 8, 1, 2
_TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_DIM = 1, 2, 1
_DIM_VALUE = 1
_PASSING_ON = ("Identity", "Cast", "Flatten", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: its name.
        shape: its sides; None where the file leaves one open.
    """

    name: str
    shape: tuple[Optional[int], ...]


@dataclass(frozen=True)
class OnnxHeader:
    """What an ONNX file says about itself.

    Attributes:
        opset: version of the standard operators.
        inputs: what is fed, without the weights that old files count among the inputs.
        outputs: what comes out.
        metadata: what its writer noted.
        ends_in_softmax: whether the first output is probabilities, made by Softmax.
    """

    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    ends_in_softmax: bool = False


def read_onnx_header(path: Path) -> OnnxHeader:
    """Return what an ONNX file says about itself.

    Raises:
        ArtifactError: it cannot be read or is no ONNX file.
    """
    try:
        return _header(memoryview(path.read_bytes()))
    except OSError as error:
        raise ArtifactError(f"The model '{path}' cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ArtifactError(f"'{path}' is no ONNX file, or was cut off: {error}.") from error


def _header(data: memoryview) -> OnnxHeader:
    opset = None
    graph: dict[int, list[Value]] = {}
    metadata: dict[str, str] = {}
    for number, value in read_fields(data):
        if number == _MODEL_OPSETS:
            fields = dict(read_fields(as_bytes(value)))
            if not bytes(as_bytes(fields.get(_OPSET_DOMAIN, memoryview(b"")))):
                opset = fields.get(_OPSET_VERSION)
        elif number == _MODEL_GRAPH:
            for part, content in read_fields(as_bytes(value)):
                graph.setdefault(part, []).append(content)
        elif number == _MODEL_METADATA:
            entry = dict(read_fields(as_bytes(value)))
            metadata[_text(entry.get(_ENTRY_KEY))] = _text(entry.get(_ENTRY_VALUE))
    if not isinstance(opset, int) or _GRAPH_OUTPUT not in graph:
        raise ValueError("it names no operator set or no output")
    weights = {
        _text(dict(read_fields(as_bytes(tensor))).get(_INITIALIZER_NAME))
        for tensor in graph.get(_GRAPH_INITIALIZER, ())
    }
    inputs = [_tensor(value) for value in graph.get(_GRAPH_INPUT, ())]
    outputs = tuple(_tensor(value) for value in graph[_GRAPH_OUTPUT])
    return OnnxHeader(
        opset,
        tuple(tensor for tensor in inputs if tensor.name not in weights),
        outputs,
        metadata,
        _maker_of(outputs[0].name, graph.get(_GRAPH_NODE, ())) == "Softmax",
    )


def _maker_of(name: str, nodes: Iterable[Value]) -> Optional[str]:
    """Return the operator that makes a value; those that pass it on are skipped; None if no node does."""
    makers: dict[str, tuple[str, str]] = {}
    for node in nodes:
        operator = source = ""
        made: list[str] = []
        for number, value in read_fields(as_bytes(node)):
            if number == _NODE_OUTPUT:
                made.append(_text(value))
            elif number == _NODE_OPERATOR:
                operator = _text(value)
            elif number == _NODE_INPUT:
                source = source or _text(value)
        makers.update(dict.fromkeys(made, (operator, source)))
    while name in makers:
        operator, name = makers.pop(name)  # popped, so that a file with a circle in it ends
        if operator not in _PASSING_ON:
            return operator
    return None


def _tensor(value: Value) -> Tensor:
    fields = dict(read_fields(as_bytes(value)))
    shape: list[Optional[int]] = []
    kind = dict(read_fields(as_bytes(fields.get(_VALUE_TYPE, memoryview(b"")))))
    tensor = dict(read_fields(as_bytes(kind.get(_TYPE_TENSOR, memoryview(b"")))))
    for number, dim in read_fields(as_bytes(tensor.get(_TENSOR_SHAPE, memoryview(b"")))):
        if number == _SHAPE_DIM:
            side = dict(read_fields(as_bytes(dim))).get(_DIM_VALUE)
            shape.append(side if isinstance(side, int) and side < 1 << 63 else None)
    return Tensor(_text(fields.get(_VALUE_NAME)), tuple(shape))


def _text(value: Optional[Value]) -> str:
    return "" if value is None else as_text(value)
