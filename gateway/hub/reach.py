"""How far memory reaches back: what a subscription reads of the log, and what of the hot tails."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import merge as merge_sorted
from itertools import islice
from typing import Final

from gateway.hub.state import ChannelState
from gateway.hub.subscription import Subscription
from gateway.protocol.hottail import HotTail
from gateway.protocol.merge import Read
from gateway.protocol.publication import Publication
from publisher.ids import Position

_SLICE: Final = 256
"""Events written from memory between two looks at the backlog."""


def tail_of(channel: ChannelState) -> HotTail:
    """The channel's hot tail, which it has: no channel of the subscription is without a floor."""
    assert channel.tail is not None
    return channel.tail


def target_of(subscription: Subscription, channels: Sequence[ChannelState]) -> Position | None:
    """Up to where the log is to be read, before memory has the rest; None where it has all."""
    lagging = [tail_of(c) for c in channels if not tail_of(c).reaches(subscription.lower(c.name))]
    return max((tail.floor for tail in lagging), default=None)


def reads_up_to(
    target: Position, subscription: Subscription, channels: Sequence[ChannelState], *, evicting: bool
) -> list[Read]:
    """What to read of each channel that has something above the cursor, up to the target."""
    reads = []
    for channel in channels:
        tail, lower = tail_of(channel), subscription.lower(channel.name)
        in_doubt = lower < tail.doubt
        expected = tail.last_at(target)
        if lower < target and (expected > lower or in_doubt):
            reads.append(Read(channel.name, lower, target, expected, in_doubt, evicting, channel.end))
    return reads


def from_memory(
    subscription: Subscription, channels: Sequence[ChannelState], most_bytes: int
) -> list[Publication]:
    """A slice of what the hot tails hold above the cursor, in id order."""
    runs = [tail_of(c).after(subscription.lower(c.name)) for c in channels]
    merged = runs[0] if len(runs) == 1 else merge_sorted(*runs, key=_position)
    publications: list[Publication] = []
    size = 0
    for publication in islice(merged, _SLICE):
        publications.append(publication)
        size += len(publication.data)
        if size >= most_bytes:
            break
    return publications


def _position(publication: Publication) -> Position:
    return publication.position
