"""ONNX files written by hand, byte by byte: mean of each channel, then a linear layer to the classes."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Optional, Union

import numpy as np
import pytest

from ppghost.environments import ONNXRUNTIME

needs_onnxruntime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None and not (ONNXRUNTIME.folder / "complete.json").is_file(),
    reason="ONNX Runtime is not here. To get it: python -c 'from ppghost import environments as e; "
    "e.ensure_environment(e.ONNXRUNTIME)'",
)

Field = tuple[int, Union[int, bytes, str]]


def message(*fields: Field) -> bytes:
    """Return a Protocol Buffers message; text and bytes are length-delimited, numbers are varints."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def value_info(name: str, shape: Sequence[Union[int, str, None]]) -> bytes:
    dims = [(1, message(*([] if s is None else [(1, s)] if isinstance(s, int) else [(2, s)]))) for s in shape]
    return message((1, name), (2, message((1, message((1, 1), (2, message(*dims)))))))


def tensor(name: str, array: np.ndarray) -> bytes:
    return message(
        *((1, side) for side in array.shape), (2, 1), (8, name), (9, array.astype("<f4").tobytes())
    )


def node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    return message(*((1, name) for name in inputs), (2, output), (4, kind))


def weights(class_num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix [3, class_num] and the bias [class_num] of every tiny model."""
    rng = np.random.RandomState(7)
    return rng.randn(3, class_num).astype(np.float32), rng.randn(class_num).astype(np.float32)


def tiny_onnx(
    class_num: int = 10,
    side: int = 224,
    batch: Optional[Union[int, str]] = "batch",
    opset: int = 11,
    name: str = "image",
    *,
    lists_weights_as_inputs: bool = False,
    metadata: Optional[dict[str, str]] = None,
    has_softmax: bool = False,
) -> bytes:
    """Return the file of a model: `image` [batch, 3, side, side] to `class` [batch, class_num]."""
    matrix, bias = weights(class_num)
    inputs = [value_info(name, [batch, 3, side, side])]
    if lists_weights_as_inputs:
        inputs += [value_info("matrix", matrix.shape), value_info("bias", bias.shape)]
    graph = message(
        (1, node("GlobalAveragePool", [name], "pooled")),
        (1, node("Flatten", ["pooled"], "flat")),
        (1, node("Gemm", ["flat", "matrix", "bias"], "logits" if has_softmax else "class")),
        *([(1, node("Softmax", ["logits"], "class"))] if has_softmax else []),
        (2, "tiny"),
        (5, tensor("matrix", matrix)),
        (5, tensor("bias", bias)),
        *((11, info) for info in inputs),
        (12, value_info("class", [batch, class_num])),
    )
    notes = [(14, message((1, key), (2, value))) for key, value in (metadata or {}).items()]
    return message((1, 6), (2, "by hand"), (7, graph), (8, message((1, ""), (2, opset))), *notes)


def scores_of(images: np.ndarray, class_num: int = 10) -> np.ndarray:
    """Return what the model gives for float32 [N, 3, H, W], computed in float64."""
    matrix, bias = weights(class_num)
    return images.astype(np.float64).mean((2, 3)) @ matrix + bias
