"""What the link asks of Redis, played against a server that answers in order, and late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.interest import Interest, Work
from publisher.channels import Channel

A, B = Channel("a"), Channel("b")
NAMES = [A, B, Channel("c")]


@dataclass
class Server:
    """Executes commands at once, in order; its answers wait on the way until they are delivered."""

    interest: Interest
    subscribed: set[Channel] = field(default_factory=set)
    since: dict[Channel, int] = field(default_factory=dict)
    """When a channel's present subscription began; gone with an UNSUBSCRIBE."""
    now: int = 0
    answers: deque[tuple[Channel | None, Work | None]] = field(default_factory=deque)
    read_at: dict[int, int] = field(default_factory=dict)
    """When each floor read was executed, by its ticket."""

    def send(self, most: int = 100) -> Work:
        work = self.interest.take(most)
        for channel in work.subscribe:
            assert channel not in self.subscribed
            self.subscribed.add(channel)
            self.since[channel] = self.tick()
            self.answers.append((channel, None))
        for channel in work.unsubscribe:
            self.subscribed.remove(channel)
            del self.since[channel]
            self.answers.append((channel, None))
        if work.floors:
            self.read_at[work.ticket] = self.tick()
            self.answers.append((None, work))
        return work

    def deliver(self) -> list[Channel]:
        """The next answer. The channels that it gave floors."""
        if not self.answers:
            return []
        _, work = self.answers.popleft()
        return [] if work is None else self.interest.floors_read(work)

    def settle(self) -> list[Channel]:
        """Send and deliver until nothing is left. The channels that were given floors."""
        given: list[Channel] = []
        while self.send() or self.answers:
            given += self.deliver()
        return given

    def tick(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def interest() -> Interest:
    return Interest()


@pytest.fixture
def server(interest: Interest) -> Server:
    return Server(interest)


def test_a_new_connection_asks_for_the_control_channel_first() -> None:
    """With all that follows: who is revoked is to be known before those who were are served."""
    interest = Interest()
    for name in ("a", "fanlight.control", "Z", "0", "z"):
        interest.want(Channel(name))
    interest.reset()
    work = interest.take(2)
    assert work.subscribe == work.floors == ["fanlight.control", "0"]


def test_a_wanted_channel_is_subscribed_and_gets_a_floor(interest: Interest, server: Server) -> None:
    interest.want(A)
    work = server.send()
    assert (work.subscribe, work.unsubscribe, work.floors) == ([A], [], [A])
    assert server.deliver() == []  # the SUBSCRIBE
    assert interest.unconfirmed == 1
    assert server.deliver() == [A]
    assert interest.unconfirmed == 0
    assert not server.send()


def test_an_unwanted_channel_is_left(interest: Interest, server: Server) -> None:
    interest.want(A)
    server.settle()
    interest.unwant(A)
    assert server.send().unsubscribe == [A]
    assert not server.send()


def test_who_changes_their_mind_in_time_costs_nothing(interest: Interest, server: Server) -> None:
    interest.want(A)
    interest.unwant(A)
    assert not server.send()
    interest.want(B)
    server.settle()
    interest.unwant(B)
    interest.want(B)
    work = server.send()
    assert (work.subscribe, work.unsubscribe) == ([], [])
    assert work.floors == [B]  # its floor was given up with it


def test_a_late_answer_does_not_pass_for_the_new_one(interest: Interest, server: Server) -> None:
    interest.want(A)
    server.send()
    interest.unwant(A)
    server.send()
    interest.want(A)
    server.send()
    given = []
    while server.answers:
        given.append(server.deliver())
    # SUBSCRIBE, its floor read, UNSUBSCRIBE, SUBSCRIBE, its floor read
    assert given == [[], [], [], [], [A]]
    assert interest.unconfirmed == 0


def test_a_floor_read_for_an_earlier_interest_gives_none(interest: Interest, server: Server) -> None:
    """Between the two, messages were heard by nobody: the hub had forgotten the channel."""
    interest.want(A)
    server.send()
    interest.unwant(A)
    interest.want(A)
    server.deliver()
    assert server.deliver() == []
    assert server.settle() == [A]


def test_a_batch_is_bounded(interest: Interest, server: Server) -> None:
    names = [Channel(f"n{number}") for number in range(10)]
    for name in names:
        interest.want(name)
    batches = []
    while work := server.send(most=3):
        assert len(work.subscribe) <= 3
        assert len(work.floors) <= 3
        batches.append(work)
    assert sorted(name for work in batches for name in work.subscribe) == names
    assert sorted(name for work in batches for name in work.floors) == names


def test_a_new_connection_begins_anew(interest: Interest, server: Server) -> None:
    interest.want(A)
    interest.want(B)
    server.settle()
    interest.unwant(B)
    server.send()
    interest.reset()
    again = Server(interest)
    assert interest.unconfirmed == 1
    assert again.settle() == [A]
    assert again.subscribed == {A}


names = st.sampled_from(NAMES)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("want"), names),
        st.tuples(st.just("unwant"), names),
        st.tuples(st.just("send"), st.integers(1, 3)),
        st.tuples(st.just("deliver"), st.none()),
        st.tuples(st.just("reset"), st.none()),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_the_order_a_floor_is_of_the_present_subscription(
    script: list[tuple[str, Channel | int | None]],
) -> None:
    interest = Interest()
    server = Server(interest)
    wanted_at: dict[Channel, int] = {}
    floored: set[Channel] = set()

    def given_floors(work: Work | None, channels: list[Channel]) -> None:
        for channel in channels:
            assert work is not None
            assert channel in wanted_at
            assert channel not in floored
            # Read behind the SUBSCRIBE that holds now, and after the hub began to listen.
            assert server.since[channel] < server.read_at[work.ticket]
            assert wanted_at[channel] < server.read_at[work.ticket]
            floored.add(channel)

    def deliver() -> None:
        work = server.answers[0][1] if server.answers else None
        given_floors(work, server.deliver())

    for step, argument in script:
        match step, argument:
            case "want", str() as name:
                if name not in wanted_at:
                    wanted_at[Channel(name)] = server.tick()
                    interest.want(Channel(name))
            case "unwant", str() as name:
                if wanted_at.pop(Channel(name), None) is not None:
                    floored.discard(Channel(name))
                    interest.unwant(Channel(name))
            case "send", int() as most:
                server.send(most)
            case "deliver", _:
                deliver()
            case _:
                interest.reset()
                floored.clear()
                server = Server(interest, now=server.now)
        assert interest.unconfirmed == len(wanted_at) - len(floored)
        assert floored <= server.subscribed
    while server.send(most=1) or server.answers:
        deliver()
    assert server.subscribed == set(wanted_at) == floored
