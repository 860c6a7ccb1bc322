"""Presence events: who is told what, and how often."""

from __future__ import annotations

import pytest

from gateway.hub.subscription import Phase, Subscription
from gateway.inspect.crowds import Crowds, Presence
from gateway.inspect.line import Away
from gateway.protocol.closing import CloseReason
from gateway.protocol.inquiry import MOST_CHANNELS
from gateway.protocol.sse import Encoding
from publisher.channels import Channel

A, B = Channel("a"), Channel("b")


class FakeSink:
    """A connection."""

    def __init__(self) -> None:
        self.full = False
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def ready(self) -> None:
        raise AssertionError("it is ready")

    def end(self, reason: CloseReason) -> None:
        raise AssertionError(reason)


class Watcher:
    """A live subscription that wants to know, and its connection."""

    def __init__(self, crowds: Crowds, *channels: Channel, encoding: Encoding | None = None) -> None:
        self.sink = FakeSink()
        self.subscription = Subscription(self.sink, channels, encoding=encoding or Encoding(chunked=False))
        self.subscription.phase = Phase.LIVE
        crowds.watch(self.subscription)

    @property
    def told(self) -> int:
        """How often, since the last time."""
        written, self.sink.written = self.sink.written, []
        return len(written)


class Nodes:
    """What all nodes together would answer."""

    def __init__(self) -> None:
        self.streams: dict[Channel, int] = {}
        self.answered = 1
        self.asked: list[tuple[Channel, ...]] = []
        self.away = False

    async def ask(self, channels: tuple[Channel, ...]) -> Presence:
        self.asked.append(channels)
        if self.away:
            raise Away
        return Presence({channel: self.streams.get(channel, 1) for channel in channels}, 1, self.answered)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def crowds(nodes: Nodes) -> Crowds:
    return Crowds(nodes.ask, 1.0)


async def test_what_is_told(crowds: Crowds, nodes: Nodes) -> None:
    plain, chunked = Watcher(crowds, A), Watcher(crowds, A, encoding=Encoding(chunked=True, envelope=True))
    nodes.streams[A], nodes.answered = 7, 0
    await crowds.tell()
    event = b'event: fanlight.presence\ndata: {"channel":"a","streams":7,"complete":false}\n\n'
    assert plain.sink.written == [event]
    assert chunked.sink.written == [b"%x\r\n%b\r\n" % (len(event), event)]


async def test_only_what_has_changed_is_told_again(crowds: Crowds, nodes: Nodes) -> None:
    stream = Watcher(crowds, A, B)
    await crowds.tell()
    assert stream.told == 2
    await crowds.tell()
    assert stream.told == 0
    nodes.streams[B] = 2
    await crowds.tell()
    assert stream.told == 1
    nodes.answered = 0  # what is known has changed
    await crowds.tell()
    assert stream.told == 2
    late = Watcher(crowds, A)
    await crowds.tell()
    assert (stream.told, late.told) == (0, 1)


async def test_a_stream_without_room_is_told_when_it_has_some(crowds: Crowds) -> None:
    stream = Watcher(crowds, A)
    for full, phase in ((True, Phase.LIVE), (False, Phase.REPLAY)):
        stream.sink.full, stream.subscription.phase = full, phase
        await crowds.tell()
        assert stream.told == 0
    stream.subscription.phase = Phase.LIVE
    await crowds.tell()
    assert stream.told == 1


async def test_nobody_is_asked_for_streams_that_have_ended(crowds: Crowds, nodes: Nodes) -> None:
    first, second = Watcher(crowds, A, B), Watcher(crowds, B)
    first.subscription.phase = Phase.ENDED
    await crowds.tell()
    assert nodes.asked == [(B,)]
    second.subscription.phase = Phase.ENDED
    await crowds.tell()
    assert nodes.asked == [(B,)]
    assert len(crowds) == 0


async def test_a_question_is_bounded_and_each_channel_has_its_turn(crowds: Crowds, nodes: Nodes) -> None:
    names = [Channel(f"c{number:04}") for number in range(2 * MOST_CHANNELS + 5)]
    for at in range(0, len(names), 100):
        Watcher(crowds, *names[at : at + 100])
    for _ in range(4):
        await crowds.tell()
    assert [len(asked) for asked in nodes.asked] == [MOST_CHANNELS] * 4
    assert [name for asked in nodes.asked for name in asked][: len(names)] == names


async def test_while_nobody_can_be_asked_nothing_is_told(crowds: Crowds, nodes: Nodes) -> None:
    stream = Watcher(crowds, A)
    nodes.away = True
    await crowds.tell()
    assert stream.told == 0
    nodes.away = False
    await crowds.tell()
    assert stream.told == 1
