"""Trees into checked values: one binder reads the annotations of a schema and fills its dataclasses.

Adding a key is adding a field; adding a component is adding a dataclass to its table: nothing here changes.
The binder collects every problem of a tree and reports them together, one line each, with place and path.

Ground: no paddle, nothing of ours but the rock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Optional, Union, get_args, get_origin

from ppghost.arithmetic import NUMBER, parse_arithmetic
from ppghost.config.reader import (
    MappingNode,
    Node,
    Place,
    ScalarNode,
    SequenceNode,
    describe_value,
    node_of,
    to_plain,
)
from ppghost.config.types import Alone, Arithmetic, ByName, Choice, Keyed, Means, Named, Range, Refused
from ppghost.errors import ConfigError, suggest

_SCALARS = {bool: "true or false", int: "an integer", float: "a number", str: "a text", type(None): "null"}


@dataclass(frozen=True)
class Problem:
    """One reason why a tree cannot be honoured."""

    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.path}: {self.message}" if self.path else f"{self.place}: {self.message}"


class _UnboundError(Exception):
    """The problems are recorded; this value has none."""


def bind(node: Node, annotation: Any, path: str = "") -> Any:
    """Return the value that `annotation` asks for.

    Args:
        node: the tree.
        annotation: bool, int, float, str, Any, Optional, Union, tuple[...], Mapping[str, ...], a frozen
            dataclass, or one of these `Annotated` with the marks of `ppghost.config.types`.
        path: the dotted path of the node, for messages.

    Raises:
        ConfigError: with one line for each problem of the tree: place, path, what was given and is accepted.
    """
    value, problems = try_bind(node, annotation, path)
    check_none(problems)
    return value


def try_bind(node: Node, annotation: Any, path: str = "") -> tuple[Any, list[Problem]]:
    """Return the value and no problems, or None and all problems; see `bind`."""
    binder = _Binder()
    try:
        return binder.bind(node, annotation, path), []
    except _UnboundError:
        return None, binder.problems


def check_none(problems: Sequence[Problem]) -> None:
    """Check that there are no problems.

    Raises:
        ConfigError: there are; the message has a line for each.
    """
    if problems:
        raise ConfigError("\n".join(str(problem) for problem in problems))


def bind_plain(value: Any, annotation: Any, *, source: str, path: str = "") -> Any:
    """Bind a plain value, such as a list of dicts; `source` names it in messages. Raises as `bind` does."""
    try:
        node = node_of(value, Place(source))
    except TypeError as error:
        raise ConfigError(str(Problem(Place(source), path, f"{error}."))) from error
    return bind(node, annotation, path)


def describe_type(annotation: Any) -> str:
    """Return what an annotation accepts, in words for a message."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe_marked(*arguments)
    if _is_union(annotation):
        return " or ".join(dict.fromkeys(describe_type(member) for member in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list (each {describe_type(arguments[0])})"
    if origin is tuple:
        return f"a list of {len(arguments)} ({', '.join(describe_type(item) for item in arguments)})"
    return "anything" if annotation is Any else "a mapping"


def _describe_marked(base: Any, *marks: Any) -> str:
    words = describe_type(base)
    for mark in marks:
        if isinstance(mark, Alone):
            return f"{describe_type(mark.annotation)}, or {words}"
        if isinstance(mark, Keyed):
            return f"one {mark.kind}, as {{Name: {{...}}}}"
        if isinstance(mark, Named):
            return f"one {mark.kind}, as {{name: Name, ...}}"
        if isinstance(mark, Choice):
            return " or ".join(repr(value) for value in mark.values)
        if isinstance(mark, Range):
            words = f"{words} {mark}"
        elif isinstance(mark, Arithmetic):
            words = f"{words} or a quotient of numbers"
    return words


class _Binder:
    """Binds one tree and remembers its problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def bind(self, node: Node, annotation: Any, path: str) -> Any:
        """Return the value for one node; raise `_UnboundError` after recording why there is none."""
        origin = get_origin(annotation)
        if origin is Annotated:
            return self._marked(node, annotation, path)
        if _is_union(annotation):
            return self._union(node, annotation, path)
        if annotation in _SCALARS:
            return self._scalar(node, annotation, path)
        if origin is tuple:
            return self._tuple(node, annotation, path)
        if annotation is Any:
            return to_plain(node)
        if isinstance(origin or annotation, type) and issubclass(origin or annotation, Mapping):
            return self._mapping(node, annotation, path)
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            return self._schema(node, annotation, path)
        raise TypeError(f"the binder does not know the annotation {annotation!r} of '{path}'")

    def _fail(self, place: Place, path: str, message: str) -> _UnboundError:
        self.problems.append(Problem(place, path, message))
        return _UnboundError()

    def _mismatch(self, node: Node, annotation: Any, path: str) -> _UnboundError:
        return self._fail(
            node.place, path, f"given {describe_value(node)}; accepted: {describe_type(annotation)}."
        )

    def _marked(self, node: Node, annotation: Any, path: str) -> Any:
        base, *marks = get_args(annotation)
        for mark in marks:
            if isinstance(mark, (Keyed, Named)):
                return self._named_or_keyed(node, base, mark, path)
            if isinstance(mark, ByName):
                name = node.entries.get("name") if isinstance(node, MappingNode) else None
                chosen = str(name.value) if isinstance(name, ScalarNode) else ""
                return self.bind(node, mark.table.get(chosen, mark.default), path)
            if isinstance(mark, Means) and isinstance(node, ScalarNode) and _is_among(node.value, mark.words):
                return mark.value
            if isinstance(mark, Alone) and not isinstance(node, SequenceNode) and not _is_null(node):
                return (self.bind(node, mark.annotation, path),)
        if any(isinstance(mark, Arithmetic) for mark in marks):
            node = self._calculated(node, annotation, path)
        value = self._bind_base(node, base, annotation, path)
        for mark in marks:
            if isinstance(mark, Range) and value is not None and not mark.accepts(value):
                raise self._mismatch(node, annotation, path)
            if isinstance(mark, Choice) and not _is_among(value, mark.values):
                near = f" {suggest(value, map(str, mark.values))}" if isinstance(value, str) else ""
                accepted = describe_type(annotation)
                raise self._fail(
                    node.place, path, f"given {describe_value(node)}; accepted: {accepted}.{near}"
                )
        return value

    def _bind_base(self, node: Node, base: Any, annotation: Any, path: str) -> Any:
        # A number of the wrong kind is told the whole annotation, "an integer at least 1".
        if base in _SCALARS:
            return self._scalar(node, base, path, annotation)
        return self.bind(node, base, path)

    def _calculated(self, node: Node, annotation: Any, path: str) -> Node:
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            return node
        try:
            return ScalarNode(parse_arithmetic(node.value), node.place, node.text)
        except ValueError:
            raise self._mismatch(node, annotation, path) from None

    def _scalar(self, node: Node, kind: type, path: str, annotation: Any = None) -> Any:
        value = _scalar_value(node, kind)
        if value is _UNFIT:
            raise self._mismatch(node, annotation or kind, path)
        return value

    def _union(self, node: Node, annotation: Any, path: str) -> Any:
        members = get_args(annotation)
        if _is_null(node) and type(None) in members:
            return None
        fitting = sorted(
            (member for member in members if _fits(member, node)),
            key=lambda member: not _is_exact(member, node),
        )
        trial = _Binder()
        for member in fitting:
            trial = _Binder()
            try:
                return trial.bind(node, member, path)
            except _UnboundError:
                continue
        if len(fitting) == 1 and fitting[0] is not type(None):
            self.problems.extend(trial.problems)
            raise _UnboundError
        raise self._mismatch(node, annotation, path)

    def _tuple(self, node: Node, annotation: Any, path: str) -> tuple[Any, ...]:
        kinds = get_args(annotation)
        if _is_null(node) and kinds[-1] is Ellipsis:
            return ()  # a key with nothing behind it: a list with no elements
        if not isinstance(node, SequenceNode):
            raise self._mismatch(node, annotation, path)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(node.items)
        if len(kinds) != len(node.items):
            raise self._mismatch(node, annotation, path)
        pairs = zip(node.items, kinds)
        return tuple(self._all((item, kind, f"{path}.{index}") for index, (item, kind) in enumerate(pairs)))

    def _mapping(self, node: Node, annotation: Any, path: str) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise self._mismatch(node, annotation, path)
        kind = get_args(annotation)[1] if get_args(annotation) else Any
        values = self._all((item, kind, _join(path, key)) for key, item in node.entries.items())
        return dict(zip(node.entries, values))

    def _all(self, parts: typing.Iterable[tuple[Node, Any, str]]) -> list[Any]:
        """Bind every part, so that the problems of all are recorded, then stop if there was one."""
        values, failed = [], False
        for node, annotation, path in parts:
            try:
                values.append(self.bind(node, annotation, path))
            except _UnboundError:
                failed = True
        if failed:
            raise _UnboundError
        return values

    def _schema(self, node: Node, schema: type, path: str) -> Any:
        table = _as_mapping(node)
        if table is None:
            raise self._mismatch(node, schema, path)
        before = len(self.problems)
        known = self._known(table, schema, path)
        values: dict[str, Any] = {}
        for name, (annotation, required) in _fields(schema).items():
            if name in known:
                with contextlib.suppress(_UnboundError):
                    values[name] = self.bind(known[name], annotation, _join(path, name))
            elif required:
                message = f"the key '{name}' is missing; accepted: {describe_type(annotation)}."
                self._fail(table.place, path, message)
        if len(self.problems) > before:
            raise _UnboundError
        return self._construct(schema, values, table, path)

    def _known(self, table: MappingNode, schema: type, path: str) -> dict[str, Node]:
        """Return the entries that fields of the schema name; refuse the others."""
        fields = _fields(schema)
        refused: Mapping[str, Refused] = getattr(schema, "refused_keys", {})
        for key, item in table.entries.items():
            if key in refused and not _is_among(to_plain(item), refused[key].harmless):
                message = f"given {describe_value(item)}; {refused[key].sentence}"
                self._fail(table.place_of(key), _join(path, key), message)
            elif key not in refused and key not in fields:
                message = f"unknown key {key!r}. {suggest(key, fields, most=12)}"
                self._fail(table.place_of(key), _join(path, key), message)
        return {key: item for key, item in table.entries.items() if key in fields}

    def _construct(self, schema: type, values: dict[str, Any], table: MappingNode, path: str) -> Any:
        try:
            return schema(**values)
        except ValueError as error:
            # A file that fitted before an override is not to blame.
            overrides = [item.place for item in table.entries.values() if not item.place.line]
            raise self._fail((overrides or [table.place])[-1], path, str(error)) from None

    def _named_or_keyed(self, node: Node, base: Any, mark: Union[Keyed, Named], path: str) -> Any:
        if _is_null(node) and type(None) in get_args(base):
            return None
        return self._keyed(node, mark, path) if isinstance(mark, Keyed) else self._named(node, mark, path)

    def _keyed(self, node: Node, mark: Keyed, path: str) -> Any:
        entries = node.entries if isinstance(node, MappingNode) else {}
        if len(entries) != 1:
            hint = " Indent the parameters deeper than the name." if len(entries) > 1 else ""
            message = f"given {describe_value(node)}; accepted: one {mark.kind}, as {{Name: {{...}}}}.{hint}"
            raise self._fail(node.place, path, message)
        ((name, parameters),) = entries.items()
        place = node.place_of(name) if isinstance(node, MappingNode) else node.place
        schema = self._component(name, mark, place, path)
        if _is_null(parameters):
            parameters = MappingNode({}, place)
        return self._schema(parameters, schema, _join(path, name))

    def _named(self, node: Node, mark: Named, path: str) -> Any:
        if not isinstance(node, MappingNode):
            raise self._mismatch(node, Annotated[Any, mark], path)
        entries = dict(node.entries)
        written = entries.pop("name", None)
        name = mark.default if written is None else _scalar_value(written, str)
        place = node.place if written is None else written.place
        if name is None or name is _UNFIT:
            raise self._fail(
                place, path, f"the key 'name' is missing or not a text. {suggest('', mark.table)}"
            )
        schema = self._component(name, mark, place, path)
        return self._schema(dataclasses.replace(node, entries=entries), schema, path)

    def _component(self, name: str, mark: Union[Keyed, Named], place: Place, path: str) -> type:
        if name in mark.table:
            return mark.table[name]
        if name in mark.refused:
            raise self._fail(
                place, path, f"the {mark.kind} '{name}' is not served here: {mark.refused[name]}"
            )
        raise self._fail(place, path, f"unknown {mark.kind} {name!r}. {suggest(name, mark.table)}")


_UNFIT: Any = object()


def _scalar_value(node: Node, kind: type) -> Any:
    """Return the node's value as `kind`, or `_UNFIT`; nothing that could mean two things is converted."""
    if kind is str:
        # An override is text before it is anything else: `output_dir=null` and `=[1]` have a text, too.
        is_written = isinstance(node, ScalarNode) and isinstance(node.value, str)
        looks_like_text = node.text is not None and node.text.strip()[:1] not in ("[", "{")
        return node.text if is_written or (looks_like_text and not _is_null(node)) else _UNFIT
    if not isinstance(node, ScalarNode):
        return _UNFIT
    if kind is type(None):
        return None if node.value is None else _UNFIT
    if kind is bool:
        return bool(node.value) if isinstance(node.value, (bool, int)) and node.value in (0, 1) else _UNFIT
    return _number(node.value, kind)


def _number(value: Any, kind: type) -> Any:
    # YAML 1.1 reads 1e-3 as a text, because it has no point; it can only mean the number.
    if isinstance(value, str) and re.fullmatch(NUMBER, value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _UNFIT
    if isinstance(value, float) and not math.isfinite(value):
        return _UNFIT
    if kind is int:
        return int(value) if value == int(value) else _UNFIT
    try:
        return float(value)
    except OverflowError:
        return _UNFIT


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"


def _base(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_among(value: Any, values: tuple[Any, ...]) -> bool:
    """Say whether `value` is one of `values`, where False is not 0."""
    return any(type(value) is type(other) and value == other for other in values)


def _fits(annotation: Any, node: Node) -> bool:
    """Say whether a member of a union is of the node's shape, so that its complaints are worth telling."""
    base = _base(annotation)
    if base is Any and get_origin(annotation) is not Annotated:
        return True
    if base is str:
        return node.text is not None
    if isinstance(node, SequenceNode):
        return get_origin(base) is tuple
    if isinstance(node, MappingNode):
        return base not in _SCALARS and get_origin(base) is not tuple
    return base in _SCALARS


def _is_exact(annotation: Any, node: Node) -> bool:
    return isinstance(node, ScalarNode) and type(node.value) is _base(annotation)


def _as_mapping(node: Node) -> Optional[MappingNode]:
    if _is_null(node):
        return MappingNode({}, node.place)
    return node if isinstance(node, MappingNode) else None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@functools.cache
def _fields(schema: type) -> dict[str, tuple[Any, bool]]:
    """Return the keys of a schema: annotation, and whether the key must be given."""
    hints = typing.get_type_hints(schema, include_extras=True)
    return {
        field.name: (
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(schema)
        if field.init
    }
