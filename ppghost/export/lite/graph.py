"""The one rewriting that a graph gets before Paddle Lite's converter: `matmul_v2` of a linear layer as `mul`.

Of both operators the converter makes `fc`, bias and ReLU included, but on x86 only of `mul`. And it stores
the 16-bit weights of a `matmul_v2` without telling how to read them back, so that Lite 2.13 computes
nonsense with them. Two matrices and no transposition: the numbers are the same.

Source: framework.proto of Paddle; Paddle Lite, `fc_fuse_pass.cc` and `LightPredictor::DequantizeWeight`.
Imports only the rock.
"""

from __future__ import annotations

from typing import Optional

from ppghost.errors import ArtifactError
from ppghost.protobuf import Value, as_bytes, as_text, field, message, read_fields, read_pieces

# Numbers of the fields in framework.proto.
_PROGRAM_BLOCKS = 1
_BLOCK_VARS, _BLOCK_OPS = 3, 4
_OP_INPUTS, _OP_TYPE, _OP_ATTRIBUTES = 1, 3, 4
_INPUT_PARAMETER, _INPUT_ARGUMENTS = 1, 2
_ATTRIBUTE_NAME, _ATTRIBUTE_TYPE, _ATTRIBUTE_INT, _ATTRIBUTE_BOOLEAN = 1, 2, 3, 10
_TYPE_OF_INT = 0
_VAR_NAME, _VAR_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_DESCRIPTION, _DESCRIPTION_DIMS = 3, 1, 2


def with_linear_layers_as_mul(program: bytes) -> bytes:
    """Return a `.pdmodel` program in which each linear layer is `mul`; everything else stays byte for byte.

    Raises:
        ArtifactError: the bytes are no such program.
    """
    try:
        pieces = [
            field(_PROGRAM_BLOCKS, _rewritten_block(as_bytes(value)))
            if number == _PROGRAM_BLOCKS
            else bytes(whole)
            for number, value, whole in read_pieces(memoryview(program))
        ]
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"The graph is no .pdmodel program: {error}. Export the model again.") from error
    return b"".join(pieces)


def _rewritten_block(block: memoryview) -> bytes:
    ranks = dict(_rank_of(as_bytes(value)) for number, value in read_fields(block) if number == _BLOCK_VARS)
    return b"".join(
        field(_BLOCK_OPS, _rewritten_op(as_bytes(value), ranks)) if number == _BLOCK_OPS else bytes(whole)
        for number, value, whole in read_pieces(block)
    )


def _rewritten_op(op: memoryview, ranks: dict[str, Optional[int]]) -> bytes:
    if not _is_linear(op, ranks):
        return bytes(op)
    kept = [bytes(whole) for number, _, whole in read_pieces(op) if number not in (_OP_TYPE, _OP_ATTRIBUTES)]
    attributes = [
        message([(_ATTRIBUTE_NAME, name), (_ATTRIBUTE_TYPE, _TYPE_OF_INT), (_ATTRIBUTE_INT, 1)])
        for name in (b"x_num_col_dims", b"y_num_col_dims")
    ]
    changed = [field(_OP_TYPE, b"mul"), *(field(_OP_ATTRIBUTES, attribute) for attribute in attributes)]
    return b"".join([*kept, *changed])


def _is_linear(op: memoryview, ranks: dict[str, Optional[int]]) -> bool:
    """Say whether an operator multiplies two matrices as they are."""
    is_matmul = is_transposed = False
    names: list[str] = []
    for number, value in read_fields(op):
        if number == _OP_TYPE:
            is_matmul = as_text(value) == "matmul_v2"
        elif number == _OP_INPUTS:
            names += [as_text(one) for part, one in read_fields(as_bytes(value)) if part == _INPUT_ARGUMENTS]
        elif number == _OP_ATTRIBUTES:
            attribute = dict(read_fields(as_bytes(value)))
            is_transposing = as_text(attribute[_ATTRIBUTE_NAME]) in ("trans_x", "trans_y")
            is_transposed |= is_transposing and bool(attribute.get(_ATTRIBUTE_BOOLEAN))
    return is_matmul and not is_transposed and [ranks.get(name) for name in names] == [2, 2]


def _rank_of(variable: memoryview) -> tuple[str, Optional[int]]:
    """Return the name of a variable and how many dimensions it has; None where it is no tensor."""
    fields = dict(read_fields(variable))
    kind = dict(read_fields(as_bytes(fields[_VAR_TYPE])))
    rank = None
    if _TYPE_TENSOR in kind:
        tensor = dict(read_fields(as_bytes(kind[_TYPE_TENSOR])))
        description = read_fields(as_bytes(tensor[_TENSOR_DESCRIPTION]))
        rank = sum(_count(value) for number, value in description if number == _DESCRIPTION_DIMS)
    return as_text(fields[_VAR_NAME]), rank


def _count(dims: Value) -> int:
    """Return how many numbers a field of numbers holds: one, or a row of them behind one another."""
    return 1 if isinstance(dims, int) else sum(byte < 0x80 for byte in dims)
