"""The hot tail, driven by hypothesis beside a model that keeps everything."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.hottail import HotTail, HotTails
from gateway.protocol.publication import Publication
from publisher.channels import Channel
from publisher.ids import ORIGIN, Epoch, EventId, Position
from publisher.payload import Kind, Payload

EPOCH = Epoch("0a1b2c")


def at(ms: int) -> Position:
    return Position(ms, 0)


def publication(ms: int, data_bytes: int = 0) -> Publication:
    return Publication(
        Channel("a"), Payload(EventId(at(ms), EPOCH), ORIGIN, ms, Kind.EVENT, b"", b"x" * data_bytes)
    )


SIZE_BYTES = publication(1).size_bytes
"""Of a publication without data: what the bounds below count in."""


def test_a_new_hot_tail_is_complete_from_its_floor() -> None:
    tail = HotTail(at(50), at(30))
    assert len(tail) == tail.bytes == 0
    # Between the channel's last event and the floor there was nothing.
    assert [tail.reaches(at(ms)) for ms in (29, 30, 40, 50, 60)] == [False, True, True, True, True]
    assert list(tail.after(at(30))) == []
    assert tail.last_at(at(50)) == tail.last_at(at(90)) == at(30)


def test_a_channel_without_events_is_reached_from_everywhere() -> None:
    assert HotTail(at(50), ORIGIN).reaches(ORIGIN)


def test_below_the_doubt_nobody_knows() -> None:
    tail = HotTail(at(50), ORIGIN, doubt=at(20))
    assert [tail.reaches(at(ms)) for ms in (0, 19, 20, 50)] == [False, False, True, True]


def test_the_floor_rises_to_what_was_dropped() -> None:
    tail = HotTail(at(50), at(30))
    for ms in (60, 70, 80):
        tail.append(publication(ms))
    tail.drop_oldest()
    assert (tail.floor, tail.floor_last, len(tail)) == (at(60), at(60), 2)
    assert [tail.reaches(at(ms)) for ms in (30, 59, 60)] == [False, False, True]
    assert [item.position for item in tail.after(at(60))] == [at(70), at(80)]
    assert [tail.last_at(at(ms)) for ms in (60, 69, 70, 79, 99)] == [at(ms) for ms in (60, 60, 70, 70, 80)]


@dataclass
class Naive:
    """All that ever happened on a channel, and how much of it the ring should still hold."""

    tail: HotTail
    floor: Position
    before: Position
    events: list[Publication] = field(default_factory=list)
    dropped: int = 0

    @property
    def kept(self) -> list[Publication]:
        return self.events[self.dropped :]

    @property
    def bytes(self) -> int:
        return sum(item.size_bytes for item in self.kept)

    def drop(self) -> None:
        self.dropped += 1

    def check(self, cursor: Position) -> None:
        tail, kept = self.tail, self.kept
        assert (len(tail), tail.bytes) == (len(kept), self.bytes)
        assert tail.floor == (self.events[self.dropped - 1].position if self.dropped else self.floor)
        # It reaches a cursor exactly when no event that is not in the ring lies above it.
        gone = [self.before, *(item.position for item in self.events[: self.dropped])]
        assert tail.reaches(cursor) == (cursor >= max(gone))
        above = [item for item in self.events if item.position > cursor]
        if tail.reaches(cursor):
            assert list(tail.after(cursor)) == above
        if cursor >= tail.floor:
            at_or_below = [self.before, *(item.position for item in self.events if item.position <= cursor)]
            assert tail.last_at(cursor) == max(at_or_below)


@given(
    channel_bytes=st.sampled_from([0, 3 * SIZE_BYTES, 6 * SIZE_BYTES]),
    node_bytes=st.sampled_from([0, 2 * SIZE_BYTES, 5 * SIZE_BYTES, 8 * SIZE_BYTES]),
    befores=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    steps=st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(1, 3), st.sampled_from([0, 0, 1, 100, 400]), st.integers(0, 9)
        ),
        min_size=8,
        max_size=40,
    ),
)
def test_hot_tails_keep_to_both_bounds(
    channel_bytes: int, node_bytes: int, befores: list[int], steps: list[tuple[int, int, int, int]]
) -> None:
    tails = HotTails(channel_bytes=channel_bytes, node_bytes=node_bytes)
    floor = at(10)
    models = [Naive(HotTail(floor, at(before)), floor, at(before)) for before in befores]
    quiet: list[Naive] = []
    """The one that was quiet for longest first."""
    ms = 10
    for which, ahead, data_bytes, cursor in steps:
        ms += ahead
        model = models[which]
        item = publication(ms, data_bytes)
        tails.append(model.tail, item)
        model.events.append(item)
        while model.bytes > channel_bytes:
            model.drop()
        quiet = [*(other for other in quiet if other is not model), model]
        while sum(other.bytes for other in models) > node_bytes:
            next(other for other in quiet if other.kept).drop()
        for other in models:
            for place in (at(cursor), at(ms - cursor), other.tail.floor, item.position):
                other.check(place)
        assert tails.bytes == sum(other.bytes for other in models) <= node_bytes
        assert tails.dropped == sum(other.dropped for other in models)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["append", "discard", "clear"])), max_size=30))
def test_what_is_given_up_no_longer_counts(steps: list[tuple[int, str]]) -> None:
    tails = HotTails(channel_bytes=4 * SIZE_BYTES, node_bytes=6 * SIZE_BYTES)
    current = [HotTail(ORIGIN, ORIGIN) for _ in range(3)]
    for ms, (which, step) in enumerate(steps, 1):
        match step:
            case "append":
                tails.append(current[which], publication(ms))
            case "discard":
                tails.discard(current[which])
                tails.discard(current[which])  # twice is once
                current[which] = HotTail(at(ms), ORIGIN)
            case "clear":
                tails.clear()
                current = [HotTail(at(ms), ORIGIN) for _ in range(3)]
        assert tails.bytes == sum(tail.bytes for tail in current) <= 6 * SIZE_BYTES


@pytest.mark.parametrize("data_bytes", [0, 1, 100_000])
def test_an_event_above_the_bound_is_dropped_at_once(data_bytes: int) -> None:
    tails = HotTails(channel_bytes=SIZE_BYTES - 1, node_bytes=10 * SIZE_BYTES)
    tail = HotTail(at(1), ORIGIN)
    tails.append(tail, publication(2, data_bytes))
    assert (len(tail), tails.bytes, tail.floor, tails.dropped) == (0, 0, at(2), 1)
