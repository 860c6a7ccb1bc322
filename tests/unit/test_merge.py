"""The merge, beside a naive model: what was published on each channel, and what the log still holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.protocol.gaps import GapReason
from gateway.protocol.merge import TAIL_MS, Hole, Page, Read, merge
from gateway.protocol.publication import Publication
from publisher.channels import Channel
from publisher.ids import ORIGIN, Epoch, EventId, Position
from publisher.payload import Kind, Payload

A, B, C = (Channel(name) for name in "abc")
EPOCH = Epoch("0a1b2c")
DATA = b"12345678"


def at(ms: int) -> Position:
    return Position(ms, 0)


def event(channel: Channel, ms: int, prev: int, kind: Kind = Kind.EVENT) -> Publication:
    return Publication(channel, Payload(EventId(at(ms), EPOCH), at(prev), ms, kind, b"", DATA))


@dataclass(frozen=True)
class Log:
    """One channel: its events from the first on, and what has happened to its stream since."""

    channel: Channel
    events: tuple[int, ...] = ()
    gone: frozenset[int] = frozenset()
    """Events that the stream does not hold any more."""
    garbage: frozenset[int] = frozenset()
    """Entries that are not ours, so that no event's `prev` names them."""
    closed: bool = False
    """The last event is the channel's end."""

    def read(self, lower: Position, target: Position) -> Read:
        expected = max((at(ms) for ms in self.events if at(ms) <= target), default=ORIGIN)
        end = EventId(at(self.events[-1]), EPOCH) if self.closed else None
        return Read(self.channel, lower, target, expected, in_doubt=False, evicting=False, end=end)

    def page(self, read: Read, count: int) -> Page:
        """As the broker reads it: at most `count` entries above `lower`, up to `target`."""
        prev = {after: before for before, after in pairwise((0, *self.events))}
        held = {*self.events} - self.gone | self.garbage
        entries = sorted(ms for ms in held if read.lower < at(ms) <= read.target)[:count]
        publications = []
        for ms in entries:
            if ms not in self.garbage:
                kind = Kind.END if self.closed and ms == self.events[-1] else Kind.EVENT
                publications.append(event(self.channel, ms, prev[ms], kind))
        invalid = tuple(at(ms) for ms in entries if ms in self.garbage)
        if len(entries) == count:
            return Page(tuple(publications), at(entries[-1]), invalid)
        return Page(tuple(publications), read.target, invalid, read.expected)


def gone(*ms: int) -> frozenset[int]:
    return frozenset(ms)


TRIMMED, REWRITTEN, EXPIRED = GapReason.TRIMMED, GapReason.REWRITTEN, GapReason.EXPIRED
INVALID, UNKNOWN = GapReason.INVALID, GapReason.UNKNOWN

ROUNDS = [
    pytest.param([Log(A, (10, 20, 30))], 0, [], [10, 20, 30], id="all there"),
    pytest.param([Log(A, (10, 20, 30))], 20, [], [30], id="from a cursor"),
    pytest.param([Log(A, (10, 20, 30))], 15, [], [20, 30], id="from between two events"),
    pytest.param([Log(A, (10, 60))], 0, [], [10], id="only up to the target"),
    pytest.param([Log(A, (10, 30)), Log(B, (20, 40))], 0, [], [10, 20, 30, 40], id="two channels, by id"),
    pytest.param(
        [Log(A, (10, 20, 30), gone(10, 20))], 5, [(A, TRIMMED, at(5), at(20))], [30], id="head trimmed"
    ),
    pytest.param(
        [Log(A, (10, 20, 30, 40), gone(20, 30))],
        0,
        [(A, REWRITTEN, at(10), at(30))],
        [10, 40],
        id="middle deleted",
    ),
    pytest.param(
        [Log(A, (10, 20, 30), gone(20, 30))], 0, [(A, REWRITTEN, at(10), at(30))], [10], id="end deleted"
    ),
    pytest.param(
        [Log(A, (10, 20), gone(10, 20)), Log(B, (15,))],
        5,
        [(A, EXPIRED, at(5), at(20))],
        [15],
        id="one stream gone",
    ),
    pytest.param(
        [Log(A, (10, 30), garbage=gone(20))], 0, [(A, INVALID, at(10), at(20))], [10, 30], id="garbage"
    ),
    pytest.param(
        [Log(A, (10, 20, 40), gone(20), garbage=gone(30))],
        0,
        [(A, INVALID, at(10), at(30))],
        [10, 40],
        id="garbage behind a hole",
    ),
    pytest.param(
        [Log(A, (10,), garbage=gone(20, 30))],
        0,
        [(A, INVALID, at(10), at(20)), (A, INVALID, at(20), at(30))],
        [10],
        id="garbage at the end",
    ),
    pytest.param([Log(A, (10, 20), closed=True)], 0, [], [10, 20], id="closed"),
    pytest.param(
        [Log(A, (10, 20, 30), gone(20, 30), closed=True)],
        0,
        [(A, REWRITTEN, at(10), at(30).before())],
        [10, 30],
        id="closed, the end deleted: it is told from the tail",
    ),
]


