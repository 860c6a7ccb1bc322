"""Faults of a primary that Sentinel looks after: three servers, three sentinels, two gateways.

Nobody goes through a proxy: gateways and publishers connect to what the sentinels name.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.chaos.faults import KEPT, NOTHING, Fault
from tests.chaos.history import Allowance
from tests.chaos.world import QUICK, Run, World
from tests.support.sentinels import REPLICA_USER, SENTINEL_USER, SentinelServers, set_user
from tests.support.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.redis_server import RedisServer

_GATEWAY_USER = "gateway"
_PASSWORD = "test-password"


class SentinelWorld(World):
    """One to reuse: each fault leaves all servers up, though another of them may be the primary."""

    def __init__(self, *, gateways: int = 2, **settings: Any) -> None:
        self.servers = SentinelServers()
        self._count = gateways
        self._settings = {**QUICK, **settings}
        self._runs = 0
        self.broken = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.servers)
            for node in self.servers.nodes:
                self.admit(node)
            url = self.servers.url_of(login=f"{_GATEWAY_USER}:{_PASSWORD}@")
            self._start_gateways(stack, [url] * self._count)
            self._stack = stack.pop_all()
        return self

    @property
    def publishing_url(self) -> str:
        return self.servers.url

    def admin(self) -> Any:
        """A client of the server that is the primary now."""
        return self.servers.primary.client()

    def admit(self, node: RedisServer) -> None:
        """Gateways, which have a user of their own, may connect to the server."""
        set_user(node, _GATEWAY_USER, "on", f">{_PASSWORD}", "~*", "&*", "+@all")

    def turn_away(self, node: RedisServer) -> None:
        """Gateways may not connect to it."""
        set_user(node, _GATEWAY_USER, "off")

    def revive(self, node: RedisServer) -> None:
        """Start a server that was killed; it becomes a replica. Returns when nothing is amiss."""
        self.servers.start(node)
        self.admit(node)
        self.servers.wait_whole()

    def addresses(self) -> set[str]:
        """Of the servers that gateways have a link to."""
        return {h["address"] if h["connected"] else "" for h in self.health()}

    def wait_all_at(self, node: RedisServer) -> None:
        """Until every gateway has its link to that server."""
        eventually(lambda: self.addresses() == {f"127.0.0.1:{node.port}"}, what="the links have moved")


TABLE: dict[str, Fault] = {}


def _fault(
    allow: Allowance = NOTHING, **options: Any
) -> Callable[[Callable[[Run, SentinelWorld], None]], None]:
    def enter(act: Callable[[Run, SentinelWorld], None]) -> None:
        def on_sentinel(run: Run) -> None:
            assert isinstance(run.world, SentinelWorld)
            act(run, run.world)

        name = act.__name__.replace("_", " ")
        TABLE[name] = Fault(name, on_sentinel, lambda _: allow, **options)

    return enter


@_fault(KEPT)
def failover_by_hand(run: Run, world: SentinelWorld) -> None:
    """SENTINEL FAILOVER: the old primary lives on, and is made a replica."""
    old = world.servers.primary
    world.servers.fail_over()
    _moved_on(run, world, old)
    world.servers.wait_whole()


@_fault(KEPT)
def primary_killed_under_sentinel(run: Run, world: SentinelWorld) -> None:
    """The sentinels name the dead one until they have agreed: dials are refused."""
    with world.servers.quick():
        old = world.servers.primary
        old.kill()
        _moved_on(run, world, old)
        world.revive(old)


@_fault(KEPT)
def primary_stopped_and_back(run: Run, world: SentinelWorld) -> None:
    """SIGSTOP: it comes back as a primary that knows of nothing, until a sentinel tells it."""
    with world.servers.quick():
        old = world.servers.primary
        old.pause()
        try:
            _moved_on(run, world, old)
        finally:
            old.resume()


@_fault(KEPT)
def replica_behind_promoted(run: Run, world: SentinelWorld) -> None:
    """Replication is cut, and events are acknowledged that no replica has; then the primary dies."""
    with world.servers.quick():
        old = world.servers.primary
        world.servers.cut_off(old, REPLICA_USER)
        run.more_acked(10)
        newest = run.top(run.a)
        old.kill()
        _moved_on(run, world, old)
        assert not world.admin().xrange(run.stream_key(run.a), newest, newest), "it was not behind"
        world.revive(old)


@_fault(KEPT)
def old_primary_lives_on(run: Run, world: SentinelWorld) -> None:
    """Cut off from sentinels and replicas, and not from gateways and publishers, who were on it."""
    with world.servers.quick():
        old = world.servers.primary
        world.servers.cut_off(old, SENTINEL_USER, REPLICA_USER)
        _moved_on(run, world, old)
        world.servers.let_in(old, SENTINEL_USER, REPLICA_USER)


def _moved_on(run: Run, world: SentinelWorld, old: RedisServer) -> None:
    """Until gateways and publishers are on the new primary."""
    world.servers.wait_moved(old)
    world.wait_all_at(world.servers.primary)
    channels = [channel for writer in run.writers for channel in writer.channels]
    lengths = {channel: run.length(channel) for channel in channels}
    eventually(lambda: all(run.length(c) > n for c, n in lengths.items()), what="the publishers have moved")


@_fault(KEPT)
def first_dials_after_failover_refused(run: Run, world: SentinelWorld) -> None:
    old = world.servers.primary
    for replica in world.servers.replicas:
        world.turn_away(replica)
    world.servers.fail_over()
    eventually(lambda: all("WRONGPASS" in h["last_error"] for h in world.health()), what="they are refused")
    for node in world.servers.nodes:
        if node is not old:
            world.admit(node)
    _moved_on(run, world, old)
    world.servers.wait_whole()


@_fault()
def sentinels_stopped_and_killed(run: Run, world: SentinelWorld) -> None:
    """One is silent and one is gone: the third one is asked, and no primary has changed."""
    silent, gone, _ = world.servers.sentinels
    admin = world.admin()
    silent.pause()
    gone.kill()
    try:
        for _ in range(2):
            before = world.generations()
            for kind in ("pubsub", "normal"):
                admin.execute_command("CLIENT", "KILL", "TYPE", kind)
            world.wait_anew(before)
            run.more_acked(2)
    finally:
        silent.resume()
        gone.start()
    world.servers.wait_whole()
