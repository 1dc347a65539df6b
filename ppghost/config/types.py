"""The vocabulary in which a configuration schema is written: plain frozen dataclasses plus these marks.

A schema is a frozen dataclass whose field names are the YAML keys, whose annotations are the accepted types
and whose defaults are the defaults. `Annotated` carries what a type cannot say: a range, a set of choices, a
table of components. `ppghost.config.bind` reads the annotations; nothing else needs to know them.

Ground: no paddle, nothing of ours but the rock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Optional, Union


@dataclass(frozen=True)
class Range:
    """A closed interval of numbers; `above` excludes the lower end."""

    minimum: Optional[float] = None
    maximum: Optional[float] = None
    above: bool = False

    def accepts(self, value: float) -> bool:
        """Say whether `value` lies in the interval (NaN never does)."""
        low = self.minimum is None or (value > self.minimum if self.above else value >= self.minimum)
        return bool(low and (self.maximum is None or value <= self.maximum) and value == value)

    def __str__(self) -> str:
        parts = []
        if self.minimum is not None:
            parts.append(f"{'greater than' if self.above else 'at least'} {self.minimum:g}")
        if self.maximum is not None:
            parts.append(f"at most {self.maximum:g}")
        return " and ".join(parts)


@dataclass(frozen=True)
class Choice:
    """A closed set of values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Arithmetic:
    """A number that may be written as numbers joined by * and /, "1.0/255.0"; parsed, never executed."""


# A mark that holds a table compares and hashes by identity: a table has no hash, and `Optional` asks for one.
@dataclass(frozen=True, eq=False)
class Keyed:
    """A component written as a mapping with one key, `{CELoss: {epsilon: 0.1}}`.

    `table` maps a name to the dataclass that binds the parameters; `refused` maps a known name that is out
    of scope to the sentence that says where it is served.
    """

    kind: str
    table: Mapping[str, type]
    refused: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Named:
    """A component written with its name beside its parameters, `{name: Momentum, momentum: 0.9}`.

    `default` is the name that stands where `name` is absent; None makes the name obligatory.
    """

    kind: str
    table: Mapping[str, type]
    refused: Mapping[str, str]
    default: Optional[str] = None


@dataclass(frozen=True, eq=False)
class ByName:
    """A mapping whose `name` chooses its schema: the one in `table`, else `default`."""

    table: Mapping[str, type]
    default: type


@dataclass(frozen=True, eq=False)
class Alone:
    """A tuple that may be written as its one element: `Annotated[tuple[str, ...], Alone(str)]` takes "a".

    `annotation` is the form of the element when it stands alone; in a list it has the form of the tuple.
    """

    annotation: Any


@dataclass(frozen=True)
class Means:
    """Other words for one value: `Annotated[int, Means((False, None), 0)]` reads False and null as 0."""

    words: tuple[Any, ...]
    value: Any


@dataclass(frozen=True)
class Refused:
    """A key that is known and out of scope.

    A schema lists such keys in its class variable `refused_keys: ClassVar[Mapping[str, Refused]]`. Written
    with one of the `harmless` values the key asks for what happens anyway and is accepted; else `sentence`
    says where it is served.
    """

    sentence: str
    harmless: tuple[Any, ...] = (None, False)


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, above=True)]
NonNegativeFloat = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
Number = Annotated[float, Arithmetic()]
ClassNum = Annotated[int, Range(1, 1_000_000)]
Size = Union[PositiveInt, tuple[PositiveInt, PositiveInt]]
