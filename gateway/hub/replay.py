"""Replay from a cursor, then live: the one mechanism, as steps that are each synchronous.

`advance` takes a subscription as far as it gets without waiting: it finds where to begin
(`gateway.hub.beginning`), waits for floors, asks for pages of the log, writes from the hot tails, and flips
to LIVE in the same step in which the last event from memory was written. Nothing may come between those two,
or an event could arrive that is in neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.hub.beginning import Beginning
from gateway.hub.catch_up import CatchUp
from gateway.hub.groups import Groups
from gateway.hub.queue import Queue
from gateway.hub.reach import from_memory, reads_up_to, target_of
from gateway.hub.state import ChannelState, Counts, Limits, Node
from gateway.hub.subscription import Phase, Subscription
from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import GapReason
from gateway.protocol.merge import Page, Read, Round, merge
from gateway.protocol.replays import ReplayOutcome, ReplaySource
from publisher.ids import Position

if TYPE_CHECKING:
    from gateway.hub.ports import Link, Log


class Replay:
    """All subscriptions that are in REPLAY."""

    def __init__(self, node: Node, groups: Groups, limits: Limits, counts: Counts) -> None:
        self._node = node
        self._groups = groups
        self._limits = limits
        self._counts = counts
        self._queue = Queue(node, limits.max_replays)
        self._beginning = Beginning(node, counts, self._queue)
        self._ahead: dict[Subscription, None] = {}
        self._held: deque[tuple[int, Subscription, Round]] = deque()
        self.members: dict[Subscription, None] = {}
        """All that are in replay and have been started."""
        self.catch_up = CatchUp(node)

    def wire(self, link: Link, log: Log) -> None:
        self._link = link
        self._log = log
        self._queue.wire(link)
        self._beginning.wire(log)

    def enter(self, subscription: Subscription) -> None:
        """From now on it is in replay. The hub has taken it out of its group."""
        self.members[subscription] = None

    # The queue of work.

    def schedule(self, subscription: Subscription) -> None:
        """Advance it soon."""
        self._queue.add(subscription)

    def work(self, most: int) -> bool:
        """Advance up to `most` subscriptions. True while more are waiting."""
        for _ in range(most):
            subscription = self._queue.next()
            if subscription is None:
                break
            self.advance(subscription)
        return self._queue.due

    def lost(self) -> None:
        """The generation is over: reads that are under way are given up, or their answers dropped."""
        self._queue.reset()
        self._ahead.clear()
        self._held.clear()

    @property
    def waited(self) -> int:
        """How often somebody had to wait for a turn to read."""
        return self._queue.waited

    def begin_again(self, subscriptions: Sequence[Subscription]) -> None:
        """The link is lost: all of these will replay from where they stand."""
        for subscription in subscriptions:
            if subscription.phase is Phase.REPLAY:
                self._counts.replay_ended(subscription, ReplayOutcome.LINK_LOST)
        self.members = dict.fromkeys(subscriptions)
        self.catch_up.begin(subscriptions)

    def position_read(self, ticket: int) -> None:
        """The node's position was read anew, in the same epoch: what waited for that can be judged."""
        while self._held and self._held[0][0] <= ticket:
            _, subscription, round_ = self._held.popleft()
            self._write(subscription, round_)
        for subscription in tuple(self._ahead):
            if subscription.ahead_of is not None and (
                ticket >= subscription.ahead_of or subscription.position <= self._node.position
            ):
                self._ahead.pop(subscription, None)
                self._queue.add(subscription)

    def forget(self, subscription: Subscription) -> None:
        """Its connection is gone."""
        self.members.pop(subscription, None)
        if subscription.started and subscription.phase is Phase.REPLAY:
            self._counts.replay_ended(subscription, ReplayOutcome.STREAM_ENDED)
        self.catch_up.done(subscription)
        self._ahead.pop(subscription, None)
        self._queue.forget(subscription)

    # One subscription.

    def advance(self, subscription: Subscription) -> None:
        """Take it as far as it gets."""
        if subscription.phase is not Phase.REPLAY or not subscription.started or subscription.reading:
            return
        if not self._node.in_sync or subscription.missing:
            return
        if subscription.sink.full:
            self.catch_up.done(subscription)
            return
        # What this turn has ingested is in the hot tails; it must not come again with the flush.
        self._groups.flush()
        channels = [self._node.channels[name] for name in subscription.channels]
        if not subscription.resolved and not self._beginning.find(subscription, channels):
            return
        if self._is_ahead(subscription):
            return
        subscription.write_late()
        while not subscription.sink.full and subscription.phase is Phase.REPLAY:
            target = target_of(subscription, channels)
            if target is not None and self._has_read_enough(subscription):
                self._cut(subscription, channels)
            elif target is not None:
                self._read(subscription, channels, target)
                return
            elif not self._write_from_memory(subscription, channels):
                self._flip(subscription, channels)
        self.catch_up.done(subscription)

    def _has_read_enough(self, subscription: Subscription) -> bool:
        """Of the past, before it was live: after that, it reads what it was too slow for, at its own pace."""
        return not subscription.opened and (
            subscription.read_events >= self._limits.max_replay_events
            or subscription.read_bytes >= self._limits.max_replay_bytes
        )

    def _cut(self, subscription: Subscription, channels: list[ChannelState]) -> None:
        """What is left between its cursor and now is told as a gap, but for the ends of its channels."""
        node = self._node
        self._counts.cut_replays += 1
        self._counts.gap(GapReason.TOO_FAR_BEHIND.value)
        subscription.write_gap(GapReason.TOO_FAR_BEHIND, node.id)
        starts = dict.fromkeys(subscription.channels, node.position)
        for channel in channels:
            end = self._beginning.end_due(subscription, channel)
            if end is not None and end.position > subscription.lower(channel.name):
                starts[channel.name] = min(node.position, end.position.before())
        subscription.crossing.clear()
        subscription.starts = starts
        subscription.position = min(starts.values())
        subscription.read_events = subscription.read_bytes = 0

    def _is_ahead(self, subscription: Subscription) -> bool:
        """A client that comes from a faster node waits for this one; one from the future is told."""
        node = self._node
        if subscription.crossing or subscription.position <= node.position:
            subscription.ahead_of = None
            return False
        if subscription.ahead_of is None:
            subscription.ahead_of = self._link.read_position()
            self._ahead[subscription] = None
            return True
        if subscription in self._ahead:
            return True
        subscription.ahead_of = None
        channels = [node.channels[name] for name in subscription.channels]
        subscription.resumed = False
        return not self._beginning.after_gap(subscription, channels, GapReason.FUTURE)

    def _read(self, subscription: Subscription, channels: list[ChannelState], target: Position) -> None:
        """Read a page of each channel that has something up to the target."""
        if not self._queue.may_read(subscription):
            return
        reads = reads_up_to(target, subscription, channels, evicting=self._node.evicting)
        later: list[tuple[Read, Position]] = []
        if subscription.lookahead is not None:
            reads, later = subscription.lookahead.due(reads)
        generation = self._node.generation
        self._counts.replays_from_log += 1
        subscription.source = ReplaySource.REDIS

        def done(pages: Sequence[Page]) -> None:
            if not self._queue.answered(subscription, generation):
                return
            clear = [(read, Page((), bound)) for read, bound in later]
            round_ = merge([*zip(reads, pages, strict=True), *clear], self._limits.page_bytes)
            known = self._node.history.epochs
            if all(publication.id.epoch in known for publication in round_.publications):
                self._write(subscription, round_)
            else:
                # Events from before all breaks that Redis remembers; or the link has not heard yet of an
                # epoch that the log has seen, where positions are others': a position read tells.
                subscription.reading = True
                self._held.append((self._link.read_position(), subscription, round_))

        self._log.read(reads, done)

    def _write(self, subscription: Subscription, round_: Round) -> None:
        subscription.reading = False
        if subscription.phase is not Phase.REPLAY:
            return
        for hole in round_.holes:
            self._counts.gap(hole.reason.value)
        self._counts.replayed += subscription.write_round(round_, self._node.history)
        self._queue.add(subscription)

    def _write_from_memory(self, subscription: Subscription, channels: list[ChannelState]) -> bool:
        """Write a slice of the hot tails, in id order. False where nothing is left."""
        publications = from_memory(subscription, channels, self._limits.page_bytes)
        if not publications:
            return False
        self._counts.replays_from_memory += 1
        if subscription.source is ReplaySource.NOTHING:
            subscription.source = ReplaySource.MEMORY
        self._counts.replayed += len(publications)
        subscription.write_publications(publications)
        return True

    def _flip(self, subscription: Subscription, channels: list[ChannelState]) -> None:
        """Everything up to the node's position is written: live from here on."""
        subscription.write_open(self._node.id)
        if subscription.phase is not Phase.REPLAY:
            return
        if all(channel.end is not None for channel in channels):
            self._leave(subscription, Phase.ENDED)
            subscription.sink.end(CloseReason.CHANNELS_ENDED)
            return
        subscription.starts = subscription.lookahead = None
        subscription.position = self._node.position
        if subscription.sink.full:
            return  # it stays in replay, from here, and goes on when its buffer has drained
        self._leave(subscription, Phase.LIVE)
        self._groups.join(subscription)

    def _leave(self, subscription: Subscription, phase: Phase) -> None:
        self._counts.replay_ended(subscription, ReplayOutcome.COMPLETE)
        subscription.phase = phase
        del self.members[subscription]
