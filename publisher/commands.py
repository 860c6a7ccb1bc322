"""From an event to the script's arguments, and from Redis' reply to what it means.

Pure: both clients share these decisions, and a test needs no server.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from redis import exceptions

from publisher.channels import DEFAULT_PREFIX, Partition, validate_channel, validate_prefix
from publisher.control import CONTROL, KEPT_SECONDS, MAX_COUNTED_SECONDS, MAX_REVOCATIONS, REVOKE_TYPE
from publisher.errors import (
    ChannelClosed,
    InvalidEvent,
    InvalidRevocation,
    PublishError,
    RedisRefused,
    RevocationsFull,
)
from publisher.events import (
    Published,
    Retention,
    encode_data,
    encode_type,
    validate_idempotency_key,
    validate_traceparent,
    within,
)
from publisher.payload import END_TYPE, extension

if TYPE_CHECKING:
    from collections.abc import Iterable

    from publisher.channels import Channel
    from publisher.control import Target
    from publisher.events import Event
    from publisher.traceparent import Traceparent

SCRIPT: Final = resources.files("publisher").joinpath("fanlight.lua").read_bytes()
SCRIPT_SHA: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()

LIBRARY_KEY_EXTRA_SECONDS: Final = 10.0
"""A key that the library made outlives the retries by this much, for a request that a stalled server
still had in its socket when the deadline passed."""

_MAX_IDEMPOTENCY_SECONDS: Final = 30 * 86_400
_MAX_DEADLINE_SECONDS: Final = 600
_LARGEST_EVENT_BYTES: Final = 64 * 1024 * 1024
_MOST_REVOCATIONS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Command:
    """One run of the script: `arguments` are what follows `EVALSHA <sha>`."""

    channel: str
    arguments: tuple[int | bytes, ...]
    size_bytes: int
    library_key: bool
    """Whether the idempotency key is the library's: if it was there, an earlier attempt got through."""


@dataclass(frozen=True, slots=True)
class Options:
    """A publisher's settings, checked. The keywords of `Publisher` and `AsyncPublisher`."""

    prefix: str = DEFAULT_PREFIX
    retention_events: int = 10_000
    retention_seconds: float = 3600
    idempotency_seconds: float = 600
    max_event_bytes: int = 262_144
    deadline_seconds: float = 10.0
    max_revocations: int = MAX_REVOCATIONS
    partition: Partition = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "partition", Partition(validate_prefix(self.prefix)))
        Retention(self.retention_events, self.retention_seconds)
        if not within(self.idempotency_seconds, 0.001, _MAX_IDEMPOTENCY_SECONDS):
            raise ValueError(f"idempotency_seconds is a number from 0.001 to {_MAX_IDEMPOTENCY_SECONDS}")
        if not within(self.deadline_seconds, 0.01, _MAX_DEADLINE_SECONDS):
            raise ValueError(f"deadline_seconds is a number from 0.01 to {_MAX_DEADLINE_SECONDS}")
        if not within(self.max_event_bytes, 1, _LARGEST_EVENT_BYTES):
            raise ValueError(f"max_event_bytes is a number from 1 to {_LARGEST_EVENT_BYTES}")
        if not within(self.max_revocations, 1, _MOST_REVOCATIONS):
            raise ValueError(f"max_revocations is a number from 1 to {_MOST_REVOCATIONS}")

    def retention(self, events: int | None, seconds: float | None) -> Retention:
        """This call's retention, with the publisher's own for what is not given."""
        return Retention(
            self.retention_events if events is None else events,
            self.retention_seconds if seconds is None else seconds,
        )

    def event(self, event: Event, retention: Retention, current: Traceparent | None = None) -> Command:
        """The command that publishes `event`, which belongs to the `current` trace unless it names one.
        Raises `InvalidEvent`."""
        channel = validate_channel(event.channel)
        type_ = encode_type(event.type)
        data = encode_data(event.data, self.max_event_bytes)
        if event.idempotency_key is None:
            key, seconds = secrets.token_hex(16), self.deadline_seconds + LIBRARY_KEY_EXTRA_SECONDS
        else:
            key, seconds = validate_idempotency_key(event.idempotency_key), self.idempotency_seconds
        traceparent = current if event.traceparent is None else validate_traceparent(event.traceparent)
        once = self.partition.idempotency(channel, key).encode()
        meta, tail, stream, live = _keys(self.partition, channel)
        extensions = () if traceparent is None else (extension(traceparent),)
        arguments = (
            b"event",
            live,
            type_,
            data,
            b"%d" % retention.events,
            _ms(retention.seconds),
            _ms(seconds),
            *extensions,
        )
        return Command(
            channel,
            (4, meta, tail, stream, once, *arguments),
            len(data),
            library_key=event.idempotency_key is None,
        )

    def end(self, channel: str) -> Command:
        """The command that ends `channel`. It needs no key: a channel ends once. Raises `InvalidChannel`."""
        name = validate_channel(channel)
        data = encode_data({"channel": name}, _LARGEST_EVENT_BYTES)
        meta, tail, stream, live = _keys(self.partition, name)
        limits = b"%d" % self.retention_events, _ms(self.retention_seconds)
        arguments = (b"end", live, END_TYPE.encode(), data, *limits)
        return Command(name, (3, meta, tail, stream, *arguments), len(data), library_key=False)

    def revoke(self, target: Target, seconds: float) -> Command:
        """The command that revokes. It needs no key: twice is as good as once. Raises `InvalidRevocation`."""
        if not within(seconds, 1, MAX_COUNTED_SECONDS):
            raise InvalidRevocation(f"seconds is a number from 1 to {MAX_COUNTED_SECONDS}, not {seconds!r}")
        data = encode_data({target.by.value: target.value, "seconds": seconds}, _LARGEST_EVENT_BYTES)
        meta, tail, stream, live = _keys(self.partition, CONTROL)
        limits = b"%d" % self.max_revocations, _ms(KEPT_SECONDS)
        arguments = (b"revoke", live, REVOKE_TYPE.encode(), data, *limits)
        return Command(CONTROL, (3, meta, tail, stream, *arguments), len(data), library_key=False)


