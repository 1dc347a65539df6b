"""Trees into values: what each annotation accepts, and what the refusal of everything else says."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppghost.config.bind import bind, bind_plain, try_bind
from ppghost.config.reader import Place, node_of, read_text
from ppghost.config.types import (
    Alone,
    Arithmetic,
    Choice,
    Fraction,
    Keyed,
    Means,
    Named,
    Number,
    PositiveInt,
    Range,
    Refused,
    Size,
)
from ppghost.errors import ConfigError


@dataclass(frozen=True)
class Crop:
    """A component with an obligatory parameter."""

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)


@dataclass(frozen=True)
class Flip:
    """A component without one."""

    code: Annotated[int, Choice((-1, 0, 1))] = 1


OPS: dict[str, type] = {"Crop": Crop, "Flip": Flip}
OLD = {"Blur": "write Crop instead"}
AnyOp = Annotated[Any, Keyed("op", OPS, OLD)]
AnyNamedOp = Annotated[Any, Named("op", OPS, OLD, default="Flip")]


@dataclass(frozen=True)
class Run:
    """A schema with one field of every kind."""

    epochs: PositiveInt
    device: Annotated[str, Choice(("cpu", "gpu"))] = "cpu"
    rate: Number = 0.1
    note: Optional[str] = None
    ops: tuple[AnyOp, ...] = ()
    last: Annotated[Optional[Any], Named("op", OPS, OLD)] = None
    other: Optional[AnyNamedOp] = None
    pretrained: Union[bool, str] = False
    flips: Flip = field(default_factory=Flip)

    refused_keys: ClassVar[Mapping[str, Refused]] = {"dali": Refused("use cv2.", (None, False))}

    def __post_init__(self) -> None:
        if self.epochs == 13:
            raise ValueError("epochs is 13; that brings bad luck")


def lines_of(text: str, annotation: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        bind(read_text(text, "a.yaml"), annotation)
    return str(caught.value).splitlines()


def test_a_schema_is_filled() -> None:
    text = """
epochs: 1e2
device: gpu
rate: 1.0/4
note: 'x'
ops:
  - Crop: {size: [96, 64]}
  - Flip:
last: {name: Crop, size: 3}
other: {code: 0}
pretrained: path/of/weights
flips:
dali: False
"""
    assert bind(read_text(text, "a.yaml"), Run) == Run(
        epochs=100,
        device="gpu",
        rate=0.25,
        note="x",
        ops=(Crop((96, 64)), Flip()),
        last=Crop(3),
        other=Flip(0),
        pretrained="path/of/weights",
    )


def test_every_problem_of_a_tree_is_reported_at_its_place() -> None:
    text = """devce: gpu
rate: fast
note: [1]
ops:
  - Crop: {scale: [1, 2, 3]}
  - Flipp:
  - Blur:
  - Crop:
    size: 3
  - Flip
