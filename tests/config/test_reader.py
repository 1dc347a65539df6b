"""Text into trees: PaddleClas' reading of YAML, overrides, arithmetic; every refusal names its line."""

from __future__ import annotations

import ast
import fractions
import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ppghost.arithmetic import parse_arithmetic
from ppghost.config.reader import (
    Place,
    apply_override,
    apply_overrides,
    node_of,
    parse_profiler_options,
    read_file,
    read_text,
    to_plain,
)
from ppghost.errors import ConfigError

ATTACK = "__import__('os').mkdir('{}')"

words = st.sampled_from(
    ["cpu", "0.1", "[1, 2]", "1e-5", "True", "true", "None", "'L2'", "(1, 'a')", "1.0/255.0"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False),
    words,
    st.text(max_size=8),
)
keys = st.text(st.characters(codec="utf-8", exclude_characters=".=\x00"), min_size=1, max_size=6)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(keys, trees, max_size=4)


def plain_literal(text: str) -> Any:
    """Give what a string means to PaddleClas, if that is something YAML can hold."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return text if _is_exotic(value) else as_lists(value)


def _is_exotic(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_is_exotic, value))
    if isinstance(value, dict):
        return not all(isinstance(key, str) for key in value) or any(map(_is_exotic, value.values()))
    return value is not None and not isinstance(value, (bool, int, float, str))


def as_lists(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [as_lists(item) for item in value]
    return {key: as_lists(item) for key, item in value.items()} if isinstance(value, dict) else value


def as_paddleclas(tree: Any) -> Any:
    """Read literals as PaddleClas does: strings that are reached through mappings alone."""
    if isinstance(tree, dict):
        return {key: as_paddleclas(value) for key, value in tree.items()}
    return plain_literal(tree) if isinstance(tree, str) else tree


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@given(tables)
@example({"a": {"b": "1e-5"}, "c": ["1e-5", {"d": "[1, 2]"}]})
def test_reading_equals_safe_load_with_literals(tree: dict[str, Any]) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    assert to_plain(read_text(text, "a.yaml")) == as_paddleclas(yaml.safe_load(text))


@given(tables)
def test_plain_values_survive_the_tree(tree: dict[str, Any]) -> None:
    assert to_plain(node_of(tree, Place("test"))) == tree


def paths_of(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    below = [found for step, value in steps for found in paths_of(value, (*path, step))]
    return [path, *below] if path else below


@given(st.data(), tables.filter(bool), st.integers())
def test_an_override_changes_one_value_and_no_other(
    data: st.DataObject, tree: dict[str, Any], new: int
) -> None:
    path = data.draw(st.sampled_from(paths_of(tree)))
    before = node_of(tree, Place("test"))
    assert isinstance(before, type(apply_overrides(before, [])))
    # A key is stripped, as blanks around it are typing, not spelling.
    dotted = ".".join(map(str, path))
    if dotted != dotted.strip():
        return
    after = to_plain(apply_override(before, f"{dotted}={new}"))
    expected = to_plain(before)
    parent = expected
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = new
    assert after == expected
    assert to_plain(before) == tree


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2", 2),
        ("1e-5", 1e-5),
        ("true", True),
        ("True", True),
        ("false", False),
        ("null", None),
        ("None", None),
        ("cpu", "cpu"),
        ("./output/", "./output/"),
        ("", ""),
        ("a=b", "a=b"),
        ("https://host/x?y=1", "https://host/x?y=1"),
        ("[3, 96, 96]", [3, 96, 96]),
        ("0,1,2", [0, 1, 2]),
        ("{'a': 1}", {"a": 1}),
        ("'quoted'", "quoted"),
        ("1.0/255.0", "1.0/255.0"),
        ("list", "list"),
        ("1j", "1j"),
        ("{1, 2}", "{1, 2}"),
    ],
)
def test_override_values(written: str, value: Any) -> None:
    after = to_plain(apply_override(read_text("a: {b: 1}", "a.yaml"), f"a.b={written}"))
    assert after == {"a": {"b": value}}
    assert type(after["a"]["b"]) is type(value)


def test_later_override_wins_and_new_keys_are_added() -> None:
    tree = apply_overrides(read_text("a:\nb: [1, 2]", "a.yaml"), ["a.x.y=1", "a.x.y=2", "b.-1=5", "c=3"])
    assert to_plain(tree) == {"a": {"x": {"y": 2}}, "b": [1, 5], "c": 3}


@pytest.mark.parametrize(
    ("override", "words_of_message"),
    [
        ("a.b", "section.key=value"),
        ("=1", "section.key=value"),
        ("a..b=1", "section.key=value"),
        ("list.2=1", "has no element 2. Accepted: 0 to 1"),
        ("list.-3=1", "has no element -3"),
        ("list.x=1", "its elements are numbers"),
        ("list.0.x=1", "'list.0' is the integer 1 and has no 'x' inside"),
        ("empty.0=1", "the list is empty"),
        ("word.x.y=1", "'word' is the text 'abc'"),
    ],
)
def test_impossible_overrides_are_named(override: str, words_of_message: str) -> None:
    tree = read_text("list: [1, 2]\nempty: []\nword: abc", "a.yaml")
    with pytest.raises(ConfigError, match="in override") as caught:
        apply_override(tree, override)
    assert f"in override '{override}'" in str(caught.value)
    assert words_of_message in str(caught.value)


def test_anchors_and_merge_keys() -> None:
    text = """
