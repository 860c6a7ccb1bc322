"""Who is behind, and for how much longer that goes well."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.hub.laggards import laggards
from gateway.hub.state import Limits
from gateway.hub.subscription import Subscription
from gateway.protocol.replays import ReplayOutcome, ReplaySource
from gateway.protocol.retention import Kept, seconds_left, share_left
from publisher.channels import Channel
from publisher.ids import Epoch, EventId, Position
from tests.support.simulation import Browser, SimNode, SimRedis, live

if TYPE_CHECKING:
    from gateway.hub.ports import Sink

A, B = Channel("a"), Channel("b")
FULL = Kept(Position(100_000, 0), Position(160_000, 0), 10_000, has_lost=True, expires_seconds=3600)
YOUNG = Kept(Position(100_000, 0), Position(160_000, 0), 1000, has_lost=False, expires_seconds=3600)


@pytest.mark.parametrize(
    ("kept", "cursor_ms", "seconds"),
    [
        (FULL, 130_000, 30),  # its oldest is as far from it as it took to get here
        (FULL, 100_000, 0),
        (FULL, 50_000, 0),
        (FULL, 160_000, math.inf),  # it has all of it
        (FULL, 170_000, math.inf),
        (YOUNG, 100_000, 540),  # 60 s for a tenth of what it may hold
        (YOUNG, 130_000, 570),
        (YOUNG, 50_000, 540),
        (Kept(YOUNG.first, YOUNG.last, 1000, has_lost=False, expires_seconds=7), 130_000, 7),
        (Kept(YOUNG.first, YOUNG.last, 20_000, has_lost=False, expires_seconds=99), 130_000, 30),
        (None, 130_000, 0),  # the stream has expired
    ],
)
def test_seconds_left(kept: Kept | None, cursor_ms: int, seconds: float) -> None:
    left = seconds_left(kept, Position(cursor_ms, 0), most_entries=10_000, now_ms=160_000)
    assert left == pytest.approx(seconds)


def test_a_stream_that_was_quiet_fills_at_its_mean_rate() -> None:
    assert seconds_left(YOUNG, Position(100_000, 0), most_entries=10_000, now_ms=700_000) == 3600
    kept = Kept(YOUNG.first, YOUNG.last, 5000, has_lost=False, expires_seconds=math.inf)
    assert seconds_left(kept, Position(100_000, 0), most_entries=10_000, now_ms=700_000) == 600


@pytest.mark.parametrize(
    ("seconds", "behind_seconds", "share"),
    [
        (59, 1, 59 / 60),  # of a channel that keeps a minute
        (6, 54, 0.1),
        (59, 86_341, 59 / 86_400),
        (0, 60, 0),
        (0, 0, 0),
        (math.inf, 60, 1),
        (30, -5, 1),  # an id may be ahead of the clock
    ],
)
def test_a_minute_is_much_or_little_by_what_is_kept(
    seconds: float, behind_seconds: int, share: float
) -> None:
    left = share_left(seconds, Position(100_000_000, 0), now_ms=100_000_000 + behind_seconds * 1000)
    assert left == pytest.approx(share)


@pytest.fixture
def redis() -> SimRedis:
    return SimRedis(random.Random(1))


@pytest.fixture
def node(redis: SimRedis) -> SimNode:
    return SimNode(redis, random.Random(1), Limits())


def test_only_those_lag_that_miss_something(redis: SimRedis, node: SimNode) -> None:
    hub = node.hub
    stream = live(node, Browser([A]), mark_bytes=200)
    live(node, Browser([A, B]), mark_bytes=1_000_000)
    redis.publish(A)
    node.settle()
    assert not laggards(hub.node, hub.replay).cursors
    while not stream.full:
        redis.publish(A)
        node.settle()
    assert not laggards(hub.node, hub.replay).cursors, "full, and yet it has all that there is"
    cursor = stream.subscription.position
    redis.publish(B)
    node.settle()
    assert not laggards(hub.node, hub.replay).cursors, "B is nothing to it"
    for _ in range(20):
        redis.publish(A)
    node.settle()
    found = laggards(hub.node, hub.replay)
    assert found.cursors == {A: cursor}
    assert found.behind_seconds == (hub.node.position.ms - cursor.ms) / 1000 > 0
    while stream.buffer:
        stream.receive(1_000_000)
        node.settle()
    assert not laggards(hub.node, hub.replay).cursors
    assert not hub.replay.members


def test_replays_are_counted_by_what_they_took_and_what_became_of_them(
    redis: SimRedis, node: SimNode
) -> None:
    replays = node.hub.counts.replays
    first = Browser([A])
    stream = live(node, first, mark_bytes=1_000_000)
    assert replays == {(ReplaySource.NOTHING, ReplayOutcome.COMPLETE): 1}
    redis.publish(A)
    node.settle()
    again = Browser([A])
    again.last_id = first.last_id
    live(node, again, mark_bytes=1_000_000)
    assert replays[ReplaySource.MEMORY, ReplayOutcome.COMPLETE] == 1
    caught_up: list[int] = []
    node.hub.replay.catch_up.on_done = lambda: caught_up.append(replays.total())
    node.link.cut()
    redis.publish(A)
    node.link.connect()
    node.settle()
    assert replays[ReplaySource.REDIS, ReplayOutcome.COMPLETE] == 2
    assert caught_up == [4], "once, when both had"
    node.link.cut()
    assert replays.total() == 4
    node.link.connect()
    node.link.cut()
    assert replays[ReplaySource.NOTHING, ReplayOutcome.LINK_LOST] == 2
    node.hub.unregister(stream.subscription, 0.0)
    assert replays[ReplaySource.NOTHING, ReplayOutcome.STREAM_ENDED] == 1
    assert stream.subscription.replays == 4


def test_a_stream_knows_what_it_got_and_all_of_them_together_are_what_was_delivered(
    redis: SimRedis, node: SimNode
) -> None:
    """Those of one group come and go at different times."""
    hub = node.hub
    streams = []
    for number in range(4):
        streams.append(live(node, Browser([A]), mark_bytes=1_000_000))
        for _ in range(number + 1):
            redis.publish(A)
        node.settle()
    assert hub.groups.delivered == 10 + 9 + 7 + 4
    hub.unregister(streams[1].subscription, 0.0)
    redis.publish(A)
    node.settle()
    assert hub.groups.delivered == 30 + 3
    for number in (0, 2, 3):
        hub.unregister(streams[number].subscription, 0.0)
    subscriptions = [stream.subscription for stream in streams]
    assert [s.events for s in subscriptions] == [11, 9, 8, 5]
    assert hub.groups.delivered == 33
    opened = [len(stream.browser.stream.buffer) for stream in streams if stream.browser.stream is not None]
    assert sum(opened) < sum(s.bytes for s in subscriptions)
    assert hub.groups.delivered_bytes < sum(s.bytes for s in subscriptions), "fanlight.open comes on top"


def test_what_is_left_out_of_the_newest_is_told_and_counted() -> None:
    written: list[bytes] = []
    subscription = Subscription(cast("Sink", SimpleNamespace(write=written.append)), [A, B])
    subscription.write_cut([])
    assert (subscription.gaps, written) == (0, [])
    subscription.write_cut((name, EventId(Position(5, 0), Epoch("0" * 6))) for name in (A, B))
    assert subscription.gaps == 2
    assert subscription.bytes == len(b"".join(written)) > 0
