"""What an ONNX file says about itself: operator set, inputs, outputs, notes. Read without onnx itself.

Only the fields of these facts are read; the weights are skipped. Source: onnx.proto3 of the ONNX project, and
the wire format of Protocol Buffers. Imports only the errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from ppghost.errors import ArtifactError

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
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


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


Value = Union[int, memoryview]


def read_onnx_header(path: Path) -> OnnxHeader:
    """Return what an ONNX file says about itself.

    Raises:
        ArtifactError: it cannot be read or is no ONNX file.
    """
    try:
        return _header(memoryview(path.read_bytes()))
    except OSError as error:
        raise ArtifactError(f"The model '{path}' cannot be read: {error.strerror or error}.") from error
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"'{path}' is no ONNX file, or was cut off: {error}.") from error


def _header(data: memoryview) -> OnnxHeader:
    opset = None
    graph: dict[int, list[Value]] = {}
    metadata: dict[str, str] = {}
    for number, value in _fields(data):
        if number == _MODEL_OPSETS:
            fields = dict(_fields(_bytes(value)))
            if not bytes(_bytes(fields.get(_OPSET_DOMAIN, memoryview(b"")))):
                opset = fields.get(_OPSET_VERSION)
        elif number == _MODEL_GRAPH:
            for part, content in _fields(_bytes(value)):
                graph.setdefault(part, []).append(content)
        elif number == _MODEL_METADATA:
            entry = dict(_fields(_bytes(value)))
            metadata[_text(entry.get(_ENTRY_KEY))] = _text(entry.get(_ENTRY_VALUE))
    if not isinstance(opset, int) or _GRAPH_OUTPUT not in graph:
        raise ValueError("it names no operator set or no output")
    weights = {
        _text(dict(_fields(_bytes(tensor))).get(_INITIALIZER_NAME))
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
        for number, value in _fields(_bytes(node)):
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
    fields = dict(_fields(_bytes(value)))
    shape: list[Optional[int]] = []
    kind = dict(_fields(_bytes(fields.get(_VALUE_TYPE, memoryview(b"")))))
    tensor = dict(_fields(_bytes(kind.get(_TYPE_TENSOR, memoryview(b"")))))
    for number, dim in _fields(_bytes(tensor.get(_TENSOR_SHAPE, memoryview(b"")))):
        if number == _SHAPE_DIM:
            side = dict(_fields(_bytes(dim))).get(_DIM_VALUE)
            shape.append(side if isinstance(side, int) and side < 1 << 63 else None)
    return Tensor(_text(fields.get(_VALUE_NAME)), tuple(shape))


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield the number and the content of each field of a message.

    Raises:
        ValueError: a field is cut off or of a kind that does not exist.
        IndexError: a number is cut off.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if position + length > len(data):
            raise ValueError(f"a field of {length} bytes where {len(data) - position} are left")
        yield key >> 3, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the number that begins at `position`, and where it ends."""
    number = shift = 0
    while True:
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message must be")  # noqa: TRY004 - the file is wrong, not a type
    return value


def _text(value: Optional[Value]) -> str:
    return "" if value is None else bytes(_bytes(value)).decode("utf-8", "replace")
