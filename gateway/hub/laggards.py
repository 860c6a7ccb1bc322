"""Who is behind, of those in replay: nobody else can be."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Final

from gateway.hub.replay import Replay
from gateway.hub.state import Node
from gateway.hub.subscription import Subscription
from gateway.protocol.retention import Laggards
from publisher.channels import Channel
from publisher.ids import Position

_STREAMS: Final = 100
_CHANNELS: Final = 16
"""So many are looked at, the furthest behind first: a look costs the same, however many there are."""


def laggards(node: Node, replay: Replay) -> Laggards:
    """As they are now."""
    behind_ms = 0
    cursors: dict[Channel, Position] = {}
    for _, name, lower in behind(node, replay, _STREAMS):
        behind_ms = max(behind_ms, node.position.ms - lower.ms)
        cursors[name] = min(lower, cursors.get(name, lower))
    lowest = nsmallest(_CHANNELS, cursors.items(), key=lambda item: item[1])
    return Laggards(behind_ms / 1000, dict(lowest))


def behind(node: Node, replay: Replay, most: int) -> Iterator[tuple[Subscription, Channel, Position]]:
    """Of the streams furthest behind: each channel of which there is something that they have not got, and
    their cursor on it. Positions of another epoch say nothing about the present one's, and are left out."""
    candidates = (s for s in replay.members if s.resolved and not s.crossing and s.position < node.position)
    for subscription in nsmallest(most, candidates, key=_position):
        for name in subscription.channels:
            lower = subscription.lower(name)
            if lower < node.channels[name].last:
                yield subscription, name, lower


def _position(subscription: Subscription) -> Position:
    return subscription.position
