"""Turns to read the log: bounded, in order, and never kept by who has just had one."""

from __future__ import annotations

import random
from typing import cast

import pytest

from gateway.hub.ports import Sink
from gateway.hub.state import Limits
from gateway.hub.subscription import Phase, Subscription
from gateway.hub.turns import Turns
from publisher.channels import Channel
from tests.support.simulation import Browser, SimNode, SimRedis, SimStream

A, B = Channel("a"), Channel("b")


def asking(turns: Turns, count: int) -> list[Subscription]:
    """So many that have asked, in this order."""
    subscriptions = [Subscription(cast("Sink", None), [A]) for _ in range(count)]
    for subscription in subscriptions:
        turns.ask(subscription)
    return subscriptions


def test_who_asks_first_reads_first() -> None:
    turns = Turns(2)
    first, second, third, fourth = asking(turns, 4)
    assert (turns.under_way, turns.due) == (2, False)
    assert all(each.reading for each in (first, second, third, fourth))
    turns.end(second)
    assert not second.reading
    # The one that reads on asks before the next is called, and is behind it all the same.
    assert not turns.ask(second)
    for expected in (third, fourth, second):
        assert turns.due
        assert turns.call() is expected
        assert turns.ask(expected)
        assert not turns.due
        turns.end(expected)


def test_who_is_called_and_does_not_ask_costs_nobody_a_turn() -> None:
    turns = Turns(1)
    first, _, third = asking(turns, 3)
    turns.end(first)
    turns.call()
    assert turns.call() is third
    assert turns.ask(third)


def test_who_is_gone_is_not_called() -> None:
    turns = Turns(1)
    first, second, third = asking(turns, 3)
    turns.forget(second)
    turns.end(first)
    assert turns.call() is third


def test_a_new_generation_begins_empty() -> None:
    turns = Turns(1)
    asking(turns, 3)
    turns.reset()
    assert (turns.under_way, turns.due) == (0, False)
    [again] = asking(turns, 1)
    assert again.reading


# In the hub.


@pytest.fixture
def redis() -> SimRedis:
    return SimRedis(random.Random(1))


@pytest.fixture
def node(redis: SimRedis) -> SimNode:
    """One read at a time, and nothing in memory."""
    return SimNode(redis, random.Random(1), Limits(hot_tail_bytes=0, page_bytes=1, max_replays=1))


def step(node: SimNode) -> None:
    node.link.send_work()
    node.link.execute()
    node.link.ingest(100)
    node.hub.work()


def started(node: SimNode, browser: Browser) -> SimStream:
    browser.connect(node)
    stream = browser.stream
    assert stream is not None
    stream.mark_bytes = 1_000_000
    for _ in range(10):
        step(node)
    node.hub.start(stream.subscription)
    return stream


def behind(redis: SimRedis, channel: Channel, count: int) -> Browser:
    """A client that has missed so many events."""
    browser = Browser([channel])
    redis.publish(channel)
    browser.last_id = str(redis.facts[-1].id)
    for _ in range(count):
        redis.publish(channel)
    return browser


def test_a_long_replay_does_not_keep_a_short_one_out(redis: SimRedis, node: SimNode) -> None:
    long = started(node, behind(redis, A, 1000))
    short = started(node, behind(redis, B, 1))
    for _ in range(1000):
        step(node)
        node.log.go_on()
        if short.subscription.phase is Phase.LIVE:
            break
    assert short.subscription.phase is Phase.LIVE
    assert long.subscription.phase is Phase.REPLAY


def test_a_search_for_the_newest_is_a_read_like_any(redis: SimRedis, node: SimNode) -> None:
    redis.publish(A)
    streams = [started(node, Browser([A], last=1)) for _ in range(50)]
    assert len(node.log.pending) == 1
    for stream in streams[:49]:
        node.hub.unregister(stream.subscription, 0.0)
    for _ in range(100):
        step(node)
        node.log.go_on()
    assert streams[49].subscription.phase is Phase.LIVE
    # Of those who left, one had begun to read.
    assert node.log.searches == 2
