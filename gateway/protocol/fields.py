"""Strict reading of JSON that another program has written: a value is what it must be, or nothing is taken.

Fields that nobody asks for are passed over, so that a newer program may tell more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.protocol import strict_json
from publisher.channels import Channel, validate_channel
from publisher.errors import InvalidChannel

_IDENTITY: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_MOST: Final = 2**53
"""Above it, a page in a browser could not tell two numbers apart."""


class BadMessage(ValueError):
    """It is not of ours, or not whole. The text says which field, and quotes nothing."""


class Fields:
    """The fields of one object. Every method raises `BadMessage` where the value is not of its kind."""

    __slots__ = ("_values",)

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise BadMessage("not an object")
        self._values: Mapping[str, Any] = value

    @classmethod
    def of(cls, raw: bytes, most_bytes: int) -> Fields:
        """Those of a message. One that is larger is not looked at."""
        if len(raw) > most_bytes:
            raise BadMessage("too large")
        try:
            value = strict_json.parse(raw)
        except ValueError:
            raise BadMessage("not JSON") from None
        return cls(value)

    def text(self, name: str, most: int) -> str:
        """Of so many characters, all of which can be shown."""
        value = self._values.get(name)
        if not isinstance(value, str) or len(value) > most or not value.isprintable():
            raise BadMessage(name)
        return value

    def identity(self, name: str) -> str:
        """Sixteen hexadecimal digits: a process, or a question. They become part of a channel's name."""
        value = self._values.get(name)
        if not isinstance(value, str) or _IDENTITY.fullmatch(value) is None:
            raise BadMessage(name)
        return value

    def count(self, name: str) -> int:
        return _count(name, self._values.get(name))

    def seconds(self, name: str) -> float:
        """Not negative, and finite."""
        return self.seconds_or_never(name, never=False)

    def seconds_or_never(self, name: str, *, never: bool = True) -> float:
        """The same; null is infinity, which JSON has no number for."""
        value = self._values.get(name)
        if value is None and never and name in self._values:
            return math.inf
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
            raise BadMessage(name)
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise BadMessage(name)
        return value

    def number_or_none(self, name: str) -> int | None:
        if name not in self._values:
            raise BadMessage(name)
        value = self._values[name]
        return None if value is None else _count(name, value)

    def items(self, name: str, most: int) -> list[Any]:
        """A list of at most so many."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise BadMessage(name)
        return value

    def objects(self, name: str, most: int) -> list[Fields]:
        return [Fields(item) for item in self.items(name, most)]

    def texts(self, name: str, most: int, most_characters: int) -> tuple[str, ...]:
        values = self.items(name, most)
        if not all(isinstance(v, str) and len(v) <= most_characters and v.isprintable() for v in values):
            raise BadMessage(name)
        return tuple(values)

    def counts(self, name: str, most: int) -> tuple[int, ...]:
        return tuple(_count(name, value) for value in self.items(name, most))

    def channels(self, name: str, most: int) -> tuple[Channel, ...]:
        """Valid names, none of them reserved."""
        return tuple(channel_of(value, name) for value in self.items(name, most))

    def object(self, name: str) -> Fields:
        if name not in self._values:
            raise BadMessage(name)
        return Fields(self._values[name])


def channel_of(value: object, name: str) -> Channel:
    """`value` as a channel. `name` is the field's."""
    try:
        return validate_channel(value)  # type: ignore[arg-type] # which it checks
    except InvalidChannel:
        raise BadMessage(name) from None


def printable(text: str, most: int) -> str:
    """What `Fields.text` takes of any text: others' words may hold what can't be shown."""
    return "".join(c if c.isprintable() else " " for c in text[:most])


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise BadMessage(name)
    return value