@pytest.mark.parametrize(("logs", "lower", "holes", "events"), ROUNDS)
def test_a_round(
    logs: list[Log],
    lower: int,
    holes: list[tuple[Channel, GapReason, Position, Position]],
    events: list[int],
) -> None:
    reads = [log.read(at(lower), at(50)) for log in logs]
    round_ = merge([(read, log.page(read, 100)) for read, log in zip(reads, logs, strict=True)])
    assert list(round_.holes) == [Hole(*item) for item in holes]
    assert [item.position for item in round_.publications] == [at(ms) for ms in events]
    assert round_.horizon == at(50)


def test_an_end_that_a_fresh_client_is_told_from_the_tail_is_no_gap() -> None:
    """The stream has expired; the replay begins just below the end."""
    log = Log(A, (10, 20), gone(10, 20), closed=True)
    read = log.read(at(20).before(), at(50))
    round_ = merge([(read, log.page(read, 100))])
    assert round_.holes == ()
    [end] = round_.publications
    assert (end.position, end.kind, end.type) == (at(20), Kind.END, b"fanlight.end")


DAY = TAIL_MS

DOUBTS = [
    pytest.param(False, False, 10, 20, 20, [], id="a chain that goes on"),
    pytest.param(False, False, 10, 20, 0, [], id="a chain that begins, and a young cursor"),
    pytest.param(False, True, 0, 20, 0, [], id="evicting, from the origin"),
    pytest.param(False, True, 10, 20, 0, [(10, 20)], id="evicting: the tail may have been lost"),
    pytest.param(False, True, 10, 20, 5, [], id="evicting, and the chain goes on"),
    pytest.param(False, False, 10, DAY + 10, 0, [], id="a cursor as old as a tail's life"),
    pytest.param(False, False, 10, DAY + 11, 0, [(10, DAY + 11)], id="a cursor older than that"),
]


@pytest.mark.parametrize(("in_doubt", "evicting", "lower", "first", "prev", "holes"), DOUBTS)
def test_where_a_chain_begins_anew(
    in_doubt: bool, evicting: bool, lower: int, first: int, prev: int, holes: list[tuple[int, int]]
) -> None:
    target = at(first + 10)
    prev = min(prev, lower)
    read = Read(A, at(lower), target, at(first), in_doubt, evicting, None)
    round_ = merge([(read, Page((event(A, first, prev),), target))])
    assert round_.holes == tuple(Hole(A, UNKNOWN, at(start), at(end).before()) for start, end in holes)
    assert [item.position for item in round_.publications] == [at(first)]


def test_nothing_left_to_tell_is_a_gap() -> None:
    read = Read(A, at(10), at(50), ORIGIN, in_doubt=True, evicting=False, end=None)
    assert merge([(read, Page((), at(50)))]).holes == (Hole(A, UNKNOWN, at(10), at(50)),)


def test_a_page_that_is_cut_short_holds_the_others_back() -> None:
    a, b = Log(A, (10, 20, 30)), Log(B, (15, 25, 35))
    reads = a.read(at(0), at(50)), b.read(at(0), at(50))
    round_ = merge([(reads[0], a.page(reads[0], 2)), (reads[1], b.page(reads[1], 100))])
    assert [item.position.ms for item in round_.publications] == [10, 15, 20]
    assert round_.horizon == at(20)


@pytest.mark.parametrize(
    ("most_events", "events", "horizon"),
    [(0, [10], 10), (1, [10], 10), (2, [10, 15], 15), (5, [10, 15, 20, 25, 30], 30), (6, [], 50)],
)
def test_a_round_is_bounded_in_bytes_whatever_its_pages_hold(
    most_events: int, events: list[int], horizon: int
) -> None:
    a, b = Log(A, (10, 20, 30), gone()), Log(B, (15, 25, 35))
    pages = [(read, log.page(read, 100)) for log in (a, b) for read in [log.read(at(0), at(50))]]
    round_ = merge(pages, most_events * len(DATA))
    assert [item.position.ms for item in round_.publications] == (events or [10, 15, 20, 25, 30, 35])
    assert round_.horizon == at(horizon)
    assert not round_.holes


