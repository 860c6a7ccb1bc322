"""What a fault befalls: a server, gateways that reach it through a proxy each, publishers, subscribers.

A `World` is processes, and outlives many a `Run`: channels of its own, the load on them, and one verdict.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.checker import Verdict, Violation, check, check_vitals
from tests.chaos.history import Allowance, History, Logged, Vitals, Written
from tests.chaos.proxy import Proxy
from tests.chaos.publishers import Habits, Writer
from tests.chaos.subscribers import Subscriber, place_of
from tests.support.gateway_process import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.wait import PATIENCE_SECONDS, aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

PREFIX = "chaos"
HEAL_SECONDS = 15.0
QUICK: Mapping[str, Any] = {
    "link_deadline_seconds": 1,
    "probe_seconds": 0.5,
    "position_read_seconds": 0.1,
    "reconnect_max_seconds": 0.5,
    "retry_ms": 50,
    "heartbeat_seconds": 1,
    "linger_seconds": 0.2,
    "drain_seconds": 0.5,
    "drain_wait_seconds": 0.2,
    "max_replays": 8,
    "compression": "gzip",
}
MORE_BYTES = 48_000_000
"""By how much a gateway's memory may be larger after a run: hot tails, pages, what the allocator keeps."""
POOLED_FILES = 16
"""What a gateway's pools may keep open: its replays' connections, and a few for publishing."""


