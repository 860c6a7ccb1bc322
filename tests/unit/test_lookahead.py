"""A replay of many channels, page by page: it gets all of them, and reads little of it twice."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.lookahead import Lookahead
from gateway.protocol.merge import Page, Read, merge
from gateway.protocol.publication import Publication
from publisher.channels import Channel
from publisher.ids import ORIGIN, Epoch, EventId, Position
from publisher.payload import Kind, Payload

PAGE_BYTES = 1000
A, B, C = (Channel(name) for name in "abc")


def at(ms: int) -> Position:
    return Position(ms, 0)


class Log:
    """Channels, as the times of their events, which all have a size. It counts what is read of it."""

    def __init__(self, channels: Mapping[Channel, list[int]], event_bytes: int) -> None:
        self.event_bytes = event_bytes
        self.read_bytes = 0
        self._channels = {
            channel: [self._event(channel, ms, prev) for prev, ms in pairwise((0, *times))]
            for channel, times in channels.items()
        }
        self.target = at(max((ms for times in channels.values() for ms in times), default=0))

    def _event(self, channel: Channel, ms: int, prev: int) -> Publication:
        id_ = EventId(at(ms), Epoch("0a1b2c"))
        return Publication(channel, Payload(id_, at(prev), ms, Kind.EVENT, b"", b"x" * self.event_bytes))

    def reads(self, lower: Position) -> list[Read]:
        lasts = {c: events[-1].position for c, events in self._channels.items() if events}
        return [
            Read(c, lower, self.target, last, in_doubt=False, evicting=False, end=None)
            for c, last in lasts.items()
            if last > lower
        ]

    def page(self, read: Read, most_bytes: int) -> Page:
        """As the broker reads it: one entry at least."""
        count = max(1, most_bytes // self.event_bytes)
        entries = tuple(e for e in self._channels[read.channel] if e.position > read.lower)[:count]
        self.read_bytes += len(entries) * self.event_bytes
        if len(entries) == count:
            return Page(entries, entries[-1].position)
        return Page(entries, read.target, expected=read.expected)

    def replay(self) -> list[Publication]:
        """All rounds, as the hub makes them."""
        got: list[Publication] = []
        position, lookahead = ORIGIN, Lookahead({}, ORIGIN)
        while reads := self.reads(position):
            now, later = lookahead.due(reads)
            pages = [(read, self.page(read, PAGE_BYTES // len(now))) for read in now]
            round_ = merge([*pages, *((read, Page((), bound)) for read, bound in later)], PAGE_BYTES)
            assert not round_.holes
            assert round_.horizon > position, "each round gets on"
            got += round_.publications
            position, lookahead = round_.horizon, round_.lookahead
        return got


SHAPES = {
    "a busy one, and newer events of many": {
        Channel("busy"): list(range(1, 301)),
        **{Channel(f"c{n}"): [301 + n] for n in range(99)},
    },
    "a busy one among events of many": {
        Channel("busy"): list(range(1, 3000, 10)),
        **{Channel(f"c{n}"): [30 * n + 5] for n in range(99)},
    },
    "all at the same pace": {Channel(f"c{n}"): list(range(n + 1, 3000, 100)) for n in range(100)},
    "one after the other": {Channel(f"c{n}"): list(range(30 * n + 1, 30 * n + 31)) for n in range(100)},
    "bursts in turn": {
        Channel(f"c{n}"): [1000 * k + 10 * n + i + 1 for k in range(10) for i in range(3)] for n in range(100)
    },
}


@pytest.mark.parametrize("event_bytes", [5, 400, 5000])
@pytest.mark.parametrize("shape", SHAPES)
def test_little_is_read_twice(shape: str, event_bytes: int) -> None:
    log = Log(SHAPES[shape], event_bytes)
    got = log.replay()
    assert [p.position for p in got] == sorted(p.position for p in got)
    total = sum(map(len, SHAPES[shape].values())) * event_bytes
    assert len(got) * event_bytes == total
    assert log.read_bytes <= 6 * total, "without what is remembered, it was up to 98 times as much"


@given(
    st.dictionaries(
        st.sampled_from([A, B, C]),
        st.lists(st.integers(1, 60), unique=True, max_size=30).map(sorted),
        min_size=1,
    ),
    st.sampled_from([10, 300, 2000]),
)
def test_nothing_is_missed(times: dict[Channel, list[int]], event_bytes: int) -> None:
    got = [(p.channel, p.position.ms) for p in Log(times, event_bytes).replay()]
    assert sorted(got) == sorted((channel, ms) for channel, all_ in times.items() for ms in all_)
    assert [ms for _, ms in got] == sorted(ms for _, ms in got)


def read(channel: Channel, lower: int = 10, target: int = 100) -> Read:
    return Read(channel, at(lower), at(target), at(target), in_doubt=False, evicting=False, end=None)


TABLE = [
    pytest.param({}, 20, "abc", id="nothing is known"),
    pytest.param({"a": 50}, 20, "bc", id="one has nothing for a while"),
    pytest.param({"a": 20}, 20, "abc", id="it may have something within reach"),
    pytest.param({"a": 50, "b": 40, "c": 60}, 20, "b", id="all are far, and the nearest is read"),
    pytest.param({"a": 50, "b": 50, "c": 50}, 20, "abc", id="all are as far"),
    pytest.param({"a": 100, "b": 101}, 20, "abc", id="up to the target, something is due"),
    pytest.param({"a": 5}, 20, "abc", id="what is known is old"),
]


@pytest.mark.parametrize(("clear", "reach", "now"), TABLE)
def test_which_are_due(clear: dict[str, int], reach: int, now: str) -> None:
    known = {Channel(name): at(ms) for name, ms in clear.items()}
    due, later = Lookahead(known, at(reach)).due([read(A), read(B), read(C)])
    assert "".join(r.channel for r in due) == now
    assert [(r.channel, bound) for r, bound in later] == [
        (c, known[c]) for c in (A, B, C) if c not in {r.channel for r in due}
    ]
