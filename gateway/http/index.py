"""Which things have a name, where most names have one thing: that costs a slot, and only several a set."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Index(Generic[T]):
    """Things by name. None is no name, and a thing without one is nowhere."""

    def __init__(self) -> None:
        self._named: dict[str, T | set[T]] = {}

    def add(self, name: str | None, thing: T) -> None:
        if name is None:
            return
        found = self._named.get(name)
        if found is None:
            self._named[name] = thing
        elif isinstance(found, set):
            found.add(thing)
        else:
            self._named[name] = {found, thing}

    def discard(self, name: str | None, thing: T) -> None:
        """`name` is what it was added with."""
        found = None if name is None else self._named.get(name)
        if name is None or found is None:
            return
        if isinstance(found, set):
            found.discard(thing)
            if not found:
                del self._named[name]
        elif found == thing:
            del self._named[name]

    def find(self, name: str) -> tuple[T, ...]:
        found = self._named.get(name)
        if found is None:
            return ()
        return tuple(found) if isinstance(found, set) else (found,)

    def __len__(self) -> int:
        """Names."""
        return len(self._named)
