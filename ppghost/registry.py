"""A registry: a named table that refuses clashes and helps with unknown names.

Rock: imports nothing of ours but the errors. Idea: fvcore `common/registry.py`. Each room keeps the one
instance for its kind of thing; a registry suggests near names and never substitutes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Callable, TypeVar

from ppghost.errors import GhostError, suggest

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A table name -> thing of one kind, filled by the decorator `add`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._table: dict[str, T] = {}

    def add(self, name: str) -> Callable[[T], T]:
        """Return a decorator that stores its argument under `name`.

        Raises:
            ValueError: the name is taken (a defect of the programmer, not of the user).
        """

        def store(thing: T) -> T:
            if name in self._table:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._table[name] = thing
            return thing

        return store

    def get_known(self, name: str) -> T:
        """Return the thing called `name`.

        Raises:
            GhostError: there is none; the message lists the near names.
        """
        if name not in self._table:
            raise GhostError(f"Unknown {self.kind} '{name}'. {suggest(name, self._table)}")
        return self._table[name]

    def __getitem__(self, name: str) -> T:
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)
