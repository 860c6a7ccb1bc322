"""What must not reach a client although Redis sent it: its place is a hole, and the node lives."""

from __future__ import annotations

import random

import pytest

from publisher.channels import Channel
from publisher.ids import EventId, Position
from publisher.payload import InvalidPayload, Kind, Payload, decode, decode_id
from tests.support.simulation import Browser, SimNode, SimRedis

A = Channel("a")
HEAD = "1 2000-0-000000 {prev} 2000 event"


@pytest.fixture
def redis() -> SimRedis:
    return SimRedis(random.Random(1))


@pytest.fixture
def node(redis: SimRedis) -> SimNode:
    return SimNode(redis, random.Random(1))


def live(node: SimNode) -> Browser:
    browser = Browser([A])
    browser.connect(node)
    assert browser.stream is not None
    node.settle()
    node.hub.start(browser.stream.subscription)
    node.settle()
    return browser


def receive(browser: Browser) -> None:
    assert browser.stream is not None
    browser.stream.receive(1_000_000)


REFUSED = {
    "too large": lambda head: head + b"\n\n" + b"x" * 300_000,
    "not UTF-8": lambda head: head + b"\n\n\xff",
    "NUL": lambda head: head + b"\n\na\0b",
    "a reserved type": lambda head: head + b"\nfanlight.gap\n{}",
    "a carriage return in its type": lambda head: head + b"\na\rb\n{}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_event_is_told_as_a_gap(name: str, node: SimNode, redis: SimRedis) -> None:
    browser = live(node)
    redis.publish(A)
    node.settle()
    last, _ = redis.data.tails[A]
    bad = REFUSED[name](HEAD.format(prev=last.position).encode())
    redis.data.position = Position(2000, 0)
    redis.data.logs[A].append(bad)
    redis.data.tails[A] = (EventId.parse("2000-0-000000"), False)
    node.link.hear(A, bad)
    node.settle()
    redis.publish(A)
    node.settle()
    receive(browser)
    assert [(told.reason, str(told.end)) for told in browser.gaps] == [("invalid", "2000-0-000000")]
    assert len(browser.seen) == 2
    assert node.hub.counts.invalid == 1


def test_what_was_published_past_the_contract_is_nothing_to_us(node: SimNode, redis: SimRedis) -> None:
    browser = live(node)
    node.link.hear(A, b"hello")
    node.link.hear(A, b"")
    redis.publish(A)
    node.settle()
    receive(browser)
    assert len(browser.seen) == 1
    assert not browser.gaps
    assert node.hub.counts.invalid == 2


def test_an_id_is_read_from_a_payload_that_is_otherwise_bad() -> None:
    payload = Payload(EventId.parse("7-1-0000aa"), Position(6, 0), 7, Kind.EVENT, b"t", b"d" * 1000)
    assert decode_id(payload.encode() + b"\xff\0") == payload.id
    for bad in (b"", b"hello", b"2 7-1-0000aa 6-0 7 event\n\n", b"1 7-1-00zz 6-0 7 event\n\n", b"\xff" * 300):
        with pytest.raises(InvalidPayload):
            decode_id(bad)


def test_only_an_end_has_the_end_s_type() -> None:
    end = Payload(EventId.parse("7-1-0000aa"), Position(6, 0), 7, Kind.END, b"fanlight.end", b"{}").encode()
    assert decode(end).kind is Kind.END
    for forged in (end.replace(b" end\n", b" event\n"), end.replace(b"fanlight.end", b"fanlight.open")):
        with pytest.raises(InvalidPayload, match="reserved"):
            decode(forged)
