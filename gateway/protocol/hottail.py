"""The hot tail: a channel's newest publications, in memory, complete above its floor.

The floor is a position. Everything of the channel above it that this node's link has passed is in the
ring; what lies at or below it is in the log (the Redis stream). When the ring drops its oldest, the
floor rises to it. `floor_last` is the channel's last event at or below the floor, which is how a reader
knows whether the log holds anything for it, and where a read of the log has to end. A cursor below
`doubt` is one for which no tail was left to tell.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from gateway.protocol.publication import Publication
from publisher.ids import ORIGIN, Position


class HotTail:
    """One channel's ring. It begins empty, at the floor that a position read gave."""

    __slots__ = ("_ring", "bytes", "doubt", "floor", "floor_last")

    def __init__(self, floor: Position, floor_last: Position, doubt: Position = ORIGIN) -> None:
        self.floor = floor
        self.floor_last = floor_last
        self.doubt = doubt
        self._ring: deque[Publication] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._ring)

    def append(self, publication: Publication) -> None:
        self._ring.append(publication)
        self.bytes += publication.size_bytes

    def drop_oldest(self) -> int:
        """Returns how many bytes that frees."""
        oldest = self._ring.popleft()
        self.bytes -= oldest.size_bytes
        self.floor = self.floor_last = oldest.position
        return oldest.size_bytes

    def reaches(self, cursor: Position) -> bool:
        """Whether the ring alone holds all that comes after `cursor`."""
        return cursor >= self.floor or (cursor >= self.floor_last and cursor >= self.doubt)

    def after(self, cursor: Position) -> Iterator[Publication]:
        """The publications above `cursor`, the oldest first. Found from the newest end."""
        ring = self._ring
        start = len(ring)
        while start and ring[start - 1].position > cursor:
            start -= 1
        return (ring[index] for index in range(start, len(ring)))

    def below_newest(self, count: int) -> Position | None:
        """The position just below the newest `count` events; None where the ring holds fewer."""
        if len(self._ring) < count:
            return None
        return self._ring[-count].position.before()

    def last_at(self, bound: Position) -> Position:
        """The channel's last event at or below `bound`, which is at least the floor."""
        for publication in reversed(self._ring):
            if publication.position <= bound:
                return publication.position
        return self.floor_last


class HotTails:
    """The bounds of all hot tails: bytes for each channel, and for the node.

    Over the node's bound, the channel that was quiet for longest gives up its oldest first.
    """

    def __init__(self, *, channel_bytes: int, node_bytes: int) -> None:
        self._channel_bytes = channel_bytes
        self._node_bytes = node_bytes
        self._by_age: OrderedDict[HotTail, None] = OrderedDict()
        self.bytes = 0
        self.dropped = 0

    def append(self, tail: HotTail, publication: Publication) -> None:
        tail.append(publication)
        self.bytes += publication.size_bytes
        while tail.bytes > self._channel_bytes and len(tail):
            self.bytes -= tail.drop_oldest()
            self.dropped += 1
        by_age = self._by_age
        by_age[tail] = None
        by_age.move_to_end(tail)
        while self.bytes > self._node_bytes and by_age:
            quietest = next(iter(by_age))
            if len(quietest):
                self.bytes -= quietest.drop_oldest()
                self.dropped += 1
            else:
                del by_age[quietest]

    def discard(self, tail: HotTail) -> None:
        """The channel's tail is gone: unsubscribed, or of an older generation."""
        if self._by_age.pop(tail, 0) is None:
            self.bytes -= tail.bytes

    def clear(self) -> None:
        self._by_age.clear()
        self.bytes = 0
