from __future__ import annotations

import pytest
from redis import exceptions

from publisher import BatchFailed, ChannelClosed, Event, Published, RedisRefused, RedisUnreachable
from publisher.commands import SCRIPT, SCRIPT_SHA, Command, Options, event_commands
from publisher.exchange import MAX_REQUEST_BYTES, MAX_REQUEST_EVENTS, Batch, Exchange

CLOSED = exceptions.ResponseError("FANLIGHTCLOSED the channel ended with 1-0-0a1b2c")
NOSCRIPT = exceptions.NoScriptError("No matching script.", status_code="NOSCRIPT")
CUT = exceptions.ConnectionError("Connection closed by server.")
NOPERM = exceptions.NoPermissionError("no permissions", status_code="NOPERM")


def commands(count: int, data: str = "") -> list[Command]:
    options = Options(max_event_bytes=MAX_REQUEST_BYTES)
    return event_commands(options, [Event(channel="a", data=data)] * count, None, None)


def reply(number: int) -> list[object]:
    return [b"%d-0-0a1b2c" % number, 0]


def published(number: int) -> Published:
    return Published("a", f"{number}-0-0a1b2c", False)


def test_a_single_event_is_one_evalsha() -> None:
    (command,) = commands(1)
    exchange = Exchange([command])
    assert exchange.request() == [("EVALSHA", SCRIPT_SHA, *command.arguments)]
    exchange.answered([reply(1)])
    assert exchange.done
    assert exchange.result() == published(1)


def test_a_missing_script_is_sent_along_at_once() -> None:
    (command,) = commands(1)
    exchange = Exchange([command])
    exchange.request()
    exchange.answered([NOSCRIPT])
    assert exchange.delay_seconds(10, 0.9) == 0
    assert exchange.request() == [("EVAL", SCRIPT, *command.arguments)]


def test_several_events_bring_the_script_along() -> None:
    batch = commands(3)
    exchange = Exchange(batch)
    assert exchange.request() == [
        ("SCRIPT LOAD", SCRIPT),
        *(("EVALSHA", SCRIPT_SHA, *command.arguments) for command in batch),
    ]


def test_only_what_is_pending_is_sent_again_and_with_the_same_keys() -> None:
    batch = commands(4)
    exchange = Exchange(batch)
    exchange.request()
    exchange.answered([b"sha", reply(1), NOSCRIPT, CLOSED, NOSCRIPT])
    assert not exchange.done
    assert exchange.request()[1:] == [("EVALSHA", SCRIPT_SHA, *batch[i].arguments) for i in (1, 3)]
    exchange.answered([b"sha", reply(2), reply(4)])
    first, second, third, fourth = exchange.results
    assert (first, second, fourth) == (published(1), published(2), published(4))
    assert isinstance(third, ChannelClosed)


def test_a_script_that_is_missing_again_and_again_is_waited_for() -> None:
    exchange = Exchange(commands(2))
    for _ in range(2):
        exchange.request()
        exchange.answered([b"sha", NOSCRIPT, NOSCRIPT])
    delay = exchange.delay_seconds(10, 0.5)
    assert delay is not None
    assert delay > 0


def test_a_server_that_refuses_the_script_is_not_asked_again() -> None:
    exchange = Exchange(commands(2))
    exchange.request()
    exchange.answered([NOPERM, NOSCRIPT, NOSCRIPT])
    assert exchange.done
    assert all(isinstance(result, RedisRefused) for result in exchange.results)


def test_a_refused_script_does_not_matter_where_redis_knows_it() -> None:
    exchange = Exchange(commands(2))
    exchange.request()
    exchange.answered([NOPERM, reply(1), reply(2)])
    assert exchange.results == [published(1), published(2)]


def test_a_cut_connection_repeats_all_that_was_not_answered() -> None:
    exchange = Exchange(commands(3))
    sent = exchange.request()
    exchange.failed(CUT)
    assert exchange.request() == sent


def test_delays_grow_with_the_failures() -> None:
    exchange = Exchange(commands(1))
    delays = []
    for _ in range(5):
        exchange.request()
        exchange.failed(CUT)
        delays.append(exchange.delay_seconds(100, 0.5))
    assert delays == [0.025, 0.05, 0.1, 0.2, 0.4]


@pytest.mark.parametrize(("code", "reconnect"), [("READONLY", True), ("LOADING", False)])
def test_a_replica_means_a_new_connection_for_the_next_attempt(code: str, reconnect: bool) -> None:
    exchange = Exchange(commands(1))
    exchange.request()
    exchange.answered([exceptions.ResponseError("no", status_code=code)])
    assert exchange.reconnect == reconnect
    exchange.request()
    exchange.failed(CUT)
    assert not exchange.reconnect


def test_giving_up_says_why() -> None:
    exchange = Exchange(commands(1))
    exchange.request()
    exchange.failed(CUT)
    assert exchange.delay_seconds(0, 0.5) is None
    exchange.give_up(10)
    with pytest.raises(RedisUnreachable, match=r"within 10 s, in 1 attempts.*closed by server") as caught:
        exchange.result()
    assert caught.value.__cause__ is CUT


def test_parts_are_bounded_in_events() -> None:
    sizes = []
    batch = Batch(commands(2 * MAX_REQUEST_EVENTS + 1))
    for exchange in batch:
        size = len(exchange.request())
        sizes.append(size)
        exchange.answered([reply(1)] * size)
    assert sizes == [MAX_REQUEST_EVENTS + 1, MAX_REQUEST_EVENTS + 1, 1]
    assert len(batch.results()) == 2 * MAX_REQUEST_EVENTS + 1


def test_parts_are_bounded_in_bytes() -> None:
    sizes = []
    for exchange in Batch(commands(6, "x" * (MAX_REQUEST_BYTES // 2))):
        sizes.append(len(exchange.request()) - 1)
        exchange.answered([b"sha", *[reply(1)] * sizes[-1]])
    assert sizes == [2, 2, 2]


def test_an_empty_batch_is_no_exchange() -> None:
    batch = Batch([])
    assert list(batch) == []
    assert batch.results() == []


def test_what_befell_the_whole_call_is_raised_itself() -> None:
    batch = Batch(commands(MAX_REQUEST_EVENTS + 5))
    exchanges = 0
    for exchange in batch:
        exchanges += 1
        exchange.request()
        exchange.failed(exceptions.AuthenticationError("Authentication required.", status_code="NOAUTH"))
    assert exchanges == 1
    with pytest.raises(RedisRefused, match="NOAUTH Authentication required"):
        batch.results()


def test_what_was_published_before_redis_went_away_is_told() -> None:
    batch = Batch(commands(2 * MAX_REQUEST_EVENTS + 5))
    for number, exchange in enumerate(batch):
        size = len(exchange.request())
        if number == 0:
            exchange.answered([reply(1)] * size)
        else:
            exchange.failed(CUT)
            exchange.give_up(10)
    with pytest.raises(BatchFailed) as caught:
        batch.results()
    results = caught.value.results
    assert len(results) == 2 * MAX_REQUEST_EVENTS + 5
    assert all(isinstance(result, Published) for result in results[:MAX_REQUEST_EVENTS])
    assert all(isinstance(result, RedisUnreachable) for result in results[MAX_REQUEST_EVENTS:])
    assert "not sent" in str(results[-1])


def test_a_batch_of_one_that_is_refused_is_a_failed_batch() -> None:
    batch = Batch(commands(1))
    for exchange in batch:
        exchange.request()
        exchange.answered([CLOSED])
    with pytest.raises(BatchFailed, match="1 of 1 events"):
        batch.results()
