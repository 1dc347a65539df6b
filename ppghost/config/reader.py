"""Text into trees: YAML files and `-o` overrides become nodes that know where they were written.

The composed YAML graph is read instead of `yaml.safe_load`'s values, because a message about a value is worth
most with its file and line. Trees are never written into: an override returns a new one. Nothing in a
configuration is executed: values are Python literals, words, or products and quotients of numbers.

PaddleClas' habits that are kept: a string that looks like a Python literal is that literal when it is reached
through mappings alone (`epochs: "10"` is 10), but stays a string inside a list, as `scale: 1.0/255.0` does.

Ground: no paddle, nothing of ours but the rock.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from ppghost.errors import ConfigError

MAX_NODES = 100_000
MAX_DEPTH = 64
_WORDS = {"true": True, "TRUE": True, "false": False, "FALSE": False, "null": None, "NULL": None, "~": None}
_MERGE_TAG = "tag:yaml.org,2002:merge"
_STRING_TAG = "tag:yaml.org,2002:str"
_COLLECTION_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True)
class Place:
    """Where something was written: a file with line and column (from 1), or an override."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class ScalarNode:
    """One value: None, bool, int, float or str; `text` is the string it was written as, if it was one."""

    value: Any
    place: Place
    text: Optional[str] = None


@dataclass(frozen=True)
class SequenceNode:
    """A list; `text` is the string it was written as, if it was a string."""

    items: tuple[Node, ...]
    place: Place
    text: Optional[str] = None


@dataclass(frozen=True)
class MappingNode:
    """A mapping in the order of the file; `keys` tells where each key was written."""

    entries: Mapping[str, Node]
    place: Place
    keys: Mapping[str, Place] = field(default_factory=dict)
    text: Optional[str] = None

    def place_of(self, key: str) -> Place:
        """Return where `key` was written."""
        return self.keys.get(key, self.place)


Node = Union[ScalarNode, SequenceNode, MappingNode]


def read_file(path: Union[str, Path]) -> MappingNode:
    """Read one YAML file whose top level is a mapping.

    Raises:
        ConfigError: the file is missing or unreadable, is not YAML, or its top level is not a mapping.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"There is no configuration file '{path}'. Give the path of a YAML file.") from None
    except OSError as error:
        raise ConfigError(
            f"The configuration file '{path}' cannot be read: {error.strerror or error}. "
            "Give a file that this user may read."
        ) from None
    return read_text(data, str(path))


def read_text(text: Union[str, bytes], source: str) -> MappingNode:
    """Read YAML text whose top level is a mapping.

    Args:
        text: the YAML document, UTF-8 (or UTF-16 with a byte order mark) where it is bytes.
        source: the name that messages give to it, normally the file's path.

    Raises:
        ConfigError: it is not YAML, or its top level is not a mapping.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)
        why = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{place}: this is not YAML: {why}. Correct that line.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"{source}:1: this is not YAML: {why}. Give a text file in UTF-8.") from None
    except RecursionError:
        raise ConfigError(
            f"{source}:1: lists and mappings are nested deeper than {MAX_DEPTH} levels. Flatten the file."
        ) from None
    node = _Composer(source).convert(root) if root is not None else None
    if not isinstance(node, MappingNode):
        raise ConfigError(
            f"{source}:1: the top level of a configuration is a mapping (Global:, Arch:, ...), "
            f"given {'nothing' if node is None else describe_value(node)}."
        )
    return node


