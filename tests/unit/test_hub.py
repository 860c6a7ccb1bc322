"""The hub, where a schedule of dice can't say what should have been told."""

from __future__ import annotations

import random

import pytest

from gateway.hub.state import Limits
from gateway.hub.subscription import Phase
from publisher.channels import Channel
from publisher.ids import EventId
from publisher.payload import Kind
from tests.support.simulation import Browser, SimNode, SimRedis, SimStream, live

A, B = Channel("a"), Channel("b")


@pytest.fixture
def redis() -> SimRedis:
    return SimRedis(random.Random(1))


@pytest.fixture
def node(redis: SimRedis) -> SimNode:
    return SimNode(redis, random.Random(1), Limits())


def missed(redis: SimRedis, channel: Channel) -> EventId:
    """Somebody writes an event past the contract; nobody hears of it."""
    redis.mute(channel)
    last, _ = redis.data.tails[channel]
    return last


def test_what_is_late_is_told_to_the_slow_ones_too_once_they_go_on(redis: SimRedis, node: SimNode) -> None:
    slow, quick = Browser([A, B]), Browser([A, B])
    stream, other = live(node, slow, mark_bytes=100), live(node, quick, mark_bytes=1_000_000)
    hidden = []
    for _ in range(3):
        hidden.append(missed(redis, A))
        for _ in range(5):
            redis.publish(B)
        node.settle()  # past it, without a sign of it
        redis.publish(A)
        node.settle()  # the chain tells
    assert stream.full
    before = len(stream.buffer)
    redis.publish(A)
    node.settle()
    assert len(stream.buffer) == before, "what does not read costs nothing more"
    while stream.buffer:
        stream.receive(1_000_000)
        node.settle()
    other.receive(1_000_000)
    assert [gap.end for gap in quick.gaps] == hidden
    for browser in (slow, quick):
        assert {gap.reason for gap in browser.gaps} == {"late"}
        for id_ in hidden:
            assert id_ in browser.seen or any(
                gap.start is not None
                and gap.end is not None
                and gap.start.position < id_.position
                and id_.position <= gap.end.position
                for gap in browser.gaps
            )
        assert [fact.id for fact in redis.facts] == [id_ for id_ in browser.seen if id_ not in hidden]


def test_a_message_of_an_epoch_that_nobody_knows_costs_nobody_anything(
    redis: SimRedis, node: SimNode
) -> None:
    browser = Browser([A, B])
    stream = live(node, browser, mark_bytes=1_000_000)
    for number in range(10):
        redis.publish(A)
        for _ in range(100):
            node.link.hear(A, f"1 {2000 + number}-0-ffffff 0-0 0 event\n\n{{}}".encode())
        redis.publish(A)
        node.settle()
    stream.receive(1_000_000)
    assert browser.seen == [fact.id for fact in redis.facts]
    assert not browser.gaps
    assert (node.hub.counts.generations, node.hub.counts.invalid) == (1, 1000)


def test_an_epoch_that_begins_on_the_same_link_is_noticed_at_its_first_event(
    redis: SimRedis, node: SimNode
) -> None:
    browser = Browser([A, B])
    stream = live(node, browser, mark_bytes=1_000_000)
    redis.publish(A)
    node.settle()
    redis.promote()
    redis.publish(B)
    node.settle()
    assert not node.link.up
    node.link.connect()
    node.settle()
    stream.receive(1_000_000)
    assert redis.facts[-1].id in browser.seen
    assert [gap.reason for gap in browser.gaps] == ["failover"]
    assert node.hub.counts.invalid == 0


def started(node: SimNode, browser: Browser) -> SimStream:
    """Floors are there, and a read of the log is under way."""
    browser.connect(node)
    stream = browser.stream
    assert stream is not None
    stream.mark_bytes = 1_000_000
    for _ in range(20):
        node.link.send_work()
        node.link.execute()
        node.link.ingest(100)
    node.hub.start(stream.subscription)
    node.hub.work()
    assert node.log.pending
    return stream


