"""Replay from a cursor, then live: the one mechanism, as steps that are each synchronous.

`advance` takes a subscription as far as it gets without waiting: it finds the cursor's place in the
history, waits for floors, asks for pages of the log, writes from the hot tails, and flips to LIVE in
the same step in which the last event from memory was written. Nothing may come between those two, or an
event could arrive that is in neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.hub.catch_up import CatchUp
from gateway.hub.groups import Groups
from gateway.hub.reach import from_memory, reads_up_to, tail_of, target_of
from gateway.hub.state import ChannelState, Counts, Limits, Node
from gateway.hub.subscription import Phase, Subscription
from gateway.hub.turns import Turns
from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import GapReason
from gateway.protocol.merge import Page, Round, Start, merge
from gateway.protocol.replays import ReplayOutcome, ReplaySource
from publisher.channels import Channel
from publisher.ids import ORIGIN, EventId, Position

if TYPE_CHECKING:
    from gateway.hub.ports import Link, Log


class Replay:
    """All subscriptions that are in REPLAY, and the queue of those that can go on."""

    def __init__(self, node: Node, groups: Groups, limits: Limits, counts: Counts) -> None:
        self._node = node
        self._groups = groups
        self._limits = limits
        self._counts = counts
        self._runnable: deque[Subscription] = deque()
        self._turns = Turns(limits.max_replays)
        self._ahead: dict[Subscription, None] = {}
        self._held: deque[tuple[int, Subscription, Round]] = deque()
        self.members: dict[Subscription, None] = {}
        """All that are in replay and have been started."""
        self.catch_up = CatchUp(node)

    def wire(self, link: Link, log: Log) -> None:
        self._link = link
        self._log = log

    def enter(self, subscription: Subscription) -> None:
        """From now on it is in replay. The hub has taken it out of its group."""
        self.members[subscription] = None

    # The queue of work.

    def schedule(self, subscription: Subscription) -> None:
        """Advance it soon."""
        if not subscription.scheduled:
            subscription.scheduled = True
            self._runnable.append(subscription)
            self._link.wake()

    def work(self, most: int) -> bool:
        """Advance up to `most` subscriptions. True while more are waiting."""
        for _ in range(most):
            if self._turns.due:
                self.advance(self._turns.call())
            elif self._runnable:
                subscription = self._runnable.popleft()
                subscription.scheduled = False
                self.advance(subscription)
        return bool(self._runnable) or self._turns.due

    def lost(self) -> None:
        """The generation is over: reads that are under way are given up, or their answers dropped."""
        self._turns.reset()
        self._ahead.clear()
        self._held.clear()

    @property
    def waited(self) -> int:
        """How often somebody had to wait for a turn to read."""
        return self._turns.waited

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
                self.schedule(subscription)

    def forget(self, subscription: Subscription) -> None:
        """Its connection is gone."""
        self.members.pop(subscription, None)
        if subscription.started and subscription.phase is Phase.REPLAY:
            self._counts.replay_ended(subscription, ReplayOutcome.STREAM_ENDED)
        self.catch_up.done(subscription)
        self._ahead.pop(subscription, None)
        self._turns.forget(subscription)

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
        if not subscription.resolved and not self._resolve(subscription, channels):
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
            end = self._end_due(subscription, channel)
            if end is not None and end.position > subscription.lower(channel.name):
                starts[channel.name] = min(node.position, end.position.before())
        subscription.crossing.clear()
        subscription.starts = starts
        subscription.position = min(starts.values())
        subscription.read_events = subscription.read_bytes = 0

    def _resolve(self, subscription: Subscription, channels: list[ChannelState]) -> bool:
        """Give the client's cursor its place in the history. False: the answer comes later."""
        node = self._node
        cursor = subscription.cursor
        if cursor is None:
            if subscription.malformed:
                return self._begin_after_gap(subscription, channels, GapReason.UNKNOWN_CURSOR)
            return self._begin(subscription, channels)
        path = node.history.path(cursor)
        if path is None:
            return self._begin_after_gap(subscription, channels, GapReason.EPOCH)
        subscription.resume(path)
        return True

    def _begin_now(self, subscription: Subscription, channels: list[ChannelState]) -> None:
        """From the node's position."""
        subscription.crossing.clear()
        starts = dict.fromkeys(subscription.channels, self._node.position)
        self._begin_at(subscription, channels, starts)

    def _begin_at(
        self, subscription: Subscription, channels: list[ChannelState], starts: dict[Channel, Position]
    ) -> None:
        """From these positions; a channel that has ended tells its end once."""
        for channel in channels:
            if end := self._end_due(subscription, channel):
                starts[channel.name] = min(starts[channel.name], end.position.before())
        subscription.starts = starts
        subscription.position = min(starts.values())
        subscription.resolved = True

    def _end_due(self, subscription: Subscription, channel: ChannelState) -> EventId | None:
        """The end of the channel, where a client that begins now is to be told of it."""
        end = channel.end
        if end is None or end.epoch in self._node.history.epochs:
            return end
        return end if end.position > self._forgotten(subscription) else None

    def _forgotten(self, subscription: Subscription) -> Position:
        """The place of a client whose epoch nobody knows any more; ORIGIN of any other.

        What the log has of such epochs, at or below it, the client may hold. Which came first of two epochs
        that are forgotten nobody can say, so positions decide; who has missed something after all is told of
        a gap up to now.
        """
        shown = subscription.shown
        return ORIGIN if shown is None or shown.epoch in self._node.history.epochs else shown.position

    def _begin_after_gap(
        self, subscription: Subscription, channels: list[ChannelState], reason: GapReason
    ) -> bool:
        """The cursor is of no use: say so, and begin as without one."""
        self._counts.gap(reason.value)
        subscription.write_gap(reason, self._node.id)
        # It may have to wait for a turn to read, and is not told again when that has come.
        subscription.cursor, subscription.malformed, subscription.resolved = None, False, False
        return self._begin(subscription, channels)

    def _begin(self, subscription: Subscription, channels: list[ChannelState]) -> bool:
        """Begin without a cursor. False: the answer comes later."""
        if subscription.last and not subscription.opened:
            return self._begin_with_last(subscription, channels)
        self._begin_now(subscription, channels)
        return True

    def _begin_with_last(self, subscription: Subscription, channels: list[ChannelState]) -> bool:
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
            self._begin_at(subscription, channels, begin)

        if not unknown:
            resolve(())
            return True
        if not self._takes_turn(subscription):
            return False
        generation = self._node.generation

        def done(starts: Sequence[Start]) -> None:
            if self._answered(subscription, generation):
                resolve(starts)
                self.schedule(subscription)

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
        return not self._begin_after_gap(subscription, channels, GapReason.FUTURE)

    def _read(self, subscription: Subscription, channels: list[ChannelState], target: Position) -> None:
        """Read a page of each channel that has something up to the target."""
        if not self._takes_turn(subscription):
            return
        reads = reads_up_to(target, subscription, channels, evicting=self._node.evicting)
        generation = self._node.generation
        self._counts.replays_from_log += 1
        subscription.source = ReplaySource.REDIS

        def done(pages: Sequence[Page]) -> None:
            if not self._answered(subscription, generation):
                return
            round_ = merge(list(zip(reads, pages, strict=True)), self._limits.page_bytes)
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
        self.schedule(subscription)

    def _takes_turn(self, subscription: Subscription) -> bool:
        """Whether it may read now; if not, it is advanced again when its turn has come."""
        if self._turns.ask(subscription):
            return True
        self._link.wake()
        return False

    def _answered(self, subscription: Subscription, generation: int) -> bool:
        """Its read was answered: whether the answer is still of use."""
        # One that belongs to an older generation is dropped: `lost` has reset everything.
        if generation != self._node.generation:
            return False
        self._turns.end(subscription)
        self._link.wake()
        return subscription.phase is Phase.REPLAY

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
        subscription.starts = None
        subscription.position = self._node.position
        if subscription.sink.full:
            return  # it stays in replay, from here, and goes on when its buffer has drained
        self._leave(subscription, Phase.LIVE)
        self._groups.join(subscription)

    def _leave(self, subscription: Subscription, phase: Phase) -> None:
        self._counts.replay_ended(subscription, ReplayOutcome.COMPLETE)
        subscription.phase = phase
        del self.members[subscription]
