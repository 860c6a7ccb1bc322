"""Redis evicted a channel's tail: what a node then knows, and what it must not make of it."""

from __future__ import annotations

from publisher.channels import Channel
from publisher.ids import Position
from tests.support.simulation import SimNode, SimRedis
from tests.unit.test_refused_messages import live, node, receive, redis

__all__ = ["node", "redis"]  # fixtures

A = Channel("a")


def test_what_a_live_stream_s_first_event_follows_is_no_hole(node: SimNode, redis: SimRedis) -> None:
    """Where the tail is gone the script takes `prev` from the stream: below the floor, unknown to us."""
    redis.publish(A)
    top, _ = redis.data.tails.pop(A)
    redis.data.position = Position(top.position.ms + 5, 0)
    browser = live(node)
    redis.data.tails[A] = (top, False)  # what the script finds at the stream's end
    redis.publish(A)
    node.settle()
    receive(browser)
    assert len(browser.seen) == 1
    assert not browser.gaps
    assert node.hub.counts.holes_healed == 0
