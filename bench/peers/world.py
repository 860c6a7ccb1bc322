"""A world of `tests.chaos` whose gateways are nodes of another setup, and a run on it.

A fault asks the world how Fanlight's links are. These setups don't say. So where it waits for a link to be
found dead it waits here until the proxies' connections are gone, and where it waits for a new link, for a new
connection: `SILENCE_SECONDS` and `RELINK_SECONDS` at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from bench.peers.judge import PeerVerdict, judge
from bench.peers.load import HttpWriter, PeerSubscriber, PeerWriter, RedisWriter
from bench.peers.nodes import Nchan, Node
from tests.chaos.proxy import Proxy
from tests.chaos.publishers import Habits
from tests.chaos.world import HEAL_SECONDS, Run, World, _acked
from tests.support.redis_server import RedisServer
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.chaos.history import Vitals

SILENCE_SECONDS = 4.0
RELINK_SECONDS = 5.0
QUIET_SECONDS = 5.0
"""Nothing arrives for so long after the last publish: nothing more will."""


class PublishingProxies(Proxy):
    """Before each node of a setup that is published to over HTTP; commanded as one."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(ports[0])
        self._others = [Proxy(port) for port in ports[1:]]

    @property
    def ports(self) -> list[int]:
        return [self.port, *(other.port for other in self._others)]

    def __enter__(self) -> Self:
        for other in self._others:
            other.__enter__()
        return super().__enter__()

    def __exit__(self, *details: object) -> None:
        for other in self._others:
            other.__exit__()
        super().__exit__()

    def silence(self, *, up: bool = False, down: bool = False) -> None:
        for other in self._others:
            other.silence(up=up, down=down)
        super().silence(up=up, down=down)

    def forward(self) -> None:
        for other in self._others:
            other.forward()
        super().forward()

    def cut(self) -> None:
        for other in self._others:
            other.cut()
        super().cut()


class PeerWorld(World):
    """A server, two nodes that reach it through a proxy each, for a `with`."""

    gateways: list[Node]  # type: ignore[assignment]

    def __init__(self, kind: type[Node], *, durable: bool) -> None:
        options = {"appendonly": "yes", "appendfsync": "always"} if durable else {}
        self.server = RedisServer(options={"enable-protected-configs": "yes", **options})
        self.kind = kind
        self.broken = False
        self._runs = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(lambda: self.server.close())
            self.server.start()
            self.links = [stack.enter_context(Proxy(self.server.port)) for _ in range(2)]
            self.gateways = [self.kind(link.url) for link in self.links]
            for node in self.gateways:
                stack.callback(node.close)
                node.start()
            eventually(lambda: all(link.connections >= self.kind.links for link in self.links))
            over_http = self.kind is Nchan
            self.publishing = stack.enter_context(
                PublishingProxies(self.ports()) if over_http else Proxy(self.server.port)
            )
            self._stack = stack.pop_all()
        return self

    @property
    def proxies(self) -> list[Proxy]:
        """All ways to the server. Of a setup that is published to over HTTP, that way isn't one."""
        return list(self.links) if self.kind is Nchan else [self.publishing, *self.links]

    def ports(self) -> Sequence[int]:
        return [node.port for node in self.gateways]

    def generations(self) -> list[int]:
        return [link.accepted for link in self.links]

    def wait_lost(self, *, seconds: float = SILENCE_SECONDS) -> None:
        """Until none of the connections that there are is left. A setup that doesn't find a dead link
        keeps them; then it is `SILENCE_SECONDS`."""
        before = [set(link._links) for link in self.links]
        with contextlib.suppress(AssertionError):
            eventually(
                lambda: all(
                    old.isdisjoint(link._links) for old, link in zip(before, self.links, strict=True)
                ),
                seconds=SILENCE_SECONDS,
            )

    def wait_linked(self, *, seconds: float = 0) -> None:
        time.sleep(1)

    def wait_anew(self, before: Sequence[int], *, seconds: float = RELINK_SECONDS) -> None:
        """Until each node has connected anew, or has not within `RELINK_SECONDS`."""
        with contextlib.suppress(AssertionError):
            super().wait_dropped(before, seconds=RELINK_SECONDS)

    wait_dropped = wait_anew

    def vitals(self) -> list[Vitals]:
        return []

    def writer(self, channels: Sequence[str], habits: Habits) -> PeerWriter:
        if isinstance(self.publishing, PublishingProxies):
            return HttpWriter(self.publishing.ports, channels, habits)
        return RedisWriter(self.publishing.url, channels, habits)


class PeerRun(Run):
    """The same load, without what presumes idempotency keys."""

    world: PeerWorld
    subscribers: list[PeerSubscriber]  # type: ignore[assignment]

    def __init__(self, world: PeerWorld, *, pace: float = 1.0) -> None:
        super().__init__(world, pace=pace)

        def own(name: str, channels: Sequence[str], buffer: int | None = None) -> PeerSubscriber:
            path = world.kind.path
            return PeerSubscriber(name, channels, world.ports, path=path, receive_buffer_bytes=buffer)

        self.subscribers = [own(s.followed.name, s.followed.channels) for s in self.subscribers[:-1]]
        self.subscribers.append(own("slow", self.slow.followed.channels, 4096))
        self.away, self.slow = self.subscribers[-2:]

    def _writer(self, channels: Sequence[str], habits: Habits, *, begin_at: int = 1) -> PeerWriter:
        plain = Habits(
            rate=habits.rate, batch=habits.batch, persist=habits.persist, size_bytes=habits.size_bytes
        )
        return self.world.writer(channels, plain)

    def more_acked(self, count: int, *, seconds: float = 10) -> None:
        """As there, but a fault goes on where the publishers don't get through."""
        with contextlib.suppress(AssertionError):
            super().more_acked(count, seconds=seconds)

    async def settle(self) -> float | None:
        """Seconds until everybody got something that was published from now on; None: not in 15 s."""
        started = time.monotonic()
        self.away.come_back()
        for writer in self.writers:
            writer.paused = frozenset()
        goal = {c: n + 1 for w in self.writers for c, n in w.begun.items()}

        def reached() -> bool:
            now = {c: n for w in self.writers for c, n in _acked(w).items()}
            return all(now[c] >= n for c, n in goal.items()) and self._all_have(goal)

        try:
            await aeventually(reached, seconds=HEAL_SECONDS)
        except AssertionError:
            return None
        return time.monotonic() - started

    def _all_have(self, goal: Mapping[str, int]) -> bool:
        return all(
            subscriber.newest.get(channel, 0) >= goal[channel]
            for subscriber in self.subscribers
            for channel in subscriber.followed.channels
            if channel in goal
        )

    async def end(self) -> PeerVerdict:
        """Stop the load, give everybody time to catch up, and count."""
        for writer in self.writers:
            await asyncio.to_thread(writer.stop)
        top = {c: n for w in self.writers for c, n in _acked(w).items()}
        arrived = -1
        while arrived != (arrived := sum(s.events for s in self.subscribers)):
            with contextlib.suppress(AssertionError):  # what doesn't come any more is counted
                await aeventually(lambda: self._all_have(top), seconds=QUIET_SECONDS)
        await self.__aexit__()
        return judge([item for writer in self.writers for item in writer.written], self.subscribers)
