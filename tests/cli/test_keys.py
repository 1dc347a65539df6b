"""Every key of a configuration is read by something that acts on it: none is accepted and then forgotten."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import ppghost
from ppghost.config import distillation, loading, recipe, sections

SCHEMA = (sections, recipe, loading, distillation)

# Keys that act inside the schema alone.
ACT_IN_THE_SCHEMA = {
    "dropout_prob": "read as `dropped`",
    "feature_key": "its two words mean the same",
    "freeze_params_list": "read as `frozen`",
    "pretrained_list": "read as `members`",
    "download": "no fetching: the archive must be given, which the section itself checks",
    "scales": "read as `sizes`",
    "tree": "no key: what was written, for Config.to_dict",
}


@functools.cache
def names_read() -> set[str]:
    """Return every attribute name that the package reads outside of the schema."""
    schema = {Path(str(module.__file__)) for module in SCHEMA}
    files = [path for path in Path(ppghost.__file__).parent.rglob("*.py") if path not in schema]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    plain = {
        node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    by_getattr = {
        str(call.args[1].value)
        for call in nodes
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "getattr"
        and isinstance(call.args[1], ast.Constant)
    }
    return plain | by_getattr


def schema_classes() -> Iterator[type]:
    """Yield every dataclass whose fields are YAML keys; the picture ops have tests of their own."""
    for module in SCHEMA:
        for thing in vars(module).values():
            if isinstance(thing, type) and dataclasses.is_dataclass(thing):
                yield thing


def forgotten(classes: Iterator[type]) -> set[str]:
    """Return the keys, as `Class.key`, that nothing reads."""
    read = names_read()
    return {
        f"{each.__name__}.{field.name}"
        for each in classes
        for field in dataclasses.fields(each)
        if field.name not in read and field.name not in ACT_IN_THE_SCHEMA
    }


def test_every_key_is_read_by_something() -> None:
    assert not forgotten(schema_classes()), "let something act on these keys, or refuse them"


def test_a_forgotten_key_would_be_seen() -> None:
    @dataclasses.dataclass(frozen=True)
    class Section:
        epochs: int
        a_key_that_nobody_reads: int

    assert forgotten(iter([Section])) == {"Section.a_key_that_nobody_reads"}


@pytest.mark.parametrize("name", ACT_IN_THE_SCHEMA)
def test_no_exception_outlives_its_reason(name: str) -> None:
    assert name not in names_read(), "it is read now; take it out of the table"