# The property: a replay of whole rounds, as `gateway.hub.replay` makes them.


@st.composite
def logs(draw: st.DrawFn) -> list[Log]:
    """Up to three channels on one clock."""
    made = []
    entries = draw(st.lists(st.tuples(st.sampled_from([A, A, B, B, C]), st.sampled_from("eeeg"))))
    for channel in (A, B, C):
        mine = [(10 * n, kind) for n, (owner, kind) in enumerate(entries, 1) if owner == channel]
        events = tuple(ms for ms, kind in mine if kind == "e")
        closed = bool(events) and draw(st.booleans())
        # Behind an end the script lets nothing in.
        garbage = frozenset(ms for ms, kind in mine if kind == "g" and not (closed and ms > events[-1]))
        lost = frozenset(draw(st.sets(st.sampled_from(events)))) if events else gone()
        made.append(Log(channel, events, lost, garbage, closed))
    return made


@dataclass
class Replayed:
    """What a client was told."""

    delivered: list[tuple[Channel, Position]]
    holes: list[Hole]


def replay(
    logs: Sequence[Log],
    lower: Position,
    target: Position,
    read_page: Callable[[Log, Read], Page],
    check: Callable[[Replayed, Position], None],
    most_bytes: int | None,
) -> Replayed:
    """Rounds until the target; `check` sees what was told when the cursor comes to stand somewhere."""
    told = Replayed([], [])
    starts: dict[Channel, Position] = {}
    while lower < target:
        reads = [(log, log.read(max(lower, starts.get(log.channel, ORIGIN)), target)) for log in logs]
        reads = [(log, read) for log, read in reads if read.lower < read.expected]
        if not reads:
            break
        round_ = merge([(read, read_page(log, read)) for log, read in reads], most_bytes)
        assert lower < round_.horizon <= target
        lower = round_.horizon
        told.holes += round_.holes
        told.delivered += [(item.channel, item.position) for item in round_.publications]
        for item in round_.holes:
            if item.end > lower:
                starts[item.channel] = item.end
        check(told, lower)
    return told


def covering(told: Replayed, channel: Channel, position: Position) -> list[Hole]:
    return [item for item in told.holes if item.channel == channel and item.start < position <= item.end]


@given(logs(), st.integers(0, 120), st.integers(0, 300), st.data())
@example(
    # A hole below the horizon that shows only in an entry above it.
    [Log(A, (10, 20, 50), gone(20)), Log(B, (30, 40))],
    0,
    60,
    None,
)
def test_each_event_is_delivered_once_or_in_one_hole(
    logs: list[Log], lower_ms: int, target_ms: int, data: st.DataObject | None
) -> None:
    lower, target = at(lower_ms), at(target_ms)

    def read_page(log: Log, read: Read) -> Page:
        if data is None:
            return log.page(read, 1)
        count, earlier_ms = data.draw(st.tuples(st.integers(1, 4), st.none() | st.integers(0, 150)))
        if earlier_ms is not None and read.lower < at(earlier_ms) < read.target:
            # A page that somebody with an earlier target had read from the same place, a moment ago.
            read = log.read(read.lower, at(earlier_ms))
        return log.page(read, count)

    def check(told: Replayed, horizon: Position) -> None:
        positions = [position for _, position in told.delivered]
        assert positions == sorted(set(positions))
        for log in logs:
            for ms in log.events:
                if lower < at(ms) <= horizon:
                    delivered = (log.channel, at(ms)) in told.delivered
                    holes = covering(told, log.channel, at(ms))
                    from_tail = log.closed and ms == log.events[-1]
                    if ms not in log.gone or from_tail:
                        assert (delivered, holes) == (True, [])
                    else:
                        assert (delivered, len(holes)) == (False, 1)

    most_events = None if data is None else data.draw(st.none() | st.integers(0, 4))
    most_bytes = None if most_events is None else most_events * len(DATA)
    told = replay(logs, lower, target, read_page, check, most_bytes)
    check(told, target)
    for log in logs:
        for item in (item for item in told.holes if item.channel == log.channel):
            lost = [ms for ms in {*log.gone, *log.garbage} if item.start < at(ms) <= item.end]
            # It ends with what is missing, and holds something; before an end that only the tail tells
            # of, nobody knows.
            if not (log.closed and item.end == at(log.events[-1]).before()):
                assert lost
                assert item.end == at(max(lost))
            assert lower <= item.start < item.end <= target
