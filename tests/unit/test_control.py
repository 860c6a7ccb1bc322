"""`gateway.http.control` as the sink of its subscription, between a hub and streams that are played."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.auth.grants import Bearer
from gateway.http.control import Control
from gateway.http.streams import ENDED_AT_ONCE
from gateway.hub.subscription import Phase
from gateway.protocol import sse
from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import Gap, GapReason
from gateway.settings import Settings
from publisher.channels import Channel
from publisher.control import CONTROL, Target
from publisher.ids import Epoch, EventId, Position
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.hub.subscription import Subscription

NOW_MS = 1_800_000_000_000
EPOCH = Epoch("abcdef")
PLAIN = sse.Encoding(chunked=False)


class Hub:
    """Its channel has a floor at once; what is live or not is for the test to say."""

    def __init__(self) -> None:
        self.node = SimpleNamespace(
            position=Position(NOW_MS, 0), history=SimpleNamespace(epoch=EPOCH), channels={}
        )
        self.started: list[Subscription] = []
        self.gone: list[Subscription] = []

    def register(self, subscription: Subscription) -> None: ...

    def is_ready(self, subscription: Subscription) -> bool:
        return True

    def start(self, subscription: Subscription) -> None:
        subscription.started = True
        self.started.append(subscription)

    def unregister(self, subscription: Subscription, now: float) -> None:
        self.gone.append(subscription)


class Streams:
    def __init__(self) -> None:
        self.open: list[Any] = []
        self.ended: list[Any] = []

    def about(self, target: Target) -> tuple[Any, ...]:
        return tuple(self.open)

    def unauthorise(self, stream: Any, reason: CloseReason) -> None:
        stream.reason = reason
        self.ended.append(stream)


class World:
    def __init__(self) -> None:
        self.hub = Hub()
        self.streams = Streams()
        self.control = Control(cast("Any", self.hub), cast("Any", self.streams), Settings())

    def stream(self, bearer: Bearer) -> Any:
        subscription = SimpleNamespace(channels=(Channel("a"),))
        stream = SimpleNamespace(reason=None, bearer=bearer, subscription=subscription)
        self.streams.open.append(stream)
        return stream

    def goes_live(self) -> None:
        """What the hub does with the subscription that was started last."""
        self.control.write(sse.event(sse.OPEN_TYPE, b'{"resumed":true}', str(at())))
        self.hub.started[-1].phase = Phase.LIVE

    def tell_gap(self, reason: GapReason, channel: Channel | None) -> None:
        self.control.write(Gap(channel, reason, None, None).frame(PLAIN, at()))

    @property
    def missed(self) -> dict[str, float]:
        family = next(f for f in self.control.metrics() if f.name == "fanlight_revocations_missed")
        return {sample.labels["reason"]: sample.value for sample in family.samples if sample.value}


def at(seconds: float = 0) -> EventId:
    return EventId(Position(NOW_MS + int(seconds * 1000), 0), EPOCH)


def frame(id_: EventId, **fields: object) -> bytes:
    return sse.event(b"revoke", json.dumps({"seconds": 1e9, **fields}).encode(), str(id_))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.control.run())
    await aeventually(lambda: world.hub.started)
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_is_in_sync_once_it_is_live(world: World) -> None:
    assert not world.control.in_sync
    assert not world.control.synced.is_set()
    world.goes_live()
    assert world.control.in_sync
    assert world.control.synced.is_set()
    world.hub.started[-1].phase = Phase.REPLAY  # the link is lost
    assert not world.control.in_sync


async def test_it_begins_with_all_that_can_still_count(world: World) -> None:
    """And not ahead of a position that has stood still since, which would be from the future."""
    [first] = world.hub.started
    assert first.channels == (CONTROL,)
    assert first.cursor is not None
    assert first.cursor.epoch == EPOCH
    assert first.cursor.position <= world.hub.node.position
    world.hub.node.position = Position(7, 7)
    world.tell_gap(GapReason.EPOCH, None)
    await aeventually(lambda: len(world.hub.started) == 2)
    assert world.hub.started[1].cursor == EventId(Position(7, 7), EPOCH)


async def test_what_is_covered_ends_and_nothing_else(world: World) -> None:
    old, new = world.stream(Bearer("42", None, 0)), world.stream(Bearer("42", None, NOW_MS / 1000 + 1))
    world.control.write(frame(at(), subject="42"))
    await aeventually(lambda: world.streams.ended)
    assert world.streams.ended == [old]
    assert new.reason is None
    assert world.control.find(Bearer("42", None, 0), []) is not None
    assert world.control.find(Bearer("43", None, 0), []) is None


async def test_many_streams_end_a_part_at_a_time(world: World) -> None:
    """Whoever waits for the loop gets it in between."""
    count = 10 * ENDED_AT_ONCE
    for _ in range(count):
        world.stream(Bearer("42"))
    world.control.write(frame(at(), subject="42"))
    steps, before = [], 0
    while before < count:
        await asyncio.sleep(0)
        ended = len(world.streams.ended)
        steps.append(ended - before)
        before = ended
    assert max(steps) == ENDED_AT_ONCE


async def test_many_revocations_end_their_streams_a_part_at_a_time(world: World) -> None:
    count = 4 * ENDED_AT_ONCE
    for number in range(count):
        world.streams.open = []
        world.stream(Bearer(f"s{number}"))
        world.control.write(frame(at(), subject=f"s{number}"))
    largest = before = 0
    while before < count:
        await asyncio.sleep(0)
        ended = len(world.streams.ended)
        largest, before = max(largest, ended - before), ended
    assert largest == ENDED_AT_ONCE


async def test_what_is_told_again_ends_nobody_who_came_since(world: World) -> None:
    """Where everybody may follow a channel, a revocation ends what is open, once."""
    world.control.write(frame(at(), channel="a"))
    late = world.stream(Bearer())
    world.control.write(frame(at(), channel="a"))
    world.control.write(frame(at(1), subject="x"))
    await asyncio.sleep(0)
    assert late.reason is None
    world.control.write(frame(at(2), channel="a"))
    await aeventually(lambda: world.streams.ended == [late])


GAPS = [
    # reason, the channel's own, once live, while it reads all: whether it reads all (again)
    (GapReason.EPOCH, False, True, True),
    (GapReason.FAILOVER, False, True, True),
    (GapReason.FUTURE, False, True, True),
    (GapReason.REWRITTEN, True, True, False),
    (GapReason.LATE, True, True, False),
    (GapReason.TRIMMED, True, True, False),
]


@pytest.mark.parametrize(("reason", "own", "live", "reading"), GAPS, ids=str)
@pytest.mark.parametrize("is_live", [True, False], ids=["live", "reading"])
async def test_a_gap_is_told_and_all_that_is_left_is_read(
    world: World, reason: GapReason, own: bool, live: bool, reading: bool, is_live: bool
) -> None:
    world.control.write(frame(at(), subject="42"))
    if is_live:
        world.goes_live()
    world.tell_gap(reason, CONTROL if own else None)
    assert world.missed == {reason.value: 1}
    again = live if is_live else reading
    if again:
        assert not world.control.in_sync
        await aeventually(lambda: len(world.hub.started) == 2)
        assert world.hub.gone == world.hub.started[:1]
        assert not world.control.in_sync
        world.goes_live()
    assert world.control.in_sync is (again or is_live)
    assert world.control.find(Bearer("42", None, 0), []) is not None, "what it knew it knows"


@pytest.mark.parametrize(
    "told",
    [
        sse.event(b"revoke", b"{}", str(at())),
        sse.event(b"revoke", b'{"tenant":"7","seconds":60}', str(at())),
        sse.event(b"", b'{"subject":"42","seconds":60}', str(at())),
    ],
)
async def test_what_it_cannot_read_is_told(world: World, told: bytes) -> None:
    world.control.write(told)
    assert world.missed == {"invalid": 1}


async def test_a_channel_that_somebody_closed_is_followed_on(world: World) -> None:
    world.goes_live()
    world.control.end(CloseReason.CHANNELS_ENDED)
    assert not world.control.in_sync
    await aeventually(lambda: len(world.hub.started) == 2)
    assert world.missed == {"channels_ended": 1}
