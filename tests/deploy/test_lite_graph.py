"""The rewriting before Lite's converter, and the wire format under it, judged by Paddle's own messages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddle.base.proto import framework_pb2

from ppghost.artifact import Artifact
from ppghost.export.lite.graph import with_linear_layers_as_mul
from ppghost.protobuf import message, read_fields, read_pieces

FLOAT32, DENSE_TENSOR, INT, BOOLEAN = 5, 7, 0, 6


def parsed(data: bytes) -> Any:
    program = framework_pb2.ProgramDesc()
    program.ParseFromString(data)
    return program


def test_linear_layers_become_mul_and_nothing_else_changes(ghostnet: Artifact) -> None:
    data = ghostnet.path_of(ghostnet.facts.model("pdmodel").graph).read_bytes()
    before, after = parsed(data), parsed(with_linear_layers_as_mul(data))
    ops = list(zip(before.blocks[0].ops, after.blocks[0].ops))
    changed = [(old, new) for old, new in ops if old != new]
    assert changed
    assert not any(new.type == "matmul_v2" for _, new in ops)
    for old, new in changed:
        assert (old.type, new.type) == ("matmul_v2", "mul")
        assert {one.name: (one.type, one.i) for one in new.attrs} == {
            "x_num_col_dims": (INT, 1),
            "y_num_col_dims": (INT, 1),
        }
        assert list(old.inputs) == list(new.inputs)
        assert list(old.outputs) == list(new.outputs)
    for program in (before, after):
        del program.blocks[0].ops[:]
    assert before == after


@pytest.mark.parametrize(
    ("ranks", "is_transposed", "is_linear"),
    [((2, 2), False, True), ((3, 2), False, False), ((2, 2), True, False), ((3, 3), False, False)],
)
def test_only_two_matrices_as_they_are_are_a_linear_layer(
    ranks: tuple[int, int], is_transposed: bool, is_linear: bool
) -> None:
    program = framework_pb2.ProgramDesc()
    block = program.blocks.add(idx=0, parent_idx=-1)
    for name, rank in zip("ab", ranks):
        variable = block.vars.add(name=name)
        variable.type.type = DENSE_TENSOR
        variable.type.dense_tensor.tensor.data_type = FLOAT32
        variable.type.dense_tensor.tensor.dims.extend([-1, *range(300, 299 + rank)])
    op = block.ops.add(type="matmul_v2")
    for parameter, name in (("X", "a"), ("Y", "b")):
        op.inputs.add(parameter=parameter, arguments=[name])
    op.outputs.add(parameter="Out", arguments=["c"])
    op.attrs.add(name="trans_x", type=BOOLEAN, b=False)
    op.attrs.add(name="trans_y", type=BOOLEAN, b=is_transposed)
    data = program.SerializeToString()
    rewritten = with_linear_layers_as_mul(data)
    assert (parsed(rewritten).blocks[0].ops[0].type == "mul") == is_linear
    assert (rewritten == data) != is_linear


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1) | st.binary(max_size=300))))
def test_a_written_message_reads_back(fields: list[tuple[int, Any]]) -> None:
    data = message(fields)
    read = [
        (number, value if isinstance(value, int) else bytes(value))
        for number, value in read_fields(memoryview(data))
    ]
    assert read == fields
    assert b"".join(bytes(whole) for _, _, whole in read_pieces(memoryview(data))) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        whole = b"".join(bytes(piece) for _, _, piece in read_pieces(memoryview(data)))
    except ValueError:
        return
    assert whole == data
