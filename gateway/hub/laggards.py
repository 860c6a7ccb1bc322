"""Who is behind, of those in replay: nobody else can be."""

from __future__ import annotations

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
    """As they are now. Positions of another epoch say nothing about the present one's, and are left out."""
    candidates = (s for s in replay.members if s.resolved and not s.crossing and s.position < node.position)
    behind_ms = 0
    cursors: dict[Channel, Position] = {}
    for subscription in nsmallest(_STREAMS, candidates, key=_position):
        for name in subscription.channels:
            lower = subscription.lower(name)
            if lower < node.channels[name].last:
                behind_ms = max(behind_ms, node.position.ms - lower.ms)
                cursors[name] = min(lower, cursors.get(name, lower))
    lowest = nsmallest(_CHANNELS, cursors.items(), key=lambda item: item[1])
    return Laggards(behind_ms / 1000, dict(lowest))


def _position(subscription: Subscription) -> Position:
    return subscription.position