class _Composer:
    """Turns PyYAML's graph into our tree; every alias becomes a subtree of its own."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._constructor = yaml.SafeLoader("")
        self._count = 0

    def convert(self, node: yaml.Node, depth: int = 0, literal: bool = True) -> Node:
        """Convert one node; `literal` says whether strings below are read as Python literals."""
        place = self._place(node)
        self._count += 1
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"{place}: nested deeper than {MAX_DEPTH} levels; an alias inside itself does so."
            )
        if self._count > MAX_NODES:
            raise ConfigError(f"{place}: more than {MAX_NODES:,} values once aliases are expanded.")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTION_TAGS:
            raise ConfigError(
                f"{place}: the tag '{node.tag}' is not accepted; write plain lists and mappings."
            )
        if isinstance(node, yaml.MappingNode):
            entries, keys = self._entries(node, depth, literal)
            return MappingNode(entries, place, keys)
        if isinstance(node, yaml.SequenceNode):
            return SequenceNode(tuple(self.convert(item, depth + 1, False) for item in node.value), place)
        return self._scalar(node, place, literal)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._source, node.start_mark.line + 1, node.start_mark.column + 1)

    def _scalar(self, node: yaml.Node, place: Place, literal: bool) -> Node:
        if node.tag == _STRING_TAG:
            return node_of_text(node.value, place) if literal else ScalarNode(node.value, place, node.value)
        try:
            value = self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError):
            raise ConfigError(f"{place}: '{node.value}' is no value of the tag '{node.tag}'.") from None
        if value is None or isinstance(value, (bool, int, float)):
            return ScalarNode(value, place)
        # Dates and binary data have no meaning here; the words that were written have.
        return ScalarNode(node.value, place, node.value)

    def _entries(
        self, node: yaml.MappingNode, depth: int, literal: bool
    ) -> tuple[dict[str, Node], dict[str, Place]]:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[MappingNode] = []
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if key_node.tag == _MERGE_TAG:
                merged.extend(self._merged(value_node, depth, literal))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{place}: a key is a word; lists and mappings are not accepted as keys.")
            key = str(key_node.value)
            if key in entries:
                raise ConfigError(
                    f"{place}: the key '{key}' is given twice (first at line {keys[key].line}). Keep one."
                )
            entries[key] = self.convert(value_node, depth + 1, literal)
            keys[key] = place
        for table in merged:
            for key, value in table.entries.items():
                if key not in entries:
                    entries[key], keys[key] = value, table.place_of(key)
        return entries, keys

    def _merged(self, node: yaml.Node, depth: int, literal: bool) -> list[MappingNode]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        tables = [self.convert(source, depth + 1, literal) for source in sources]
        for table in tables:
            if not isinstance(table, MappingNode):
                raise ConfigError(f"{table.place}: '<<' merges mappings, given {describe_value(table)}.")
        return [table for table in tables if isinstance(table, MappingNode)]


def apply_override(root: MappingNode, override: str) -> MappingNode:
    """Return a tree in which one value is replaced or added.

    Args:
        root: the tree of the file; it is not changed.
        override: `a.b.0.c=value`; a number selects an element of a list, a new key is added. The value is a
            Python literal, else true, false or null, else a string; it may contain `=`.

    Raises:
        ConfigError: there is no `=`, no key, an index is out of range, or the path leads through a value.
    """
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise ConfigError(
            f"in override '{override}': write section.key=value, for example Global.epochs=10; "
            "list elements are numbers, as in transform_ops.1.RandCropImage.size=96."
        )
    place = Place(f"in override '{override}'")
    new = _replaced(root, steps, 0, node_of_text(text, place, words=True))
    if not isinstance(new, MappingNode):
        raise TypeError("an override replaced the root of the tree")
    return new


def apply_overrides(root: MappingNode, overrides: Iterable[str]) -> MappingNode:
    """Apply overrides in order; a later one wins. Raises as `apply_override` does."""
    for override in overrides:
        root = apply_override(root, override)
    return root


def _replaced(node: Node, steps: list[str], depth: int, new: Node) -> Node:
    if depth == len(steps):
        return new
    step, where = steps[depth], ".".join(steps[:depth])
    if isinstance(node, SequenceNode):
        index = _index(step, len(node.items), where, new.place)
        items = list(node.items)
        items[index] = _replaced(items[index], steps, depth + 1, new)
        return replace(node, items=tuple(items), text=None)
    if isinstance(node, MappingNode):
        entries, keys = dict(node.entries), dict(node.keys)
    elif node.value is None:
        entries, keys = {}, {}
    else:
        raise ConfigError(
            f"{new.place}: '{where}' is {describe_value(node)} and has no '{step}' inside. "
            f"Override '{where}' itself."
        )
    keys.setdefault(step, new.place)
    entries[step] = _replaced(entries.get(step, ScalarNode(None, new.place)), steps, depth + 1, new)
    return MappingNode(entries, node.place, keys)


def _index(step: str, length: int, where: str, place: Place) -> int:
    accepted = f"0 to {length - 1}" if length else "none, the list is empty"
    if not re.fullmatch(r"-?\d+", step):
        raise ConfigError(
            f"{place}: '{where}' is a list; its elements are numbers ({accepted}), given '{step}'."
        )
    index = int(step)
    if not -length <= index < length:
        raise ConfigError(f"{place}: '{where}' has no element {index}. Accepted: {accepted}.")
    return index


def node_of_text(text: str, place: Place, *, words: bool = False) -> Node:
    """Return the node that a string stands for: a Python literal, a word such as `true`, else the string.

    Args:
        text: what was written.
        place: where it was written.
        words: read true, false and null as YAML does.
    """
    if words and text.strip() in _WORDS:
        return ScalarNode(_WORDS[text.strip()], place, text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of text that only resembles a literal ("1or")
            value = ast.literal_eval(text)
        return node_of(value, place, text=text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ScalarNode(text, place, text)


def node_of(value: Any, place: Place, *, text: Optional[str] = None) -> Node:
    """Return the tree of a plain value: None, bool, int, float, str, and lists, tuples and dicts of these.

    Args:
        value: the plain value.
        place: where it comes from.
        text: the string that it was written as, if any.

    Raises:
        TypeError: the value holds something else, or a key that is not a string.
    """
    if isinstance(value, str):
        return ScalarNode(value, place, value)
    if value is None or isinstance(value, (bool, int, float)):
        return ScalarNode(value, place, text)
    if isinstance(value, (list, tuple)):
        return SequenceNode(tuple(node_of(item, place) for item in value), place, text)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return MappingNode({key: node_of(item, place) for key, item in value.items()}, place, {}, text)
    raise TypeError(f"a {type(value).__name__} cannot stand in a configuration")


def to_plain(node: Node) -> Any:
    """Return the tree as dicts, lists and scalars, new ones at every call."""
    if isinstance(node, MappingNode):
        return {key: to_plain(value) for key, value in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [to_plain(item) for item in node.items]
    return node.value


def describe_value(node: Node) -> str:
    """Return what was written, for a message: kind and value, long values cut."""
    if isinstance(node, MappingNode):
        return f"a mapping ({', '.join(list(node.entries)[:4])})" if node.entries else "an empty mapping"
    if isinstance(node, SequenceNode):
        return f"a list of {len(node.items)}"
    if node.value is None:
        return "null"
    kinds = {bool: "the truth value", int: "the integer", float: "the number", str: "the text"}
    shown = repr(node.value)
    return f"{kinds[type(node.value)]} {shown if len(shown) <= 60 else shown[:57] + '...'}"


def parse_profiler_options(text: str) -> dict[str, str]:
    """Split "key1=value1;key2=[10,20]" into its pairs; blanks do not count.

    Raises:
        ConfigError: a part has no `=`, or a key comes twice.
    """
    options: dict[str, str] = {}
    for part in "".join(text.split()).split(";"):
        if not part:
            continue
        key, equals, value = part.partition("=")
        if not equals or not key or key in options:
            raise ConfigError(
                f"in profiler options '{text}': '{part}' is not understood. "
                'Write each key once, as in "batch_range=[10,20];profile_path=model.profile".'
            )
        options[key] = value
    return options
