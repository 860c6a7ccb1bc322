"""What a publish request holds: items, each of them good or bad on its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from gateway.protocol import strict_json
from gateway.protocol.request import BadRequest

T = TypeVar("T")

_FIELDS: Final = frozenset({"channel", "channels", "close", "data", "idempotency_key", "type"})


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to publish, to one or several channels, or the end of them."""

    channels: tuple[str, ...]
    data: Any = None
    type: str | None = None
    idempotency_key: str | None = None
    close: bool = False
    several: bool = False
    """The request said `channels`, so the answer holds a list."""


@dataclass(frozen=True, slots=True)
class BadItem:
    """An item that can't be published; the others still are."""

    detail: str


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """The items of a request. `single` where the body was one object."""

    items: tuple[Item | BadItem, ...]
    single: bool

    @property
    def count(self) -> int:
        """How many events it is about."""
        return _events(self.items)

    @classmethod
    def parse(cls, body: bytes, *, lines: bool, max_items: int) -> PublishRequest:
        """From a body of JSON, or of NDJSON with `lines`. `BadRequest` if the body as a whole is bad."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise BadRequest("the body is not UTF-8") from None
        if lines:
            _check_count(text.count("\n"), max_items)  # before it is taken apart: those without anything, too
            rows = [row for row in text.split("\n") if row.strip()]
            return cls(_counted(rows, _line, max_items), single=False)
        try:
            parsed = strict_json.parse(text)
        except ValueError as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
        if isinstance(parsed, list):
            return cls(_counted(parsed, _item, max_items), single=False)
        return cls(_counted([parsed], _item, max_items), single=True)


def _counted(rows: list[T], read: Callable[[T], Item | BadItem], most: int) -> tuple[Item | BadItem, ...]:
    """The rows' items. What is bounded are events: an item makes one for each of its channels."""
    _check_count(len(rows), most)
    items = tuple(map(read, rows))
    _check_count(_events(items), most)
    return items


def _events(items: tuple[Item | BadItem, ...]) -> int:
    return sum(len(item.channels) if isinstance(item, Item) else 1 for item in items)


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise BadRequest(f"{count} events in one request; at most {most} are allowed")


def _line(row: str) -> Item | BadItem:
    try:
        return _item(strict_json.parse(row))
    except ValueError as error:
        return BadItem(f"the line is not JSON: {error}")


def _item(parsed: object) -> Item | BadItem:
    if not isinstance(parsed, dict):
        return BadItem('an event is an object such as {"channel": "news", "data": "Hello"}')
    if unknown := sorted(parsed.keys() - _FIELDS):
        return BadItem(f"unknown field {unknown[0][:64]!r}; the fields are {', '.join(sorted(_FIELDS))}")
    several, close = "channels" in parsed, parsed.get("close", False)
    if several == ("channel" in parsed):
        return BadItem("give either channel or channels")
    names = parsed["channels"] if several else [parsed["channel"]]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return BadItem("channel is a string, channels a list of strings that is not empty")
    if not isinstance(close, bool):
        return BadItem("close is true or false")
    type_, key = parsed.get("type"), parsed.get("idempotency_key")
    if not isinstance(type_, str | None) or not isinstance(key, str | None):
        return BadItem("type and idempotency_key are strings")
    if close and parsed.keys() & {"data", "type", "idempotency_key"}:
        return BadItem("close ends the channel, so it takes no data, type or idempotency_key")
    if not close and "data" not in parsed:
        return BadItem("data is missing")
    return Item(tuple(names), parsed.get("data"), type_, key, close, several)