last: {size: 3}
pretrained: {}
dali: True
"""
    assert lines_of(text, Run) == [
        "a.yaml:1:1: devce: unknown key 'devce'. Did you mean 'device'?",
        "a.yaml:13:1: dali: given the truth value True; use cv2.",
        "a.yaml:1:1: the key 'epochs' is missing; accepted: an integer at least 1.",
        "a.yaml:2:7: rate: given the text 'fast'; accepted: a number or a quotient of numbers.",
        "a.yaml:3:7: note: given a list of 1; accepted: a text or null.",
        "a.yaml:5:11: ops.0.Crop: the key 'size' is missing; accepted: an integer at least 1 or "
        "a list of 2 (an integer at least 1, an integer at least 1).",
        "a.yaml:5:19: ops.0.Crop.scale: given a list of 3; accepted: a list of 2 (a number, a number).",
        "a.yaml:6:5: ops.1: unknown op 'Flipp'. Did you mean 'Flip'?",
        "a.yaml:7:5: ops.2: the op 'Blur' is not served here: write Crop instead",
        "a.yaml:8:5: ops.3: given a mapping (Crop, size); accepted: one op, as {Name: {...}}. "
        "Indent the parameters deeper than the name.",
        "a.yaml:10:5: ops.4: given the text 'Flip'; accepted: one op, as {Name: {...}}.",
        "a.yaml:11:7: last: the key 'name' is missing or not a text. Accepted: Crop, Flip.",
        "a.yaml:12:13: pretrained: given an empty mapping; accepted: true or false or a text.",
    ]


def test_a_cross_check_gets_path_and_line() -> None:
    @dataclass(frozen=True)
    class Outer:
        run: Any

    Outer.__annotations__["run"] = Run
    assert lines_of("run:\n  epochs: 13\n", Outer) == ["a.yaml:2:3: run: epochs is 13; that brings bad luck"]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (bool, True, True),
        (bool, 1, True),
        (bool, 0, False),
        (int, 3, 3),
        (int, 3.0, 3),
        (int, "1e2", 100),
        (float, 3, 3.0),
        (float, "1e-3", 0.001),
        (str, "a", "a"),
        (str, "1e-3", "1e-3"),
        (Optional[int], None, None),
        (Union[int, str], "1", "1"),
        (Union[str, int], 1, 1),
        (Union[float, bool], True, True),
        (Union[int, float], 1.5, 1.5),
        (tuple[int, ...], [1, 2.0], (1, 2)),
        (tuple[int, ...], None, ()),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Any, {"a": [1, None]}, {"a": [1, None]}),
        (Annotated[tuple[int, ...], Alone(int)], 5, (5,)),
        (Annotated[tuple[int, ...], Alone(int)], [5, 6], (5, 6)),
        (Annotated[int, Means((False, None), 0)], False, 0),
        (Annotated[int, Means((False, None), 0)], 7, 7),
        (Mapping[str, Flip], {"a": {"code": 0}}, {"a": Flip(0)}),
    ],
)
def test_accepted(annotation: Any, value: Any, expected: Any) -> None:
    bound = bind_plain(value, annotation, source="test")
    assert bound == expected
    assert type(bound) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (bool, "False", "given the text 'False'; accepted: true or false."),
        (bool, 2, "given the integer 2; accepted: true or false."),
        (int, True, "given the truth value True; accepted: an integer."),
        (int, 1.5, "given the number 1.5; accepted: an integer."),
        (int, None, "given null; accepted: an integer."),
        (float, float("inf"), "given the number inf; accepted: a number."),
        (float, 10**400, "accepted: a number."),
        (float, "0x10", "accepted: a number."),
        (str, 5, "given the integer 5; accepted: a text."),
        (Optional[bool], "x", "accepted: true or false or null."),
        (PositiveInt, 0, "given the integer 0; accepted: an integer at least 1."),
        (Fraction, 1.5, "given the number 1.5; accepted: a number at least 0 and at most 1."),
        (Annotated[float, Range(0, above=True)], 0, "accepted: a number greater than 0."),
        (Annotated[str, Choice(("cpu", "gpu"))], "gpuu", "accepted: 'cpu' or 'gpu'. Did you mean 'gpu'?"),
        (Annotated[int, Choice((0, 1))], True, "given the truth value True"),
        (tuple[int, int], [1], "given a list of 1; accepted: a list of 2 (an integer, an integer)."),
        (Size, [1, 0], "1: given the integer 0; accepted: an integer at least 1."),
        (Mapping[str, int], [1], "given a list of 1; accepted: a mapping."),
        (Run, [1], "given a list of 1; accepted: a mapping."),
        (Mapping[str, Flip], {"a": {"kode": 0}}, "a.kode: unknown key 'kode'. Did you mean 'code'?"),
        (Annotated[float, Arithmetic()], "1/0", "accepted: a number or a quotient of numbers."),
    ],
)
def test_refused(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        bind_plain(value, annotation, source="test")


def test_a_literal_inside_a_text_field_stays_the_text() -> None:
    @dataclass(frozen=True)
    class Paths:
        output_dir: str
        ranks: str

    tree = read_text("output_dir: '2024'\nranks: '0,1'\n", "a.yaml")
    assert bind(tree, Paths) == Paths("2024", "0,1")


def test_an_unknown_annotation_is_our_defect() -> None:
    with pytest.raises(TypeError, match="does not know the annotation"):
        bind_plain(1, complex, source="test")


annotations = st.recursive(
    st.sampled_from([bool, int, float, str, PositiveInt, Fraction, Optional[int], Size, Number]),
    lambda inner: inner.map(lambda item: tuple[item, ...]) | inner.map(lambda item: Optional[item]),  # type: ignore
    max_leaves=3,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@given(annotations, values)
def test_any_value_binds_or_is_refused_in_words(annotation: Any, value: Any) -> None:
    _, problems = try_bind(node_of(value, Place("somewhere")), annotation, "a.b")
    for problem in problems:
        assert str(problem).startswith("somewhere: a.b")
        assert "accepted: " in problem.message


def test_plain_values_that_no_yaml_file_holds_are_refused_in_words() -> None:
    for value in ({"when": datetime.date(2026, 1, 1)}, {1: "a"}):
        with pytest.raises(ConfigError, match="here: facts: a (date|dict) cannot stand in a configuration"):
            bind_plain(value, Any, source="here", path="facts")