class World:
    """Real processes, for a `with`."""

    def __init__(
        self, *, options: Mapping[str, str] | None = None, gateways: int = 2, **settings: Any
    ) -> None:
        self.server = RedisServer(options={"enable-protected-configs": "yes", **(options or {})})
        self._gateways = gateways
        self._settings = {**QUICK, **settings}
        self._runs = 0
        self.broken = False
        """A run failed, or left the world in another state than it found it."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(lambda: self.server.close())  # whichever it is by then
            self.server.start()
            self.publishing = stack.enter_context(Proxy(self.server.port))
            self.links = [stack.enter_context(Proxy(self.server.port)) for _ in range(self._gateways)]
            self._start_gateways(stack, [link.url for link in self.links])
            self._stack = stack.pop_all()
        return self

    def _start_gateways(self, stack: ExitStack, urls: Sequence[str]) -> None:
        self.gateways = [GatewayProcess(redis_url=url, prefix=PREFIX, **self._settings) for url in urls]
        for gateway in self.gateways:
            stack.callback(gateway.close)
            gateway.start(wait=False)
        for gateway in self.gateways:
            gateway.wait_ready()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def publishing_url(self) -> str:
        """Where publishers find the server."""
        return self.publishing.url

    @property
    def proxies(self) -> list[Proxy]:
        return [self.publishing, *self.links]

    def ports(self) -> Sequence[int]:
        return [gateway.port for gateway in self.gateways]

    def admin(self) -> Any:
        """A `redis.Redis`, a client of the server itself, not through a proxy."""
        return self.server.client()

    def health(self) -> Iterator[dict[str, Any]]:
        """What each gateway says of its Redis link."""
        for gateway in self.gateways:
            body = json.loads(gateway.admin_get("/readyz")[1])
            yield body["redis"]

    def generations(self) -> list[int]:
        return [int(health["generation"]) for health in self.health()]

    def wait_lost(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Until no gateway takes its link for alive."""
        eventually(lambda: not any(h["connected"] for h in self.health()), seconds=seconds)

    def wait_linked(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        eventually(lambda: all(h["connected"] for h in self.health()), seconds=seconds)

    def wait_anew(self, before: Sequence[int], *, seconds: float = PATIENCE_SECONDS) -> None:
        """Until each gateway has a link that is younger than those of `before`."""

        def anew() -> bool:
            health = list(self.health())
            return all(h["connected"] and h["generation"] > g for h, g in zip(health, before, strict=True))

        eventually(anew, seconds=seconds)

    def wait_dropped(
        self, before: Sequence[int], ports: Container[int], *, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Until each gateway on one of the ports has had a younger link, which may be gone again."""

        def dropped() -> bool:
            now = zip(self.gateways, self.generations(), before, strict=True)
            return all(after > then for gateway, after, then in now if gateway.port in ports)

        eventually(dropped, seconds=seconds)

    def vitals(self) -> list[Vitals]:
        channels = self.admin().pubsub_channels(f"{{{PREFIX}:*")
        # A node follows these for as long as it lives.
        own = (b":probe:", b":fanlight.control", b":inspect:")
        live = [name for name in channels if not any(part in name for part in own)]
        return [_vitals(gateway, len(live)) for gateway in self.gateways]

    async def settled(self, before: Sequence[Vitals], *, more_bytes: int = MORE_BYTES) -> list[Violation]:
        """Wait until the gateways have forgotten a run; what is still not as it was at the deadline."""

        def left() -> list[Violation]:
            return [
                violation
                for old, new in zip(before, self.vitals(), strict=True)
                for violation in check_vitals(old, new, more_files=POOLED_FILES, more_bytes=more_bytes)
            ]

        try:
            await aeventually(lambda: not left(), what="all is forgotten")
        except AssertionError:
            return left()
        return []


def _vitals(gateway: GatewayProcess, subscriptions: int) -> Vitals:
    values = {}
    for family in text_string_to_metric_families(gateway.admin_get("/metrics")[1].decode()):
        for sample in family.samples:
            if not sample.labels:
                values[sample.name] = sample.value
    return Vitals(
        resident_bytes=values["process_resident_memory_bytes"],
        open_files=values["process_open_fds"],
        tasks=values["fanlight_tasks"],
        streams=values["fanlight_streams_open"],
        channels=values["fanlight_channels"],
        subscriptions=subscriptions,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What a run came to: a line of the table."""

    fault: str
    verdict: Verdict
    heal_seconds: float
    remark: str = ""
    """What else was measured."""


class Run:
    """One load on a world: `async with`, then faults, then `finish`."""

    def __init__(self, world: World, *, pace: float = 1.0, each: int = 2, keep: bool = True) -> None:
        world._runs += 1
        self.world = world
        stem = f"r{world._runs}"
        self.a, self.b, self.c, self.d = (f"{stem}.{letter}" for letter in "abcd")
        self.extra = f"{stem}.extra"
        """Followed by some, and written by nobody unless a fault does."""
        channels = [self.a, self.b, self.c, self.d]
        sets = [[self.a], [self.c], [self.d, self.extra], [self.a, self.b], [*channels, self.extra]]
        places = [(number, names) for names in sets for number in range(each)]
        # Every other one asks for gzip: where there are two of a set, one of the two.
        self.subscribers = [
            Subscriber(
                f"{'+'.join(c.rpartition('.')[2] for c in names)}/{number}",
                names,
                world.ports,
                gzip=turn % 2 == 1,
            )
            for turn, (number, names) in enumerate(places)
        ]
        self.away = Subscriber("away", [*channels, self.extra], world.ports, gzip=True)
        """Absent during the faults; comes back to what it missed."""
        self.slow = Subscriber("slow", [self.b, self.c], world.ports, receive_buffer_bytes=4096)
        """With a small receive buffer: for faults that keep it from reading."""
        self.subscribers += [self.away, self.slow]
        self.writers = [
            self._writer([self.a, self.b], Habits(rate=15, persist=True, repeat_every=7)),
            self._writer([self.c], Habits(rate=8, batch=4)),
            self._writer([self.d], Habits(rate=15, persist=True, cancel_every=5)),
        ]
        for writer in self.writers:
            writer.pace = pace
        self._ranges = 0
        self.written_elsewhere: list[Written] = []
        """By others than the writers."""

    def _writer(self, channels: Sequence[str], habits: Habits, *, begin_at: int = 1) -> Writer:
        return Writer(self.world.publishing_url, PREFIX, channels, habits, begin_at=begin_at)

    def own_numbers(self) -> int:
        """Where the numbers of a further publisher begin. An event's number is its idempotency key, so two
        publishers on one channel must not share any."""
        self._ranges += 1
        return self._ranges * 1_000_000 + 1

    def add_writer(self, channels: Sequence[str], habits: Habits) -> Writer:
        """Another one, begun now, ended with the run."""
        writer = self._writer(channels, habits, begin_at=self.own_numbers())
        self.writers.append(writer)
        return writer.start()

    @property
    def channels(self) -> list[str]:
        return [self.a, self.b, self.c, self.d, self.extra]

    # From the threads in which faults act.

    def in_loop(self, function: Callable[[], object]) -> None:
        """Call it in the subscribers' loop, and wait until it was."""

        async def call() -> None:
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def hold(self, seconds: float) -> None:
        """How long a fault lasts. Nothing is waited for."""
        time.sleep(seconds)

    def more_acked(self, count: int, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Until each writer's channels have so many more acknowledged events."""
        goal = {c: n + count for w in self.writers for c, n in _acked(w).items() if c not in w.paused}

        def reached() -> bool:
            now = {c: n for w in self.writers for c, n in _acked(w).items()}
            return all(now[channel] >= number for channel, number in goal.items())

        eventually(reached, seconds=seconds)

    def followed_on(self, channel: str) -> set[int]:
        """The ports on which subscribers follow the channel now."""
        return {s.port for s in self.subscribers if channel in s.followed.channels and s.connected}

    def stream_key(self, channel: str) -> str:
        """As the wire contract has it."""
        return f"{{{PREFIX}:0}}:stream:{channel}"

    def top(self, channel: str) -> str:
        """The entry id of the channel's newest event."""
        newest = self.world.admin().xrevrange(self.stream_key(channel), count=1)
        return str(newest[0][0].decode())

    def length(self, channel: str) -> int:
        """How many entries the channel's stream has."""
        return int(self.world.admin().xlen(self.stream_key(channel)))

    # From the loop.

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.before = await asyncio.to_thread(self.world.vitals)
        try:
            for subscriber in self.subscribers:
                subscriber.start()
            # Before the first event: from here on, everybody is due everything.
            await aeventually(lambda: all(s.opens for s in self.subscribers), what="all open")
            for writer in self.writers:
                writer.start()
            await asyncio.to_thread(self.more_acked, 5)
            await aeventually(lambda: all(s.events for s in self.subscribers), what="all have got something")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for subscriber in self.subscribers:
            subscriber.stop()
        for writer in self.writers:
            if writer._thread.is_alive():
                await asyncio.to_thread(writer.stop)
        await aeventually(lambda: not any(s.connected for s in self.subscribers))

    async def healed(self) -> float:
        """Wait until everybody has got something that was published from now on. Seconds it took."""
        started = time.monotonic()
        self.away.come_back()
        for writer in self.writers:
            writer.paused = frozenset()
        goal = {c: n + 1 for w in self.writers for c, n in w.begun.items()}

        def acked() -> bool:
            now = {c: n for w in self.writers for c, n in _acked(w).items()}
            return all(now[channel] >= number for channel, number in goal.items())

        await aeventually(acked, seconds=HEAL_SECONDS, what="the publishers are heard again")
        await self._all_at(self._tops())
        return time.monotonic() - started

    def _tops(self) -> dict[str, tuple[int, int]]:
        return {c: place_of(id_) for w in self.writers for c, (_, id_) in tuple(w.last_acked.items())}

    async def _all_at(self, tops: Mapping[str, tuple[int, int]]) -> None:
        def behind() -> list[str]:
            return [
                subscriber.followed.name
                for subscriber in self.subscribers
                if not subscriber.ended
                and any(subscriber.place < tops.get(c, (0, 0)) for c in subscriber.followed.channels)
            ]

        try:
            await aeventually(lambda: not behind(), seconds=HEAL_SECONDS, what="everybody is at the top")
        except AssertionError as error:
            logs = "\n".join(gateway.log[-3000:] for gateway in self.world.gateways)
            raise AssertionError(f"{error}: not {behind()}\n{logs}") from None

    async def finish(self, allowance: Allowance, *, more_bytes: int = MORE_BYTES) -> Verdict:
        """Stop the load, let everybody catch up, and judge. Memory may have grown by `more_bytes`."""
        for writer in self.writers:
            await asyncio.to_thread(writer.stop)
        logged = await asyncio.to_thread(self._read_streams)
        tops: dict[str, tuple[int, int]] = {}
        for entry in logged:
            if entry.data is not None:
                tops[entry.channel] = max(place_of(entry.id), tops.get(entry.channel, (0, 0)))
        await self._all_at(tops)
        await self.__aexit__()
        written = [item for writer in self.writers for item in writer.written] + self.written_elsewhere
        epoch = (await asyncio.to_thread(self.world.admin().hget, f"{{{PREFIX}:0}}:meta", "epoch")) or b""
        history = History(written, logged, [s.followed for s in self.subscribers], epoch.decode())
        verdict = check(history, allowance)
        verdict.violations += await self.world.settled(self.before, more_bytes=more_bytes)
        return verdict

    def _read_streams(self) -> list[Logged]:
        admin = self.world.admin()
        found: list[Logged] = []
        for channel in self.channels:
            for entry_id, fields in admin.xrange(self.stream_key(channel)):
                found.append(_logged(channel, entry_id.decode(), fields))
        return found


def _acked(writer: Writer) -> dict[str, int]:
    return {c: writer.last_acked[c][0] if c in writer.last_acked else 0 for c in writer.channels}


def _logged(channel: str, entry_id: str, fields: Mapping[bytes, bytes]) -> Logged:
    """Read an entry by the wire contract: head, type and data, each but the last on a line."""
    try:
        head, _, data = fields[b"m"].decode().split("\n", 2)
        _, id_, *_ = head.split(" ")
        json.loads(data)["n"]
    except (KeyError, ValueError, TypeError):
        return Logged(channel, entry_id, None)
    return Logged(channel, id_, data)
