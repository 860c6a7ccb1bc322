"""Faults of the chain: what is done where the link was whole, and yet an event is missing or unfit."""

from __future__ import annotations

from gateway.hub.groups import Groups
from gateway.hub.replay import Replay
from gateway.hub.state import ChannelState, Counts, Node
from gateway.protocol.gaps import Gap, GapReason
from gateway.protocol.hottail import HotTail, HotTails
from publisher.ids import EventId, Position
from publisher.payload import InvalidPayload, decode_id


class Faults:
    """Heals from the log what can be healed, and tells of the rest."""

    def __init__(
        self, node: Node, groups: Groups, replay: Replay, hot_tails: HotTails, counts: Counts
    ) -> None:
        self._node = node
        self._groups = groups
        self._replay = replay
        self._hot_tails = hot_tails
        self._counts = counts

    def refuse(self, channel: ChannelState, raw: bytes) -> None:
        """A message that must not reach a client. Where it stands in the log, its place is a hole, and
        the replay tells of it; what was published past the contract is nothing to us."""
        self._counts.invalid += 1
        try:
            id_ = decode_id(raw)
        except InvalidPayload:
            return
        position = id_.position
        if id_.epoch != self._node.history.epoch or position <= channel.last:
            return
        if channel.tail is not None:
            self.heal(channel, position)
            self._node.position = max(self._node.position, position)
        channel.last = position

    def heal(self, channel: ChannelState, missed: Position) -> None:
        """The link was whole, yet an event did not come: a writer outside the contract.

        Subscriptions that are not past it read it from the log; for the others it is too late.
        """
        assert channel.tail is not None
        self._counts.holes_healed += 1
        self._groups.flush()
        if missed <= self._node.position:
            self.tell_late(channel, missed)
        else:
            for subscription in self._groups.members(channel.name):
                self._groups.leave(subscription)
                subscription.back_to_replay(self._node.id)
                self._replay.enter(subscription)
                self._replay.schedule(subscription)
        self._hot_tails.discard(channel.tail)
        channel.tail = HotTail(missed, missed)

    def tell_late(self, channel: ChannelState, position: Position) -> None:
        self._groups.flush()
        now = self._node.id
        gap = Gap(
            channel.name, GapReason.LATE, self._node.history.at(channel.last), EventId(position, now.epoch)
        )
        for subscription in self._groups.members(channel.name):
            self._counts.gap(GapReason.LATE.value)
            subscription.write_late_live(gap, now)
        for subscription in channel.subscriptions:
            subscription.note_late(channel.name, gap)
