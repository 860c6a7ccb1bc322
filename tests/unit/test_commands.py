from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from publisher import (
    ChannelClosed,
    Event,
    InvalidChannel,
    InvalidData,
    InvalidEvent,
    InvalidIdempotencyKey,
    InvalidRetention,
    InvalidType,
    Published,
    RedisRefused,
)
from publisher.commands import Again, Command, Options, event_commands, interpret
from publisher.events import Retention

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = Options(
    prefix="shop", retention_events=500, retention_seconds=1.5, idempotency_seconds=60, deadline_seconds=5
)


def build(event: Event) -> Command:
    return OPTIONS.event(event, OPTIONS.retention(None, None))


def test_an_event_is_these_arguments() -> None:
    command = build(Event(channel="a", data={"n": 1}, type="tick", idempotency_key="k1"))
    assert command.arguments == (
        4,
        b"{shop:0}:meta",
        b"{shop:0}:tail:a",
        b"{shop:0}:stream:a",
        b"{shop:0}:once:a#k1",
        b"event",
        b"{shop:0}:live:a",
        b"tick",
        b'{"n":1}',
        b"500",
        b"1500",
        b"60000",
    )
    assert command.channel == "a"
    assert not command.library_key


def test_an_end_is_these_arguments() -> None:
    command = OPTIONS.end("a")
    assert command.arguments == (
        3,
        b"{shop:0}:meta",
        b"{shop:0}:tail:a",
        b"{shop:0}:stream:a",
        b"end",
        b"{shop:0}:live:a",
        b"fanlight.end",
        b'{"channel":"a"}',
        b"500",
        b"1500",
    )


def test_a_key_of_the_library_outlives_the_deadline_by_ten_seconds() -> None:
    command = build(Event(channel="a", data=""))
    once = command.arguments[4]
    assert isinstance(once, bytes)
    assert re.fullmatch(rb"\{shop:0\}:once:a#[0-9a-f]{32}", once)
    assert command.arguments[-1] == b"15000"
    assert command.library_key


def test_each_event_has_a_key_of_its_own() -> None:
    commands = event_commands(OPTIONS, [Event(channel="a", data="")] * 1000, None, None)
    assert len({command.arguments[4] for command in commands}) == 1000


def test_all_text_goes_as_bytes_whatever_the_clients_encoding_is() -> None:
    for command in (build(Event(channel="a", data="é", type="é", idempotency_key="k")), OPTIONS.end("a")):
        assert all(isinstance(argument, bytes) for argument in command.arguments[1:])


@pytest.mark.parametrize(
    ("events", "seconds", "expected"),
    [
        (None, None, (b"500", b"1500")),
        (7, None, (b"7", b"1500")),
        (None, 43_200, (b"500", b"43200000")),
        (1, 0.001, (b"1", b"1")),
    ],
)
def test_retention_of_a_call_goes_before_the_publishers(
    events: int | None, seconds: float | None, expected: tuple[bytes, bytes]
) -> None:
    (command,) = event_commands(OPTIONS, [Event(channel="a", data="")], events, seconds)
    assert command.arguments[9:11] == expected


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (Event(channel="a b", data=""), InvalidChannel),
        (Event(channel="fanlight.x", data=""), InvalidChannel),
        (Event(channel="a", data="", type="fanlight.gap"), InvalidType),
        (Event(channel="a", data="\0"), InvalidData),
        (Event(channel="a", data="", idempotency_key=""), InvalidIdempotencyKey),
    ],
)
def test_an_invalid_event_is_refused_with_its_index(event: Event, error: type[InvalidEvent]) -> None:
    with pytest.raises(error):
        build(event)
    with pytest.raises(error, match=re.escape("events[1]: ")):
        event_commands(OPTIONS, [Event(channel="a", data=""), event], None, None, numbered=True)


def test_retention_is_refused() -> None:
    with pytest.raises(InvalidRetention):
        event_commands(OPTIONS, [], 0, None)
    with pytest.raises(InvalidRetention):
        Options(retention_seconds=43_201)


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": "a:b"},
        {"idempotency_seconds": 0},
        {"deadline_seconds": 0},
        {"deadline_seconds": float("nan")},
        {"max_event_bytes": 0},
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Options(**options)


CALLER = Command("a", (), 0, library_key=False)
LIBRARY = Command("a", (), 0, library_key=True)
ID = "7-0-0a1b2c"


@pytest.mark.parametrize(
    ("command", "reply", "duplicate"),
    [
        (CALLER, [ID.encode(), 0], False),
        (CALLER, [ID.encode(), 1], True),
        (CALLER, [ID, 1], True),  # a client with decode_responses
        (LIBRARY, [ID.encode(), 0], False),
        (LIBRARY, [ID.encode(), 1], False),  # an earlier attempt of this call
    ],
)
def test_a_reply_is_published(command: Command, reply: object, duplicate: bool) -> None:
    assert interpret(command, reply) == Published("a", ID, duplicate)


@pytest.mark.parametrize("reply", [None, 7, b"OK", [], [ID], [ID, 2], [7, 0], [ID.encode(), 0, 0]])
def test_a_foreign_reply_is_an_error(reply: object) -> None:
    assert isinstance(interpret(CALLER, reply), RedisRefused)


def error_reply(line: str) -> Exception:
    """The exception that redis-py makes of Redis' error reply."""
    parse: Callable[[str], Exception] = BaseParser.parse_error
    return parse(line)


@pytest.mark.parametrize(
    ("error", "reconnect", "load"),
    [
        (exceptions.ConnectionError("Connection closed by server."), False, False),
        (exceptions.TimeoutError("Timeout reading from socket"), False, False),
        (exceptions.MaxConnectionsError("Too many connections"), False, False),
        (ConnectionResetError(), False, False),
        (TimeoutError(), False, False),
        (error_reply("LOADING Redis is loading the dataset in memory"), False, False),
        (error_reply("BUSY Redis is busy running a script."), False, False),
        (error_reply("TRYAGAIN Multiple keys request during rehashing of slot"), False, False),
        (error_reply("CLUSTERDOWN The cluster is down"), False, False),
        (error_reply("MASTERDOWN Link with MASTER is down"), True, False),
        (error_reply("ERR max number of clients reached"), False, False),
        (error_reply("READONLY You can't write against a read only replica."), True, False),
        (error_reply("NOREPLICAS Not enough good replicas to write."), True, False),
        (error_reply("NOSCRIPT No matching script."), False, True),
    ],
    ids=lambda value: f"{value}"[:24],
)
def test_passing_errors_are_tried_again(error: Exception, reconnect: bool, load: bool) -> None:
    assert interpret(CALLER, error) == Again(error, reconnect=reconnect, load=load)


@pytest.mark.parametrize(
    "words",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "ERR unknown command 'EVALSHA'",
        "FANLIGHTVERSION {fanlight:0}:meta is of contract version 2, this script of 1",
    ],
)
def test_lasting_errors_are_refusals_in_redis_words(words: str) -> None:
    refused = interpret(CALLER, error := error_reply(words))
    assert isinstance(refused, RedisRefused)
    assert words.removeprefix("ERR ") in str(refused)
    assert refused.__cause__ is error


def test_a_closed_channel_is_named() -> None:
    closed = interpret(CALLER, error_reply(f"FANLIGHTCLOSED the channel ended with {ID}"))
    assert isinstance(closed, ChannelClosed)
    assert "'a'" in str(closed)
    assert ID in str(closed)


def test_retention_defaults_to_the_publishers() -> None:
    assert OPTIONS.retention(None, 9) == Retention(500, 9)