@pytest.mark.parametrize("link_is_cut_first", [False, True])
def test_a_log_that_has_seen_a_break_before_the_link_is_not_written_twice(
    redis: SimRedis, node: SimNode, link_is_cut_first: bool
) -> None:
    """The primary changes under a replay: what it reads is of an epoch that the link has not heard of."""
    browser = Browser([A])
    browser.last_id = f"{redis.data.position}-{redis.epoch}"
    redis.replicates = False  # so all this is lost with the primary, and its positions are given out again
    for channel in [A] * 10 + [B] * 90 + [A]:
        redis.publish(channel)
    stream = started(node, browser)
    redis.promote()
    redis.publish(A)
    assert redis.data.position < stream.node.hub.node.position
    node.log.go_on()
    node.log.go_on()
    if link_is_cut_first:
        node.link.cut()
    node.settle()
    node.link.connect()
    node.settle()
    stream.receive(1_000_000)
    assert browser.seen == [redis.facts[-1].id]
    assert [gap.reason for gap in browser.gaps] == ["failover"]


def test_events_from_before_all_that_redis_remembers_are_replayed(redis: SimRedis, node: SimNode) -> None:
    redis.publish(A)
    redis.forget_epochs()
    node.link.cut()
    node.link.connect()
    browser = Browser([A], last=5)
    stream = started(node, browser)
    node.settle()
    stream.receive(1_000_000)
    assert browser.seen == [redis.facts[0].id]
    assert stream.subscription.phase is Phase.LIVE


@pytest.mark.parametrize("promoted", [False, True])
def test_what_comes_after_the_head_is_not_lost_with_the_search_for_the_newest(
    redis: SimRedis, node: SimNode, promoted: bool
) -> None:
    """The link is lost while a fresh client waits for its newest event: what is newer by then is no
    substitute for what was published after its headers."""
    for _ in range(3):
        redis.publish(A)
    node.link.cut()  # nothing of it is in memory
    node.link.connect()
    browser = Browser([A], last=1)
    stream = started(node, browser)
    head = len(redis.facts)
    node.link.cut()
    if promoted:
        redis.publish(B)
        redis.promote()
    for _ in range(5):
        redis.publish(A)
    node.link.connect()
    node.settle()
    stream.receive(1_000_000)
    published = [fact.id for fact in redis.facts[head:] if fact.channel == A]
    assert browser.seen[-len(published) :] == published
    assert stream.subscription.phase is Phase.LIVE
    assert {gap.reason for gap in browser.gaps} == ({"failover"} if promoted else set())


def test_what_comes_after_the_head_is_not_lost_while_others_read(redis: SimRedis) -> None:
    """All turns are taken; the newest event of now is not the newest of then."""
    node = SimNode(redis, random.Random(1), Limits(max_replays=1))
    for _ in range(3):
        redis.publish(A)
    node.link.cut()  # nothing of it is in memory
    node.link.connect()
    first, second = Browser([A], last=5), Browser([A], last=1)
    streams = [started(node, browser) for browser in (first, second)]
    head = len(redis.facts)
    for _ in range(5):
        redis.publish(A)
    node.settle()
    for stream in streams:
        stream.receive(1_000_000)
    published = [fact.id for fact in redis.facts[head:]]
    assert second.seen[-len(published) :] == published
    assert not second.gaps


@pytest.mark.parametrize("cursor", ["no id", "5-0-ffffff", "999999999-0-000000"])
def test_a_cursor_of_no_use_is_told_once_however_long_it_waits_to_read(redis: SimRedis, cursor: str) -> None:
    node = SimNode(redis, random.Random(1), Limits(max_replays=1))
    for _ in range(3):
        redis.publish(A)
    node.link.cut()  # nothing of it is in memory
    node.link.connect()
    first, second = Browser([A], last=5), Browser([A], last=1)
    second.last_id = cursor
    started(node, first)
    stream = started(node, second)
    for _ in range(5):
        node.link.execute()
        node.link.ingest(100)
        node.hub.work()
    node.settle()
    stream.receive(1_000_000)
    assert len(second.gaps) == 1
    assert second.seen == [redis.facts[-1].id]


def test_an_end_is_told_once_however_many_epochs_have_passed(redis: SimRedis, node: SimNode) -> None:
    """The client is told that its place is unknown by now, but it has seen that the channel had ended."""
    browser = Browser([A, B])
    stream = live(node, browser, mark_bytes=1_000_000)
    redis.publish(A, kind=Kind.END)
    node.settle()
    stream.receive(1_000_000)
    assert len(browser.seen) == 1
    redis.forget_epochs()
    node.link.cut()
    node.link.connect()
    node.settle()
    redis.publish(B)
    node.settle()
    stream.receive(1_000_000)
    assert [gap.reason for gap in browser.gaps] == ["epoch"]
    assert browser.seen[1:] == [redis.facts[-1].id]
