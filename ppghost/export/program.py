"""Programs for ppghost's own engine: a GhostNet as a flat list of steps over the weights of an export.

The form is text: a version, the input, the size of the weights file, one step a line as `key=value` words,
the output. Steps name the values that they read; step i makes value i. Weights are not copied: a step names
the bytes at which its arrays lie in `inference.pdiparams`, where they are found by their content. Batch norms
are folded by the function that the exported graphs use, so the bytes are the same.

This module imports paddle's networks; never `train` or `data`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np
from paddle import nn

from ppghost.errors import GhostError
from ppghost.export.fuse import folded_arrays
from ppghost.nets.blocks import ConvBN, SqueezeExcitation
from ppghost.nets.ghostnet import GhostBottleneck, GhostModule, GhostNet
from ppghost.protobuf import read_fields

FORM = 1
# Numbers of the fields in Paddle's TensorDesc, the sizes one by one, and what it calls float32.
_ELEMENT_TYPE, _SIZE = 1, 2
_FLOAT32 = 5
Word = Union[int, str]


def write_program(net: nn.Layer, weights: Path, out: Path, *, softmax: bool) -> None:
    """Write the program that computes `net` from the weights file of its export.

    Args:
        net: the trained network, a GhostNet.
        weights: `inference.pdiparams` of a graph without batch norms.
        out: where the program goes.
        softmax: give probabilities instead of logits.

    Raises:
        GhostError: `net` is no GhostNet, or an array of it is not in `weights`.
        OSError: a file cannot be read or written.
    """
    if type(net) is not GhostNet:  # a subclass may compute something else
        raise GhostError(f"The engine runs GhostNet, not {type(net).__name__}. Choose another engine.")
    writer = _Writer(ParameterFile(weights))
    output = _write_network(writer, net)
    if softmax:
        output = writer.add("softmax", output)
    lines = [f"ghost {FORM}", "input channels=3", f"weights bytes={weights.stat().st_size}"]
    text = "\n".join([*lines, *writer.lines, f"output from={output}", ""])
    out.write_bytes(text.encode("ascii"))


class ParameterFile:
    """Where arrays lie in a `.pdiparams` file, found by their content.

    Each tensor is: uint32 version, uint64 number of LoD levels, uint32 version, int32 length of the
    description, the description, the values.

    Args:
        path: of the file.

    Raises:
        GhostError: it holds other tensors than plain float32.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[bytes, int] = {}
        content = path.read_bytes()
        for first, last in _extents(content):
            self._offsets.setdefault(content[first:last], first)

    def find(self, array: np.ndarray) -> Optional[int]:
        """Return the byte at which the float32 array lies, whatever its shape there; None if it does not."""
        return self._offsets.get(np.ascontiguousarray(array, np.float32).tobytes())

    def locate(self, name: str, array: np.ndarray) -> dict[str, Word]:
        """Return the words that say where `array [out, in, ...]` lies: in one piece or in two halves.

        Raises:
            GhostError: it lies nowhere.
        """
        whole = self.find(array)
        if whole is not None:
            return {name: whole}
        for axis, key in enumerate((f"{name}_out", f"{name}_in")[: array.ndim]):
            if array.shape[axis] % 2 == 0:
                halves = [self.find(half) for half in np.split(array, 2, axis)]
                if halves[0] is not None and halves[1] is not None:
                    return {name: halves[0], key: halves[1]}
        raise GhostError(
            f"The network's {name} {list(array.shape)} is not in {self._path}. "
            "Export the network that these weights are from, with its batch norms folded."
        )


