"""The link against a real server, without a gateway around it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway.broker import link as link_module
from gateway.broker.dial import shake_hands
from gateway.broker.link import Link
from gateway.broker.primary import Primary
from gateway.broker.probe import Probe
from gateway.hub.hub import Hub
from gateway.protocol.interest import Interest
from publisher import Event, Publisher
from publisher.channels import Channel, Partition
from tests.chaos.proxy import Proxy
from tests.support.simulation import SimLog
from tests.support.wait import aeventually

if TYPE_CHECKING:
    import pytest

    from gateway.broker.connection import Connection
    from gateway.broker.dial import Greeting
    from tests.support.redis_server import RedisServer


class Node:
    """A link and a hub, and nobody who follows anything."""

    def __init__(self, url: str, prefix: str, **options: float) -> None:
        self.interest = Interest()
        self.hub = Hub(self.interest)
        options = {"reconnect_max_seconds": 0.1, **options}
        self.link = Link(
            Primary(url, deadline_seconds=5), Partition(prefix), self.interest, self.hub, **options
        )
        self.hub.wire(self.link, _NoLog())


class _NoLog(SimLog):
    def __init__(self) -> None:
        pass


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[None]:
    task = asyncio.create_task(node.link.run())
    try:
        await asyncio.wait_for(node.link.up.wait(), 10)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_count_that_agrees_costs_nothing(redis_server: RedisServer, prefix: str) -> None:
    node = Node(redis_server.url, prefix)
    async with running(node):
        node.interest.want(Channel("a"))
        node.link.interest_changed()
        await aeventually(lambda: node.interest.unconfirmed == 0)
        node.link._generation.count_subscriptions()  # type: ignore[union-attr]
        ticket = node.link.read_position()  # answered behind the count
        assert ticket
        await asyncio.wait_for(_answered(node), 10)
        assert node.link.state.generation == 1


async def test_a_subscription_that_redis_has_lost_is_found_by_the_count(
    redis_server: RedisServer, prefix: str
) -> None:
    node = Node(redis_server.url, prefix)
    async with running(node):
        node.interest.want(Channel("a"))
        node.link.interest_changed()
        await aeventually(lambda: node.interest.unconfirmed == 0)
        # The server forgets one without a word: nothing on the connection shows it.
        connection = node.link._generation.connection  # type: ignore[union-attr]
        connection.send((("UNSUBSCRIBE", Partition(prefix).live(Channel("a"))), None))
        node.link._generation.count_subscriptions()  # type: ignore[union-attr]
        await aeventually(lambda: node.link.state.generation == 2)
        assert "Redis counts 1 subscriptions of 2" in node.link.state.last_error
        await aeventually(lambda: node.interest.unconfirmed == 0)


async def test_a_node_that_is_late_keeps_its_link(redis_server: RedisServer, prefix: str) -> None:
    """The answers to its position reads stand behind four seconds of work; the deadline is half a second."""
    node = Node(redis_server.url, prefix, position_read_seconds=0.05, deadline_seconds=0.5)
    heard = 0

    def message(*_: object) -> None:
        nonlocal heard
        heard += 1
        time.sleep(0.0002)  # work

    node.hub.message = message  # type: ignore[method-assign, assignment]
    async with running(node):
        node.interest.want(Channel("a"))
        node.link.interest_changed()
        await aeventually(lambda: node.interest.unconfirmed == 0)
        events = [Event(channel="a", data="x" * 400) for _ in range(20_000)]
        with Publisher(redis_server.url, prefix=prefix) as publisher:
            await asyncio.to_thread(publisher.publish_many, events)
        await aeventually(lambda: heard >= len(events) or node.link.state.generation > 1, seconds=60)
        assert node.link.state.generation == 1


async def test_a_probe_of_a_node_that_is_late_costs_no_link(redis_server: RedisServer, prefix: str) -> None:
    """What it published stands behind six seconds of work, too."""
    node = Node(redis_server.url, prefix)
    probe = Probe(node.link.primary, node.link, interval_seconds=0.05, deadline_seconds=2)
    node.link.on_probe = probe.heard
    heard = 0

    def message(*_: object) -> None:
        nonlocal heard
        heard += 1
        time.sleep(0.001)  # work

    node.hub.message = message  # type: ignore[method-assign, assignment]
    async with running(node):
        node.interest.want(Channel("a"))
        node.link.interest_changed()
        await aeventually(lambda: node.interest.unconfirmed == 0)
        events = [Event(channel="a", data="x" * 4000) for _ in range(6000)]
        with Publisher(redis_server.url, prefix=prefix) as publisher:
            publisher.publish_many(events)  # without a turn of the loop between: all of it waits
        async with asyncio.timeout(60):
            while probe.heard_total + probe.silent_total == 0:  # until one was published in time
                await probe._probe()
        assert heard == len(events)
        assert (node.link.state.generation, probe.heard_total, probe.silent_total) == (1, 1, 0)


async def test_a_node_that_rests_keeps_its_link(redis_server: RedisServer, prefix: str) -> None:
    """It rests for longer than its deadline, with the answers in its socket."""
    node = Node(redis_server.url, prefix, position_read_seconds=0.01, deadline_seconds=0.1, turn_seconds=0.6)
    heard = written = 0

    def message(*_: object) -> None:
        nonlocal heard
        heard += 1

    def end_of_batch() -> bool:
        nonlocal written
        if heard == written:
            return False
        written = heard
        time.sleep(0.3)  # work
        return True

    node.hub.message = message  # type: ignore[method-assign, assignment]
    node.hub.end_of_batch = end_of_batch  # type: ignore[method-assign]
    async with running(node):
        node.interest.want(Channel("a"))
        node.link.interest_changed()
        await aeventually(lambda: node.interest.unconfirmed == 0)
        with Publisher(redis_server.url, prefix=prefix) as publisher:
            for number in range(1, 4):
                publisher.publish("a", number)
                await aeventually(lambda: heard == number or node.link.state.generation > 1)  # noqa: B023
        await asyncio.wait_for(_answered(node), 10)
        assert node.link.state.generation == 1


async def test_a_link_that_falls_silent_after_much_is_given_up(own_redis: RedisServer, prefix: str) -> None:
    """The last read was large: the node may have been late then, but not for ever."""
    node = Node(own_redis.url, prefix, position_read_seconds=0.05, deadline_seconds=0.5)
    async with running(node):
        node.interest.want(Channel("a"))
        node.link.interest_changed()
        await aeventually(lambda: node.interest.unconfirmed == 0)
        # Without a turn of the loop between: all of it is in the socket when the server stops.
        with own_redis.client() as redis:
            redis.publish(Partition(prefix).live(Channel("a")), b"x" * 200_000)
        own_redis.pause()
        await aeventually(lambda: not node.link.state.connected, seconds=5)
        assert "did not answer a position read" in node.link.state.last_error


async def test_a_link_on_which_much_comes_and_no_answer_is_given_up(
    own_redis: RedisServer, prefix: str
) -> None:
    with Proxy(own_redis.port) as proxy, own_redis.client() as redis:
        node = Node(proxy.url, prefix, position_read_seconds=0.05, deadline_seconds=0.5)
        async with running(node):
            node.interest.want(Channel("a"))
            node.link.interest_changed()
            await aeventually(lambda: node.interest.unconfirmed == 0)
            connection = node.link._generation.connection  # type: ignore[union-attr]
            proxy.silence(up=True)
            much = "x" * 400_000

            def given_up() -> bool:
                redis.publish(Partition(prefix).live(Channel("a")), much)
                return not node.link.state.connected

            await aeventually(given_up, seconds=10)
            assert connection.large_reads > 5
            assert "did not answer a position read" in node.link.state.last_error


async def test_a_link_that_is_lost_with_its_last_greeting_does_not_begin(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(redis_server.url, prefix)
    in_sync: list[bool] = []

    async def lost_at_first(connection: Connection, *arguments: Any, named: bool) -> Greeting:
        in_sync.append(node.hub.node.in_sync)
        greeting = await shake_hands(connection, *arguments, named=named)
        if len(in_sync) == 1:
            connection.abort(ConnectionResetError("lost"))
        return greeting

    monkeypatch.setattr(link_module, "shake_hands", lost_at_first)
    async with running(node):
        assert in_sync == [False, False]
        assert node.hub.node.in_sync
        assert node.link.state.generation == 1


async def test_nothing_is_left_of_channels_that_came_and_went(redis_server: RedisServer, prefix: str) -> None:
    node = Node(redis_server.url, prefix)
    async with running(node):
        for batch in range(100):
            names = [Channel(f"c{batch}.{number}") for number in range(1000)]
            for name in names:
                node.interest.want(name)
            node.link.interest_changed()
            await aeventually(lambda: node.interest.unconfirmed == 0)
            for name in names:
                node.interest.unwant(name)
            node.link.interest_changed()
        node.link._generation.count_subscriptions()  # type: ignore[union-attr]
        await asyncio.wait_for(_answered(node), 10)
        assert node.link.state.generation == 1
        assert node.interest.asked == 0
        assert not any(vars(node.interest)[name] for name in ("_asked", "_floorless", "_differs", "wanted"))
        with redis_server.client() as redis:
            pattern = Partition(prefix).live(Channel("*"))
            await aeventually(lambda: redis.pubsub_channels(pattern) == [])


async def _answered(node: Node) -> None:
    """Until a position read that is sent now is answered: so is everything that was sent before it."""
    answered = asyncio.Event()
    ticket = 0

    def position(*arguments: object) -> None:
        if arguments[2] == ticket:
            answered.set()

    node.hub.position = position  # type: ignore[method-assign, assignment]
    ticket = node.link.read_position()
    await answered.wait()
