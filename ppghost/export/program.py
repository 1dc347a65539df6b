"""Programs for ppghost's own engine: a GhostNet as a flat list of steps over the weights of an export.

The form is text: a version, the input, the size of the weights file, one step a line as `key=value` words, the
output. Steps name the values that they read; step i makes value i. Weights are not copied: a step names the
bytes at which its arrays lie in `inference.pdiparams`, where they are found by their content. Batch norms are
folded by the same function as in the exported graph, so the bytes are the same.

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
from ppghost.export.fuse import fold_batch_norm
from ppghost.nets.blocks import ConvBN, SqueezeExcitation
from ppghost.nets.ghostnet import GhostBottleneck, GhostModule, GhostNet

FORM = 1
Word = Union[int, str]


def write_program(net: GhostNet, weights: Path, out: Path, *, softmax: bool) -> None:
    """Write the program that computes `net` from the weights file of its export.

    Args:
        net: the trained network.
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
        output = writer.add("softmax", **{"from": output})
    lines = [f"ghost {FORM}", "input channels=3", f"weights bytes={weights.stat().st_size}"]
    out.write_text("\n".join([*lines, *writer.lines, f"output from={output}", ""]), encoding="ascii")


class ParameterFile:
    """Where arrays lie in a `.pdiparams` file, found by their content.

    Each tensor is: uint32 version, uint64 number of LoD levels, uint32 version, int32 length of the
    description, the description, the values.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[bytes, int] = {}
        content = path.read_bytes()
        for first, last in self._extents(content):
            self._offsets.setdefault(content[first:last], first)

    def find(self, array: np.ndarray) -> Optional[int]:
        """Return the byte at which the float32 array lies, whatever its shape there; None if it does not."""
        return self._offsets.get(np.ascontiguousarray(array, np.float32).tobytes())

    def get(self, array: np.ndarray, name: str) -> int:
        """Return the byte at which the float32 array lies.

        Raises:
            GhostError: it does not; `name` says which array it is.
        """
        offset = self.find(array)
        if offset is None:
            raise GhostError(
                f"{name} {list(array.shape)} of the network is not in {self._path}. "
                "Export the network that these weights are from, with its batch norms folded."
            )
        return offset

    @staticmethod
    def _extents(content: bytes) -> Iterator[tuple[int, int]]:
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
    """Yield the sizes in a TensorDesc: field 1 is the type, 5 for float32; field 2, repeated, the sizes."""
    place = 0
    while place < len(description):
        key = description[place]
        value, place = _varint(description, place + 1)
        if key == 0x08 and value != 5:
            raise GhostError("The weights file holds other numbers than float32. Export in float32.")
        if key == 0x10:
            yield value


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if byte < 0x80:
            return value, place


class _Conv(NamedTuple):
    """A convolution with its batch norm folded in."""

    weight: np.ndarray
    bias: np.ndarray
    activation: str
    kernel: int
    stride: int


def _folded(layer: ConvBN) -> _Conv:
    norm, conv = layer._batch_norm, layer._conv
    arrays = (conv.weight, norm.weight, norm.bias, norm._mean, norm._variance)
    weight, bias = fold_batch_norm(*(np.asarray(array) for array in arrays), norm._epsilon)
    return _Conv(weight, bias, "relu" if layer._relu else "none", conv._kernel_size[0], conv._stride[0])


class _Writer:
    """The lines of a program as it grows."""

    def __init__(self, file: ParameterFile) -> None:
        self._file = file
        self.lines: list[str] = []

    def add(self, kind: str, **words: Optional[Word]) -> int:
        """Append a step; return the number of the value that it makes."""
        value = len(self.lines) + 1
        given = [f"{key}={word}" for key, word in words.items() if word is not None]
        self.lines.append(" ".join([kind, f"value={value}", *given]))
        return value

    def conv(self, kind: str, source: int, layer: ConvBN) -> int:
        """Append a stem or a depthwise convolution."""
        conv = _folded(layer)
        words: dict[str, Word] = {"from": source}
        if kind == "stem":
            words["channels"] = len(conv.bias)
        words.update(kernel=conv.kernel, stride=conv.stride, activation=conv.activation)
        return self.add(kind, **words, **self._arrays(conv))

    def pointwise(self, source: int, layer: ConvBN) -> int:
        """Append a 1x1 convolution."""
        conv = _folded(layer)
        return self.add(
            "pointwise",
            **{"from": source},
            channels=len(conv.bias),
            activation=conv.activation,
            **self._matrix(conv.weight[:, :, 0, 0]),
            bias=self._file.get(conv.bias, "A bias"),
        )

    def ghost(self, source: int, module: GhostModule, gate: Optional[int], addend: Optional[int]) -> int:
        """Append a ghost module, with the gate of its input and the shortcut of its output."""
        first, cheap = _folded(module.primary_conv), _folded(module.cheap_operation)
        return self.add(
            "ghost",
            **{"from": source},
            channels=len(first.bias),
            kernel=cheap.kernel,
            activation=first.activation,
            gate=gate,
            add=addend,
            **self._matrix(first.weight[:, :, 0, 0]),
            bias=self._file.get(first.bias, "A bias"),
            cheap_weight=self._file.get(cheap.weight, "A depthwise weight"),
            cheap_bias=self._file.get(cheap.bias, "A bias"),
        )

    def dense(self, source: int, layer: nn.Linear, activation: str) -> int:
        """Append a linear layer."""
        weight = np.asarray(layer.weight)  # [in, out]
        transposed = self._file.find(weight)
        arrays = (
            {"order": "oi", **self._matrix(weight.T)}
            if transposed is None
            else {"order": "io", "weight": transposed}
        )
        words: dict[str, Word] = {"from": source, "channels": weight.shape[1], "activation": activation}
        return self.add("dense", **words, **arrays, bias=self._file.get(np.asarray(layer.bias), "A bias"))

    def _arrays(self, conv: _Conv) -> dict[str, Word]:
        return {
            "weight": self._file.get(conv.weight, "A convolution's weight"),
            "bias": self._file.get(conv.bias, "A convolution's bias"),
        }

    def _matrix(self, weight: np.ndarray) -> dict[str, Word]:
        """Return where `[out, in]` lies: in one piece, or as two halves of the input's channels."""
        half = weight.shape[1] // 2
        parts = [self._file.find(part) for part in (weight[:, :half], weight[:, half:])]
        if self._file.find(weight) is None and None not in parts and weight.shape[1] == 2 * half:
            return {"weight": int(parts[0] or 0), "second": int(parts[1] or 0)}
        return {"weight": self._file.get(weight, "A 1x1 weight")}