base: &base {x: 1, y: 2}
other: &other {y: 3, z: 4}
class_num: &class_num 10
one: {<<: *base, y: 9}
two: {<<: [*base, *other]}
models: [{class_num: *class_num}, {class_num: *class_num}]
"""
    tree = read_text(text, "a.yaml")
    assert to_plain(tree) == yaml.safe_load(text)
    changed = to_plain(apply_override(tree, "one.x=5"))
    assert (changed["one"]["x"], changed["base"]["x"]) == (5, 1)


@pytest.mark.parametrize(
    ("text", "line", "words_of_message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "given twice (first at line 1)"),
        ("x:\n  a: 1\n  a: 1\n", 3, "given twice"),
        ("- 1\n- 2\n", 1, "given a list of 2"),
        ("just words", 1, "given the text 'just words'"),
        ("", 1, "given nothing"),
        ("a: 1\n---\nb: 1\n", 2, "not YAML"),
        ("a: 1\nb: !!python/object/apply:os.getcwd []\n", 2, "the tag"),
        ("a: 1\nb: !!python/name:os.getcwd\n", 2, "the tag"),
        ("a: 1\n? [1, 2]\n: 3\n", 2, "a key is a word"),
        ("a: &a 1\nb: {<<: *a}\n", 1, "'<<' merges mappings"),
        ("a: &loop [*loop]\n", 1, "nested deeper"),
        ("a: *missing\n", 1, "not YAML"),
        ("a: \x01\n", 1, "not YAML"),
    ],
)
def test_unreadable_text_is_refused_with_its_line(text: str, line: int, words_of_message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(text, "some.yaml")
    assert str(caught.value).startswith(f"some.yaml:{line}")
    assert words_of_message in str(caught.value)


def test_alias_bombs_and_deep_nesting_are_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(ConfigError, match="once aliases are expanded"):
        read_text(bomb, "bomb.yaml")
    for depth in (100, 5000):
        with pytest.raises(ConfigError, match="nested deeper"):
            read_text("a: " + "[" * depth + "]" * depth, "deep.yaml")


def test_files_that_cannot_be_read(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="There is no configuration file '.*none.yaml'"):
        read_file(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_file(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    with pytest.raises(ConfigError, match="not YAML"):
        read_file(binary)


def test_places_are_those_of_the_text() -> None:
    tree = read_text("a:\n  b: 1\n  c:\n    - x: 2\n", "a.yaml")
    inner: Any = tree.entries["a"]
    assert str(inner.place_of("c")) == "a.yaml:3:3"
    assert str(inner.entries["c"].items[0].entries["x"].place) == "a.yaml:4:10"


decimals = st.decimals(min_value="0.001", max_value=10**6, places=3).map(str)


@given(decimals, st.lists(st.tuples(st.sampled_from("*/"), decimals), max_size=5), st.sampled_from(["", " "]))
def test_arithmetic_equals_exact_fractions(first: str, rest: list[tuple[str, str]], blank: str) -> None:
    exact = fractions.Fraction(first)
    for operator, number in rest:
        factor = fractions.Fraction(number)
        exact = exact * factor if operator == "*" else exact / factor
    text = blank + first + "".join(f"{blank}{operator}{blank}{number}" for operator, number in rest)
    assert math.isclose(parse_arithmetic(text), exact, rel_tol=1e-14)


def test_arithmetic_gives_the_float_of_python() -> None:
    assert parse_arithmetic("1.0/255.0") == 1.0 / 255.0
    assert parse_arithmetic("-7./16") == -7.0 / 16


@given(st.text("0123456789.+-*/e() ax_", max_size=12))
def test_arithmetic_accepts_numbers_or_refuses(text: str) -> None:
    try:
        value = parse_arithmetic(text)
    except ValueError:
        return
    assert not set(text) & set("()ax_")
    assert isinstance(value, float)


@pytest.mark.parametrize(
    "text", ["1/0", "1.0/0.0", "1+1", "2**3", "1//2", "", "/", "1/", "(1)", "nan", "0x10"]
)
def test_other_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="divides by zero|not a number"):
        parse_arithmetic(text)


def test_nothing_is_executed(tmp_path: Any) -> None:
    marker = tmp_path / "executed"
    attack = ATTACK.format(marker)
    tree = read_text(yaml.safe_dump({"a": attack, "b": {"c": [attack]}}), "a.yaml")
    after = to_plain(apply_overrides(tree, [f"b.c.0={attack}", f"x={attack}"]))
    assert after == {"a": attack, "b": {"c": [attack]}, "x": attack}
    with pytest.raises(ConfigError):
        apply_override(tree, f"b.c.{attack}=1")
    with pytest.raises(ValueError, match="not a number"):
        parse_arithmetic(attack)
    assert not marker.exists()


def test_profiler_options_are_split() -> None:
    text = "batch_range=[10, 20]; state=GPU;profile_path=a.profile;"
    assert parse_profiler_options(text) == {
        "batch_range": "[10,20]",
        "state": "GPU",
        "profile_path": "a.profile",
    }
    for wrong in ("state", "state=GPU;state=CPU", "=1"):
        with pytest.raises(ConfigError, match="is not understood"):
            parse_profiler_options(wrong)
