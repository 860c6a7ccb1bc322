"""`gateway.broker.streams` over a client that is played: what becomes of reads that are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.broker.streams import Streams
from gateway.protocol.merge import Page, Read
from publisher.async_client import AsyncClient
from publisher.channels import Channel, Partition
from publisher.ids import ORIGIN, Position
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

NEWS = Channel("news")
LAST = Position(7, 0)


class Client:
    """Answers no read before `answers` is set. Like redis-py's, it must not be closed under a read."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.reading = 0
        self.closed = False

    async def xrange(self, *_: object) -> list[Any]:
        self.reading += 1
        try:
            await self.answers.wait()
            return []
        finally:
            self.reading -= 1

    xrevrange = xrange

    async def aclose(self) -> None:
        assert not self.reading, "closed under a read"
        self.closed = True


class World:
    """Reads on clients that are made as they are asked for, all tasks in one list."""

    def __init__(self, *, deadline_seconds: float | None = None) -> None:
        self._deadline_seconds = deadline_seconds
        self.clients: list[Client] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.answers: list[Sequence[Page]] = []
        self.streams = Streams(
            self._connect,
            Partition("t"),
            self._spawn,
            page_bytes=1000,
            max_last_bytes=16_000_000,
            max_payload_bytes=1000,
        )

    def _connect(self) -> AsyncClient:
        self.clients.append(Client())
        return AsyncClient(
            cast("Redis", self.clients[-1]), most_calls=8, deadline_seconds=self._deadline_seconds
        )

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.append(task)
        return task

    async def read(self) -> None:
        """Begin a read and a search for the newest, and let them reach the client."""
        self.streams.read([Read(NEWS, ORIGIN, LAST, LAST, False, False, None)], self.answers.append)
        self.streams.newest([NEWS], LAST, 1, lambda: True, lambda _: None)
        await aeventually(lambda: self.clients[-1].reading == 2)

    async def ended(self) -> None:
        """All tasks end by themselves, and none has failed."""
        done, pending = await asyncio.wait(self.tasks, timeout=5)
        assert not pending
        assert not [task for task in done if not task.cancelled() and task.exception()]


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_new_generation_gives_up_what_is_under_way_and_reads_on_a_client_of_its_own(
    world: World,
) -> None:
    await world.read()
    world.streams.new_generation()
    await world.read()
    old, new = world.clients
    new.answers.set()
    await world.ended()
    assert (old.closed, new.closed) == (True, False)
    assert world.answers == [[Page((), LAST, expected=LAST)]]


async def test_who_stands_in_the_midst_of_a_page_reads_nothing(world: World) -> None:
    await world.read()
    [client] = world.clients
    client.answers.set()
    await world.ended()
    reads = [Read(NEWS, Position(3, 0), LAST, LAST, False, False, None)]
    world.streams.read(reads, world.answers.append)
    assert world.answers[0] == world.answers[1]
    assert world.streams.pages_read == 1


async def test_pages_are_forgotten_though_nobody_reads_any_more(world: World) -> None:
    await world.read()
    world.clients[0].answers.set()
    await world.ended()
    assert len(world.streams._pages) == 1
    await aeventually(lambda: len(world.streams._pages) == 0)


async def test_a_read_that_takes_long_gets_more_time() -> None:
    """Longer than the deadline, and as long each time: as a large entry over a slow line."""
    world = World(deadline_seconds=0.05)

    async def slowly(*_: object) -> list[Any]:
        await asyncio.sleep(0.15)
        return []

    world.clients[0].xrange = slowly  # type: ignore[method-assign]
    world.streams.read([Read(NEWS, ORIGIN, LAST, LAST, False, False, None)], world.answers.append)
    await aeventually(lambda: world.answers)


async def test_the_end_waits_for_no_answer(world: World) -> None:
    await world.read()
    await world.streams.aclose()
    assert world.clients[0].closed
    await world.ended()
    assert not world.answers