def _write_network(writer: _Writer, net: GhostNet) -> int:
    value = writer.conv("stem", 0, net.conv1)
    for block in net._blocks:
        value = _write_block(writer, block, value)
    value = writer.add("mean", **{"from": writer.pointwise(value, net.conv_last)})
    head = _folded(net.fc_0)
    value = writer.add(
        "dense",
        **{"from": value},
        channels=len(head.bias),
        activation=head.activation,
        order="oi",
        **writer._matrix(head.weight[:, :, 0, 0]),
        bias=writer._file.get(head.bias, "A bias"),
    )
    return writer.dense(value, net.fc_1, "none")


def _write_block(writer: _Writer, block: GhostBottleneck, source: int) -> int:
    shortcut = source
    if not block._is_identity:
        shortcut = writer.pointwise(
            writer.conv("depthwise", source, block.shortcut_depthwise), block.shortcut_conv
        )
    value = writer.ghost(source, block.ghost_module_1, None, None)
    if block._downsamples:
        value = writer.conv("depthwise", value, block.depthwise_conv)
    gate = _write_gate(writer, block.se_block, value) if block._use_se else None
    return writer.ghost(value, block.ghost_module_2, gate, shortcut)


def _write_gate(writer: _Writer, gate: SqueezeExcitation, source: int) -> int:
    squeezed = writer.dense(writer.add("mean", **{"from": source}), gate.squeeze, "relu")
    return writer.dense(squeezed, gate.excitation, "clip")
