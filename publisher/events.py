"""What is published: an event, its rules, and what a publish answers.

Everything here is checked before anything is sent, and refused, never repaired.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from publisher.errors import (
    DataTooLarge,
    InvalidData,
    InvalidIdempotencyKey,
    InvalidRetention,
    InvalidTraceparent,
    InvalidType,
)
from publisher.traceparent import Traceparent

MAX_TYPE_BYTES: Final = 128
RESERVED_TYPE_PREFIX: Final = "fanlight."
MAX_IDEMPOTENCY_KEY_BYTES: Final = 128
MAX_RETENTION_EVENTS: Final = 2**31 - 1
MAX_RETENTION_SECONDS: Final = 43_200
"""Half of a tail's life in the script: a channel's tail must outlive its events twice over."""

_KEY = re.compile(r"[!-~]{1,128}", re.ASCII)
_LINE_BREAK_OR_NUL = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event to publish.

    `data` is sent verbatim when it is str or bytes (UTF-8), else as compact JSON. `type` is the SSE
    event type, `None` the default one ("message"). Two publishes to one channel with the same
    `idempotency_key` append once, as long as the key lives; `None` lets the library make one.
    `traceparent` is the trace that it belongs to (W3C Trace Context), which gateways may go on with; no
    subscriber sees it. Nothing is checked before the event is published.
    """

    channel: str
    data: Any
    type: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The channel has the event, under this id.

    `duplicate` says that the caller's idempotency key was there already (or that the channel was
    closed already): the id is the earlier event's. Where an answer was lost, the earlier one may be
    of this very call. It is never true for a key that the library made.
    """

    channel: str
    id: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a channel is kept: its newest `events`, and all of it for `seconds` after the last
    publish. Redis trims by whole nodes, so a few more events than that may stay."""

    events: int
    seconds: float

    def __post_init__(self) -> None:
        if not isinstance(self.events, int) or not within(self.events, 1, MAX_RETENTION_EVENTS):
            raise InvalidRetention(
                f"retention_events is a whole number from 1 to {MAX_RETENTION_EVENTS}, not {self.events!r}"
            )
        if not within(self.seconds, 0.001, MAX_RETENTION_SECONDS):
            raise InvalidRetention(
                f"retention_seconds is a number from 0.001 to {MAX_RETENTION_SECONDS}, not {self.seconds!r}"
            )


def encode_data(data: object, max_bytes: int) -> bytes:
    """The bytes of an event's data: UTF-8 without NUL, at most `max_bytes`.

    str and bytes are taken verbatim, all else becomes compact JSON. Raises `InvalidData`, or
    `DataTooLarge`, which is one.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        raw = bytes(data)
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise InvalidData(f"data given as bytes is UTF-8: {error}") from None
    else:
        text = data if isinstance(data, str) else _to_json(data)
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:
            raise InvalidData(
                f"data holds half of a surrogate pair at character {error.start}, which has no UTF-8"
            ) from None
    if len(raw) > max_bytes:
        raise DataTooLarge(f"data has {len(raw)} bytes, the largest is {max_bytes}")
    if b"\0" in raw:
        raise InvalidData(f"data holds NUL at byte {raw.index(0)}, which browsers may not show")
    return raw


def _to_json(data: object) -> str:
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(f"data is neither str, bytes nor JSON-serialisable: {error}") from None


def encode_type(type_: str | None) -> bytes:
    """The bytes of an event type, empty for the default one. Raises `InvalidType`."""
    if type_ is None or type_ == "":
        return b""
    if not isinstance(type_, str):
        raise InvalidType(f"an event type is a str, not {type(type_).__name__}")
    try:
        raw = type_.encode()
    except UnicodeEncodeError:
        raise InvalidType(f"event type {type_[:64]!r} holds half of a surrogate pair") from None
    if len(raw) > MAX_TYPE_BYTES:
        raise InvalidType(f"an event type has at most {MAX_TYPE_BYTES} bytes, this one has {len(raw)}")
    if _LINE_BREAK_OR_NUL.search(type_):
        raise InvalidType(f"event type {type_!r} holds a line break or NUL")
    if type_.startswith(RESERVED_TYPE_PREFIX):
        raise InvalidType(f"event types that begin with {RESERVED_TYPE_PREFIX!r} are reserved")
    return raw


def validate_idempotency_key(key: str) -> str:
    """Return `key`: 1 to 128 visible ASCII characters. Raises `InvalidIdempotencyKey`."""
    if not isinstance(key, str):
        raise InvalidIdempotencyKey(f"an idempotency key is a str, not {type(key).__name__}")
    if _KEY.fullmatch(key) is None:
        raise InvalidIdempotencyKey(
            f"bad idempotency key {key[:MAX_IDEMPOTENCY_KEY_BYTES]!r}: use 1 to "
            f"{MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters, no spaces"
        )
    return key


def validate_traceparent(traceparent: str) -> Traceparent:
    """Where an event comes from. Raises `InvalidTraceparent`."""
    if not isinstance(traceparent, str):
        raise InvalidTraceparent(f"a traceparent is a str, not {type(traceparent).__name__}")
    try:
        return Traceparent.parse(traceparent)
    except ValueError as error:
        raise InvalidTraceparent(
            f"{error}; expected one such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, or None"
        ) from None


def within(value: object, lowest: float, highest: float) -> bool:
    """Whether `value` is a number between the two, both allowed. NaN, True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= highest
