"""Where a replay begins: at its client's cursor, at the newest events of its channels, or now.

`find` gives a subscription its position in the history, and tells what stands between it and what the client
has asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.hub.queue import Queue
from gateway.hub.reach import tail_of
from gateway.hub.state import ChannelState, Counts, Node
from gateway.hub.subscription import Phase, Subscription
from gateway.protocol.gaps import GapReason
from gateway.protocol.merge import Start
from publisher.channels import Channel
from publisher.ids import ORIGIN, EventId, Position

if TYPE_CHECKING:
    from gateway.hub.ports import Log


class Beginning:
    """Finds it, for one subscription after the other."""

    def __init__(self, node: Node, counts: Counts, queue: Queue) -> None:
        self._node = node
        self._counts = counts
        self._queue = queue

    def wire(self, log: Log) -> None:
        self._log = log

    def find(self, subscription: Subscription, channels: list[ChannelState]) -> bool:
        """Give the client's cursor its place in the history. False: the answer comes later."""
        node = self._node
        cursor = subscription.cursor
        if cursor is None:
            if subscription.malformed:
                return self.after_gap(subscription, channels, GapReason.UNKNOWN_CURSOR)
            return self._begin(subscription, channels)
        path = node.history.path(cursor)
        if path is None:
            return self.after_gap(subscription, channels, GapReason.EPOCH)
        subscription.resume(path)
        return True

    def after_gap(self, subscription: Subscription, channels: list[ChannelState], reason: GapReason) -> bool:
        """The cursor is of no use: say so, and begin as without one."""
        self._counts.gap(reason.value)
        subscription.write_gap(reason, self._node.id)
        # It may have to wait for a turn to read, and is not told again when that has come.
        subscription.cursor, subscription.malformed, subscription.resolved = None, False, False
        return self._begin(subscription, channels)

    def end_due(self, subscription: Subscription, channel: ChannelState) -> EventId | None:
        """The end of the channel, where a client that begins now is to be told of it."""
        end = channel.end
        if end is None or end.epoch in self._node.history.epochs:
            return end
        return end if end.position > self._forgotten(subscription) else None

    def _begin(self, subscription: Subscription, channels: list[ChannelState]) -> bool:
        """Begin without a cursor. False: the answer comes later."""
        if subscription.last and not subscription.opened:
            return self._with_last(subscription, channels)
        self._now(subscription, channels)
        return True

    def _now(self, subscription: Subscription, channels: list[ChannelState]) -> None:
        """From the node's position."""
        subscription.crossing.clear()
        starts = dict.fromkeys(subscription.channels, self._node.position)
        self._at(subscription, channels, starts)

    def _with_last(self, subscription: Subscription, channels: list[ChannelState]) -> bool:
        """Find where each channel's newest events begin; from there on it is a replay like any."""
        begin: dict[Channel, Position] = {}
        cut: list[Channel] = []
        unknown: list[Channel] = []
        for channel in channels:
            start = tail_of(channel).below_newest(subscription.last)
            if start is None:
                unknown.append(channel.name)
            else:
                begin[channel.name] = start

        def resolve(starts: Sequence[Start]) -> None:
            for name, start in zip(unknown, starts, strict=True):
                begin[name] = start.below
                if start.cut:
                    cut.append(name)
            forgotten = self._forgotten(subscription)
            begin.update({name: max(start, forgotten) for name, start in begin.items()})
            self._not_above_since(subscription, begin)
            self._counts.cut_beginnings += bool(cut)
            subscription.write_cut((name, self._node.history.at(begin[name])) for name in cut)
            self._at(subscription, channels, begin)

        if not unknown:
            resolve(())
            return True
        if not self._queue.may_read(subscription):
            return False
        generation = self._node.generation

        def done(starts: Sequence[Start]) -> None:
            if self._queue.answered(subscription, generation):
                resolve(starts)
                self._queue.add(subscription)

        def wanted() -> bool:
            return subscription.phase is Phase.REPLAY

        self._log.newest(unknown, self._node.position, subscription.last, wanted, done)
        return False

    def _not_above_since(self, subscription: Subscription, begin: dict[Channel, Position]) -> None:
        """The newest events were found some time after the headers were out: behind other reads, or on
        another link. They are no substitute for what was published in between."""
        assert subscription.since is not None
        path = self._node.history.path(subscription.since)
        if path is None:
            self._counts.gap(GapReason.EPOCH.value)
            subscription.write_gap(GapReason.EPOCH, self._node.id)
            return
        subscription.crossing = deque(path.crossing)
        for name, start in begin.items():
            begin[name] = min(start, path.start)

    def _at(
        self, subscription: Subscription, channels: list[ChannelState], starts: dict[Channel, Position]
    ) -> None:
        """From these positions; a channel that has ended tells its end once."""
        for channel in channels:
            if end := self.end_due(subscription, channel):
                starts[channel.name] = min(starts[channel.name], end.position.before())
        subscription.starts = starts
        subscription.position = min(starts.values())
        subscription.resolved = True

    def _forgotten(self, subscription: Subscription) -> Position:
        """The place of a client whose epoch nobody knows any more; ORIGIN of any other.

        What the log has of such epochs, at or below it, the client may hold. Which came first of two epochs
        that are forgotten nobody can say, so positions decide; who has missed something after all is told of
        a gap up to now.
        """
        shown = subscription.shown
        return ORIGIN if shown is None or shown.epoch in self._node.history.epochs else shown.position
