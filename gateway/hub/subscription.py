"""A subscription: one connection's channels, its cursor and its phase.

It begins in REPLAY, and whatever goes wrong puts it back there. It knows how to write what it is given,
under the invariant: an id is written only when every event at or below it, on all of the connection's
channels, has been written before it or announced by a gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

from gateway.protocol import sse
from gateway.protocol.epochs import Break, History, Path
from gateway.protocol.gaps import Gap, GapReason
from gateway.protocol.lookahead import Lookahead
from gateway.protocol.merge import Round
from gateway.protocol.publication import Publication
from gateway.protocol.replays import ReplaySource
from gateway.protocol.sse import Encoding
from publisher.channels import Channel
from publisher.ids import ORIGIN, EventId, Position

if TYPE_CHECKING:
    from gateway.hub.ports import Sink


class Phase(Enum):
    """Where a subscription gets its events from."""

    REPLAY = "replay"
    LIVE = "live"
    ENDED = "ended"


class Subscription:
    """One connection's registration in the hub."""

    __slots__ = (
        "ahead_of",
        "bytes",
        "channels",
        "crossing",
        "cursor",
        "encoding",
        "events",
        "gaps",
        "last",
        "late",
        "lookahead",
        "malformed",
        "missing",
        "opened",
        "phase",
        "position",
        "read_bytes",
        "read_events",
        "reading",
        "replays",
        "resolved",
        "resumed",
        "scheduled",
        "shown",
        "since",
        "sink",
        "source",
        "started",
        "starts",
    )

    def __init__(
        self,
        sink: Sink,
        channels: Iterable[Channel],
        *,
        encoding: Encoding | None = None,
        cursor: str | None = None,
        last: int = 0,
    ) -> None:
        """`cursor` is what the client sent, untrusted; `last` asks for a channel's newest events."""
        self.sink = sink
        self.channels = tuple(sorted(set(channels)))
        self.encoding = encoding or Encoding()
        self.last = last
        self.cursor: EventId | None = None
        """Where the client says that it is; while in replay `position` tells it better."""
        self.malformed = False
        if cursor is not None:
            try:
                self.cursor = EventId.parse(cursor)
            except ValueError:
                self.malformed = True

        self.phase = Phase.REPLAY
        self.missing = 0
        """How many of its channels have no floor."""
        self.started = False
        """Headers are out: it may be written to."""
        self.since: EventId | None = None
        """With `last`: the node's position at that moment. What is published after it must be delivered."""
        self.resolved = False
        """The cursor has found its place in the current history."""
        self.reading = False
        """A read of the log is under way."""
        self.scheduled = False
        """It stands in the hub's queue of work."""
        self.ahead_of: int | None = None
        """It is ahead of the node, and waits for the position read of this ticket."""
        self.opened = False
        self.resumed = False
        self.read_events = 0
        self.read_bytes = 0
        """Of the log, what it has been written."""

        self.position = ORIGIN
        """The cursor: everything at or below it is written, announced or not asked for."""
        self.shown: EventId | None = self.cursor
        """The id that the client holds; gaps carry it."""
        self.starts: dict[Channel, Position] | None = None
        """Channels that begin above the cursor: `last=N`, and a fresh start."""
        self.crossing: deque[Break] = deque()
        """The breaks between the cursor and the present, the oldest first."""
        self.lookahead: Lookahead | None = None
        """What its last round from the log has shown of the next one."""
        self.late: dict[Channel, Gap] | None = None
        """What became known when it was past it, in replay: one gap a channel, told when it goes on."""

        self.events = self.bytes = 0
        """Written to it; while it is live, less what `gateway.hub.groups` will give it when it leaves."""
        self.gaps = self.replays = 0
        """Told to it; ended."""
        self.source = ReplaySource.NOTHING
        """Of this replay, so far."""

    def lower(self, channel: Channel) -> Position:
        """Below this nothing of `channel` is wanted any more."""
        if self.starts is None:
            return self.position
        return max(self.position, self.starts.get(channel, ORIGIN))

    def resume(self, path: Path) -> None:
        """The cursor has its place: replay from there."""
        self.lookahead = None
        self.position = path.start
        self.crossing = deque(path.crossing)
        if path.crossing and self.starts is not None:
            # Positions of a history that broke off say nothing about the next one's.
            bound = path.crossing[0].last
            self.starts = {channel: min(start, bound) for channel, start in self.starts.items()}
        self.resolved = True
        if not self.opened:
            self.resumed = self.starts is None

    def back_to_replay(self, node_id: EventId) -> None:
        """It was live: all of its channels' events up to the node's position have been written."""
        self.phase = Phase.REPLAY
        self.position = node_id.position
        # Live, nobody kept count. With an older id, a gap would take the client back to before them.
        self.shown = node_id

    def lost(self, node_id: EventId) -> None:
        """The link is lost: back to replay, from what has been written."""
        if self.phase is Phase.LIVE:
            self.back_to_replay(node_id)
            self.cursor = node_id
        elif self.resolved:
            epoch = self.crossing[0].epoch if self.crossing else node_id.epoch
            self.cursor = EventId(self.position, epoch)
        self.resolved = self.reading = False
        self.lookahead = None
        self.ahead_of = None
        self.missing = len(self.channels)

    # Writing. Each of these is one write, whatever the number of frames.

    def write_gap(self, reason: GapReason, end: EventId | None) -> None:
        """Announce a gap that concerns all channels, from what the client holds."""
        self.gaps += 1
        self._send([Gap(None, reason, self.shown, end).frame(self.encoding, self.shown)])

    def write_cut(self, gaps: Iterable[tuple[Channel, EventId]]) -> None:
        """With `last`: of these channels, what was asked for up to these ids is left out."""
        frames = [
            Gap(channel, GapReason.TOO_FAR_BEHIND, None, end).frame(self.encoding, self.shown)
            for channel, end in gaps
        ]
        self.gaps += len(frames)
        self._send(frames)

    def note_late(self, channel: Channel, gap: Gap) -> None:
        """In replay: tell this gap as soon as there is room for it. Gaps of a channel become one."""
        if self.phase is not Phase.REPLAY or not self.resolved:
            return
        if gap.end is None or self.lower(channel) < gap.end.position:
            return  # it is still to come, from the log
        self.late = self.late or {}
        first = self.late.get(channel, gap)
        self.late[channel] = Gap(channel, gap.reason, first.start, gap.end)

    def write_late(self) -> None:
        if self.late:
            frames = [gap.frame(self.encoding, self.shown) for gap in self.late.values()]
            self.late = None
            self.gaps += len(frames)
            self._send(frames)

    def write_late_live(self, gap: Gap, node_id: EventId) -> None:
        """Live: it is past what this gap tells of."""
        self.gaps += 1
        self._send([gap.frame(self.encoding, node_id)])

    def write_round(self, round_: Round, history: History) -> int:
        """Write a replay's round, its holes first. Returns how many events it held."""
        frames = [
            Gap(hole.channel, hole.reason, history.at(hole.start), history.at(hole.end)).frame(
                self.encoding, self.shown
            )
            for hole in round_.holes
        ]
        self._advance(round_.publications, round_.horizon, frames)
        self.lookahead = round_.lookahead
        self.read_events += len(round_.publications)
        self.read_bytes += sum(len(publication.data) for publication in round_.publications)
        for hole in round_.holes:
            if hole.end > round_.horizon:
                self.starts = {**(self.starts or {}), hole.channel: hole.end}
        self.gaps += len(round_.holes)
        self._send(frames)
        return len(round_.publications)

    def write_publications(self, publications: Iterable[Publication]) -> None:
        """Write events from the hot tails, in id order."""
        frames: list[bytes] = []
        self._advance(publications, None, frames)
        self._send(frames)

    def _advance(
        self, publications: Iterable[Publication], horizon: Position | None, frames: list[bytes]
    ) -> None:
        encoding = self.encoding
        for publication in publications:
            while self.crossing and publication.position > self.crossing[0].last:
                frames.append(self._cross())
            frames.append(publication.frame(encoding))
            self.events += 1
            self.position = publication.position
            self.shown = publication.id
        if horizon is not None:
            self.position = horizon
            while self.crossing and horizon >= self.crossing[0].last:
                frames.append(self._cross())

    def _cross(self) -> bytes:
        """The break that lies here is told: after it, events may be missing that Redis had lost."""
        past = self.crossing.popleft()
        self.gaps += 1
        lost_after = self.shown or EventId(past.last, past.epoch)
        return Gap(None, GapReason.FAILOVER, lost_after, None).frame(self.encoding, self.shown)

    def write_open(self, position: EventId) -> None:
        """At the flip to LIVE: the rest of the breaks, and `fanlight.open` the first time."""
        frames = []
        while self.crossing:
            frames.append(self._cross())
        if not self.opened:
            self.opened = True
            data = b'{"resumed":true}' if self.resumed else b'{"resumed":false}'
            frames.append(self.encoding.framed(sse.event(sse.OPEN_TYPE, data, str(position))))
            self.shown = position
        self._send(frames)

    def _send(self, frames: list[bytes]) -> None:
        if frames:
            data = b"".join(frames)
            self.bytes += len(data)
            self.sink.write(data)