def _extents(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the first and the last byte + 1 of each tensor's values."""
    place = 0
    while place < len(content):
        _, levels, _, length = struct.unpack_from("<IQIi", content, place)
        if levels:
            raise GhostError("The weights file holds sequences; a GhostNet has none.")
        place += struct.calcsize("<IQIi")
        floats = int(np.prod(list(_dims(content[place : place + length]))))
        place += length
        yield place, place + 4 * floats
        place += 4 * floats


def _dims(description: bytes) -> Iterator[int]:
    """Yield the sizes in a TensorDesc.

    Raises:
        GhostError: its numbers are no float32.
    """
    for number, value in read_fields(memoryview(description)):
        if number == _ELEMENT_TYPE and value != _FLOAT32:
            raise GhostError("The weights file holds other numbers than float32. Export in float32.")
        if number == _SIZE and isinstance(value, int):
            yield value


class _Conv(NamedTuple):
    """A convolution with its batch norm folded in."""

    weight: np.ndarray
    bias: np.ndarray
    activation: str
    kernel: int
    stride: int


def _folded(layer: ConvBN) -> _Conv:
    weight, bias = folded_arrays(layer)
    conv = layer._conv
    return _Conv(weight, bias, "relu" if layer._relu else "none", conv._kernel_size[0], conv._stride[0])


class _Writer:
    """The lines of a program as it grows."""

    def __init__(self, file: ParameterFile) -> None:
        self._file = file
        self.lines: list[str] = []

    def add(self, kind: str, source: int, **words: Optional[Word]) -> int:
        """Append a step that reads the value `source`; return the number of the value that it makes."""
        value = len(self.lines) + 1
        given = [f"{key}={word}" for key, word in words.items() if word is not None]
        self.lines.append(" ".join([kind, f"value={value}", f"from={source}", *given]))
        return value

    def stem(self, source: int, layer: ConvBN) -> int:
        """Append the first convolution."""
        conv = _folded(layer)
        sizes: dict[str, Word] = {"channels": len(conv.bias), "kernel": conv.kernel, "stride": conv.stride}
        return self.add("stem", source, **sizes, activation=conv.activation, **self._arrays(conv))

    def depthwise(self, source: int, layer: ConvBN) -> int:
        """Append a depthwise convolution."""
        conv = _folded(layer)
        sizes: dict[str, Word] = {"kernel": conv.kernel, "stride": conv.stride}
        return self.add("depthwise", source, **sizes, activation=conv.activation, **self._arrays(conv))

    def pointwise(self, source: int, layer: ConvBN) -> int:
        """Append a 1x1 convolution."""
        conv = _folded(layer)
        channels = len(conv.bias)
        return self.add(
            "pointwise", source, channels=channels, activation=conv.activation, **self._arrays(conv)
        )

    def ghost(
        self, source: int, module: GhostModule, gate: Optional[int] = None, addend: Optional[int] = None
    ) -> int:
        """Append a ghost module, with the gate of its input and the shortcut of its output."""
        first, cheap = _folded(module.primary_conv), _folded(module.cheap_operation)
        return self.add(
            "ghost",
            source,
            channels=len(first.bias),
            kernel=cheap.kernel,
            activation=first.activation,
            gate=gate,
            add=addend,
            **self._arrays(first),
            **self._file.locate("cheap_weight", cheap.weight),
            **self._file.locate("cheap_bias", cheap.bias),
        )

    def head(self, source: int, layer: ConvBN) -> int:
        """Append a 1x1 convolution of a vector."""
        conv = _folded(layer)
        return self.add(
            "dense",
            source,
            channels=len(conv.bias),
            activation=conv.activation,
            order="oi",
            **self._arrays(conv),
        )

    def dense(self, source: int, layer: nn.Linear, activation: str) -> int:
        """Append a linear layer; its weight lies as Paddle's `[in, out]` or as a convolution's."""
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
        place = self._file.find(weight)
        located = self._file.locate("weight", weight.T) if place is None else {"weight": place}
        return self.add(
            "dense",
            source,
            channels=len(bias),
            activation=activation,
            order="oi" if place is None else "io",
            **located,
            **self._file.locate("bias", bias),
        )

    def _arrays(self, conv: _Conv) -> dict[str, Word]:
        return {**self._file.locate("weight", conv.weight), **self._file.locate("bias", conv.bias)}


def _write_network(writer: _Writer, net: GhostNet) -> int:
    value = writer.stem(0, net.conv1)
    for block in net._blocks:
        value = _write_block(writer, block, value)
    value = writer.add("mean", writer.pointwise(value, net.conv_last))
    return writer.dense(writer.head(value, net.fc_0), net.fc_1, "none")


def _write_block(writer: _Writer, block: GhostBottleneck, source: int) -> int:
    shortcut = source
    if not block._is_identity:
        shortcut = writer.pointwise(writer.depthwise(source, block.shortcut_depthwise), block.shortcut_conv)
    value = writer.ghost(source, block.ghost_module_1)
    if block._downsamples:
        value = writer.depthwise(value, block.depthwise_conv)
    gate = _write_gate(writer, block.se_block, value) if block._use_se else None
    return writer.ghost(value, block.ghost_module_2, gate, shortcut)


def _write_gate(writer: _Writer, gate: SqueezeExcitation, source: int) -> int:
    squeezed = writer.dense(writer.add("mean", source), gate.squeeze, "relu")
    return writer.dense(squeezed, gate.excitation, "clip")
