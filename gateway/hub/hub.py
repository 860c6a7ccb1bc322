"""The hub: what the link ingests goes to the subscriptions, and what goes wrong sends them to replay.

link:  connected -> floor, message, position ... end_of_batch -> lost -> connected ...
http:  register -> (ready) -> start -> drained -> unregister
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gateway.hub.faults import Faults
from gateway.hub.groups import Groups
from gateway.hub.replay import Replay
from gateway.hub.state import ChannelState, Counts, Limits, Node
from gateway.hub.subscription import Phase, Subscription
from gateway.protocol.closing import CloseReason
from gateway.protocol.epochs import History
from gateway.protocol.hottail import HotTail, HotTails
from gateway.protocol.interest import Interest
from gateway.protocol.merge import TAIL_MS
from gateway.protocol.publication import Publication
from gateway.protocol.tracing import FanOut
from publisher.channels import Channel
from publisher.ids import ORIGIN, EventId, Position
from publisher.payload import InvalidPayload, Kind

if TYPE_CHECKING:
    from gateway.hub.ports import Link, Log


class Hub:
    """One node's channels and subscriptions on one partition."""

    def __init__(self, interest: Interest, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.node = Node()
        self.counts = Counts()
        self.groups = Groups()
        self.hot_tails = HotTails(
            channel_bytes=self.limits.hot_tail_bytes, node_bytes=self.limits.hot_tails_bytes
        )
        self.replay = Replay(self.node, self.groups, self.limits, self.counts)
        self._faults = Faults(self.node, self.groups, self.replay, self.hot_tails, self.counts)
        self.on_written: Callable[[Iterable[int]], None] = _unmeasured
        """Told of the events that a batch has brought to live streams: when Redis took them, in Unix ms."""
        self._on_traced: Callable[[Iterable[FanOut]], None] = _untraced
        self._interest = interest
        self._idle: dict[Channel, float] = {}
        self._ended: list[ChannelState] = []
        self._strangers = 0
        self._asked: int | None = None
        """Messages of another epoch came: the ticket of the position read that tells what to make of them."""

    def wire(self, link: Link, log: Log) -> None:
        """Connect it to the outside, once, before anything else is called."""
        self._link = link
        self._log = log
        self.replay.wire(link, log)

    def trace(self, on_traced: Callable[[Iterable[FanOut]], None]) -> None:
        """From now on, tell of the traced events among those that a batch has brought to live streams."""
        self.groups.tracing = True
        self._on_traced = on_traced

    # From the HTTP side.

    def register(self, subscription: Subscription) -> None:
        """Follow its channels. Its sink's `ready` is called once all have floors, unless they do."""
        for name in subscription.channels:
            channel = self.node.channels.get(name)
            if channel is None:
                channel = self.node.channels[name] = ChannelState(name)
                self._interest.want(name)
                self._link.interest_changed()
            self._idle.pop(name, None)
            channel.subscriptions[subscription] = None
            if channel.tail is None:
                subscription.missing += 1

    def is_ready(self, subscription: Subscription) -> bool:
        """Whether it can be started: events published from now on will be delivered."""
        return self.node.in_sync and not subscription.missing

    def is_finished(self, subscription: Subscription) -> bool:
        """Whether its client has seen the end of all its channels (answer 204: it then stops)."""
        cursor = subscription.cursor
        if cursor is None:
            return False
        for name in subscription.channels:
            end = self.node.channels[name].end
            if end is None or cursor.position < end.position:
                return False
            if cursor.epoch not in (end.epoch, self.node.history.epoch):
                return False
        return cursor.position <= self.node.position

    def start(self, subscription: Subscription) -> None:
        """Headers are out: replay, then live."""
        subscription.started = True
        if subscription.last:
            subscription.since = self.node.id
        self.replay.enter(subscription)
        self.replay.advance(subscription)

    def filled(self, subscription: Subscription) -> None:
        """Its backlog has passed the mark: it reads on from the log once that has drained."""
        if subscription.phase is Phase.LIVE:
            self.counts.demoted += 1
            self.groups.leave(subscription)
            subscription.back_to_replay(self.node.id)
            self.replay.enter(subscription)

    def drained(self, subscription: Subscription) -> None:
        """Its backlog has drained."""
        self.replay.schedule(subscription)

    def unregister(self, subscription: Subscription, now: float) -> None:
        """Its connection is gone. Channels that nobody follows any more are left after a linger."""
        self.groups.leave(subscription)
        self.replay.forget(subscription)
        subscription.phase = Phase.ENDED
        for name in subscription.channels:
            channel = self.node.channels.get(name)
            if channel is not None:
                channel.subscriptions.pop(subscription, None)
                if not channel.subscriptions:
                    self._idle[name] = now

    def expire_idle(self, now: float) -> None:
        """Unsubscribe what was idle for the linger."""
        for name, since in tuple(self._idle.items()):
            if now - since < self.limits.linger_seconds:
                break
            del self._idle[name]
            channel = self.node.channels.pop(name)
            if channel.tail is not None:
                self.hot_tails.discard(channel.tail)
            self._interest.unwant(name)
            self._link.interest_changed()

    def work(self, most: int = 64) -> bool:
        """Advance up to `most` subscriptions that can go on. True while more are waiting."""
        return self.replay.work(most)

    # From the link.

    def connected(self, history: History, position: Position, *, evicting: bool) -> None:
        """A new generation: nothing is subscribed yet."""
        self.node.history = history
        self.node.position = position
        self.node.evicting = evicting
        self.node.in_sync = True
        self.counts.generations += 1
        self._log.new_generation()

    def lost(self) -> None:
        """The link is gone: everybody back to replay, and the position stands still."""
        if not self.node.in_sync:
            return
        self._flush()
        self.node.in_sync = False
        self._asked, self._strangers = None, 0
        # Answers of this generation that are still to come must not move a cursor any more.
        self.node.generation += 1
        self.replay.lost()
        for subscription in self.groups.all():
            self.groups.leave(subscription)
        self.hot_tails.clear()
        for channel in self.node.channels.values():
            channel.tail = None
            channel.last = ORIGIN
            channel.end = None
        everybody = dict.fromkeys(s for c in self.node.channels.values() for s in c.subscriptions)
        self.replay.begin_again([s for s in everybody if s.started and s.phase is not Phase.ENDED])
        for subscription in everybody:
            subscription.lost(self.node.id)

    def floor(
        self,
        name: Channel,
        position: Position,
        tail: EventId | None,
        *,
        now_ms: int,
        ended: bool = False,
        doubtful: bool = False,
    ) -> None:
        """The channel is confirmed, and everything up to `position` has passed.

        `tail` is what its tail key held, when Redis' clock stood at `now_ms`: the id of its last event, and
        whether that was its end. It is `doubtful` if it held what is not ours.
        """
        channel = self.node.channels.get(name)
        if channel is None or channel.tail is not None:
            return
        self.node.position = max(self.node.position, position)
        doubt = ORIGIN
        if tail is not None:
            channel.last = max(channel.last, tail.position)
            if ended:
                channel.end = tail
        elif channel.last == ORIGIN:
            unknown = doubtful or self.node.evicting
            # An event whose tail has expired is older than a tail's life. Where nobody publishes, that may
            # be all of the partition's, and the position that of the very last.
            expired = Position(max(0, now_ms - TAIL_MS + 1), 0)
            doubt = position if unknown else min(position, expired)
        channel.tail = HotTail(position, channel.last, doubt)
        for subscription in channel.subscriptions:
            subscription.missing -= 1
            if not subscription.missing:
                if subscription.started:
                    self.replay.schedule(subscription)
                else:
                    subscription.sink.ready()

    def position(self, position: Position, epoch: str, ticket: int) -> None:
        """A position read was answered: everything up to `position` has passed."""
        if epoch != self.node.history.epoch:
            self._link.restart("the epoch changed")
            return
        if position < self.node.position:
            # No event of the contract has an id that `meta` has not reached. As one such id makes all
            # that follow it late, begin anew rather than wait for the clock to get there.
            self._link.restart("an event was ahead of its partition's position")
            return
        self.node.position = position
        if self._asked is not None and ticket >= self._asked:
            # The epoch is what it was: somebody else wrote them.
            self.counts.invalid += self._strangers
            self._asked, self._strangers = None, 0
        self.replay.position_read(ticket)

    def message(self, name: Channel, raw: bytes) -> None:
        """A pub/sub message of a channel."""
        channel = self.node.channels.get(name)
        if channel is None:
            return
        try:
            if len(raw) > self.limits.max_payload_bytes:
                raise InvalidPayload("too large")
            publication = Publication.decode(name, raw)
        except InvalidPayload:
            self._faults.refuse(channel, raw)
            return
        if publication.id.epoch != self.node.history.epoch:
            # The script writes meta before it publishes, so a position read tells. Until then the position
            # stands still, and what is left out here is replayed if the epoch has changed.
            self._strangers += 1
            if self._asked is None:
                self._asked = self._link.read_position()
            return
        position = publication.position
        if channel.tail is None:
            # Not confirmed yet, or no floor: the log has it. The chain goes on from it all the same.
            channel.last = max(channel.last, position)
            self._note_end(channel, publication)
            return
        if position <= channel.tail.floor or position <= channel.last:
            return
        self.counts.ingested += 1
        # What is at or below the floor is the log's: where the tail was gone, `last` does not know of it.
        if publication.prev > max(channel.last, channel.tail.floor):
            self._faults.heal(channel, publication.prev)
        if position <= self.node.position:
            self._faults.tell_late(channel, position)
        else:
            self.node.position = position
            self.groups.add(publication)
        channel.last = position
        self.hot_tails.append(channel.tail, publication)
        self._note_end(channel, publication)

    def _note_end(self, channel: ChannelState, publication: Publication) -> None:
        if publication.kind is Kind.END:
            channel.end = publication.id
            self._ended.append(channel)
        else:
            channel.end = None

    def end_of_batch(self) -> bool:
        """All that had arrived is ingested: one write for each live subscription. Whether there was any."""
        written = self.groups.dirty
        self.counts.batches += written
        self._flush()
        if self._ended:
            ended, self._ended = self._ended, []
            for channel in ended:
                for subscription in self.groups.members(channel.name):
                    if all(self.node.channels[name].end for name in subscription.channels):
                        self.groups.leave(subscription)
                        subscription.phase = Phase.ENDED
                        subscription.sink.end(CloseReason.CHANNELS_ENDED)
        return written

    def _flush(self) -> None:
        """Write, and tell when."""
        fan_outs = self.groups.take_fan_outs() if self.groups.traced else None
        self.groups.flush()
        if fan_outs is not None:
            self._on_traced(fan_outs)
        if walls_ms := self.groups.walls_ms:
            self.groups.walls_ms = []
            self.on_written(walls_ms)


def _unmeasured(_: Iterable[int]) -> None:
    """Nobody asks how long it took."""


def _untraced(_: Iterable[FanOut]) -> None:
    """Nobody asks where they went."""