@lru_cache(maxsize=4096)
def _keys(partition: Partition, channel: Channel) -> tuple[bytes, bytes, bytes, bytes]:
    """Meta, tail, stream and live channel. To build them is a good part of a publish's cost here."""
    keys = partition.meta, partition.tail(channel), partition.stream(channel), partition.live(channel)
    meta, tail, stream, live = (key.encode() for key in keys)
    return meta, tail, stream, live


def event_commands(
    options: Options,
    events: Iterable[Event],
    retention_events: int | None,
    retention_seconds: float | None,
    current: Traceparent | None = None,
    *,
    numbered: bool = False,
) -> list[Command]:
    """The commands of one call, all checked. Raises `InvalidEvent`, with the event's index if `numbered`."""
    retention = options.retention(retention_events, retention_seconds)
    commands: list[Command] = []
    for index, event in enumerate(events):
        try:
            commands.append(options.event(event, retention, current))
        except InvalidEvent as error:
            if not numbered:
                raise
            raise type(error)(f"events[{index}]: {error}") from None
    return commands


def each_command(
    options: Options, events: Iterable[Event], current: Traceparent | None
) -> list[Command | InvalidEvent]:
    """For each event its command, or why it can't be published."""
    retention = options.retention(None, None)
    commands: list[Command | InvalidEvent] = []
    for event in events:
        try:
            commands.append(options.event(event, retention, current))
        except InvalidEvent as error:
            commands.append(error)
    return commands


def _ms(seconds: float) -> bytes:
    return b"%d" % max(1, round(seconds * 1000))


@dataclass(frozen=True, slots=True)
class Again:
    """The command may be sent again: with the same idempotency key it never appends twice."""

    error: Exception
    reconnect: bool = False
    """The server is not the one to write to: the address is resolved, and connected to, anew."""
    load: bool = False
    """The server does not know the script."""


_AGAIN: Final = frozenset({"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN"})
# A replica, or a primary that has lost its replicas: after a failover another server is the primary.
_AGAIN_ELSEWHERE: Final = frozenset({"READONLY", "MASTERDOWN", "NOREPLICAS"})


def interpret(command: Command, reply: object) -> Published | PublishError | Again:
    """What Redis' `reply` to `command`, or the exception that came instead, means."""
    if isinstance(reply, Exception):
        meaning = interpret_error(reply)
        if isinstance(meaning, RedisRefused) and _words(reply).startswith("FANLIGHTCLOSED "):
            end = _words(reply).rpartition(" ")[2]
            return ChannelClosed(f"channel {command.channel!r} was closed; its end has the id {end}")
        if isinstance(meaning, RedisRefused) and _words(reply).startswith("FANLIGHTFULL "):
            return RevocationsFull(
                "as many revocations count by now as may (max_revocations), and none is dropped for "
                "another: raise the bound, or wait until some have run out"
            )
        return meaning
    match reply:
        case [bytes() | str() as id_, 0 | 1 as known]:
            text = id_.decode() if isinstance(id_, bytes) else id_
            return Published(command.channel, text, known == 1 and not command.library_key)
    return RedisRefused(f"Redis gave an answer that is not the script's: {reply!r:.200}")


def interpret_error(error: Exception) -> PublishError | Again:
    """What an exception of redis-py, or of the socket below it, means."""
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return _refused(error)  # redis-py counts them as connection errors
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return Again(error)
    code = _words(error).partition(" ")[0]
    if code == "NOSCRIPT":
        return Again(error, load=True)
    if code in _AGAIN or code in _AGAIN_ELSEWHERE:
        return Again(error, reconnect=code in _AGAIN_ELSEWHERE)
    return _refused(error)


def _refused(error: Exception) -> RedisRefused:
    words = _words(error)
    if "unauthenticated multibulk length" in words:
        # How Redis says NOAUTH to a command of more than ten words, which the script's are.
        words = f"NOAUTH Authentication required. ({words})"
    refused = RedisRefused(f"Redis refused: {words}")
    refused.__cause__ = error
    return refused


def _words(error: Exception) -> str:
    """Redis' own words. redis-py cuts the code off where it has a class for it."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error)
