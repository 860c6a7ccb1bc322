"""Three nodes behind a proxy with the configuration that the project ships: all are replaced in turn, or the
host of one is gone from one moment to the next.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from datetime import datetime
from typing import TYPE_CHECKING, Self

from tests.chaos.faults import NOTHING
from tests.chaos.proxy import Proxy
from tests.chaos.world import Row, Run, World
from tests.support.proxies import Backend, Nginx, ReverseProxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.gateway_process import GatewayProcess

NODES = 3
READ_TIMEOUT_SECONDS = 3
"""The proxy's, in place of the 60 s that it ships with: three heartbeats of these nodes."""
DRAIN_SECONDS = 3.0


class ProxiedWorld(World):
    """Three gateways. Subscribers know the proxy only."""

    def __init__(self, kind: type[ReverseProxy] = Nginx) -> None:
        super().__init__(gateways=NODES, drain_wait_seconds=0.5, drain_seconds=DRAIN_SECONDS)
        self.kind = kind

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.proxy = self._stack.enter_context(self._proxy())
        except BaseException:
            self._stack.close()
            raise
        return self

    def _proxy(self) -> ReverseProxy:
        return self.kind([Backend(gateway.port, gateway.admin_port) for gateway in self.gateways])

    def ports(self) -> Sequence[int]:
        return [self.proxy.port]


class VanishingWorld(ProxiedWorld):
    """The same, and each gateway is a host of its own that can be gone."""

    def _proxy(self) -> ReverseProxy:
        self.hosts = [self._stack.enter_context(Proxy(gateway.port)) for gateway in self.gateways]
        backends = [
            Backend(host.port, gateway.admin_port)
            for host, gateway in zip(self.hosts, self.gateways, strict=True)
        ]
        return self.kind(backends, read_timeout_seconds=READ_TIMEOUT_SECONDS)


async def rolling_restart(world: ProxiedWorld) -> Row:
    """Each node is terminated under 30 subscribers, one that reads slowly and one that comes back when
    all is over; it drains, and is started again; the next one follows as soon as it is ready.

    AssertionError where a node had nobody to lose, did not drain in order or in time, or a browser would
    have given up.
    """
    async with Run(world, each=6) as run:
        first = {subscriber: len(subscriber.connects_at) for subscriber in run.subscribers}
        run.away.leave()
        lost: list[float] = []
        for number, gateway in enumerate(world.gateways):
            streams = await asyncio.to_thread(lambda: world.vitals()[number].streams)  # noqa: B023
            assert streams, f"node {number} has no streams when it is terminated"
            lost.append(streams)
            status = await asyncio.to_thread(gateway.terminate)
            assert status == 0, f"node {number} ended with {status}:\n{gateway.log[-3000:]}"
            took = drained_over(gateway)
            assert streams < 3 or took > DRAIN_SECONDS / 3, (
                f"node {number} ended its {streams:g} streams within {took} s"
            )
            await asyncio.to_thread(gateway.start)
            await asyncio.to_thread(run.more_acked, 2)
        reconnects = [at for s in run.subscribers if s is not run.away for at in s.connects_at[first[s] :]]
        heal_seconds = await run.healed()
        statuses = set[int]().union(*(s.statuses for s in run.subscribers))
        verdict = await run.finish(NOTHING)
    assert statuses == {200}, f"statuses {sorted(statuses)}"
    busiest = most_in_a_second(reconnects)
    remark = (
        f"{len(reconnects)} reconnects, at most {busiest} in a second, by nodes that had "
        f"{', '.join(f'{streams:g}' for streams in lost)} streams and drained for {DRAIN_SECONDS:g} s"
    )
    return Row(f"rolling restart of three nodes behind {world.kind.name}", verdict, heal_seconds, remark)


async def vanished_host(world: VanishingWorld) -> Row:
    """A node's host is gone under its subscribers: nothing is closed, and nobody answers. All of them go on
    elsewhere while it is, and so does who comes back meanwhile.

    AssertionError where it had nobody to lose, or a browser would have given up.
    """
    async with Run(world, each=3) as run:
        run.away.leave()
        streams = await asyncio.to_thread(lambda: world.vitals()[0].streams)
        assert streams, "the node has no streams when its host vanishes"
        host = world.hosts[0]
        await asyncio.to_thread(host.vanish)
        try:
            heal_seconds = await run.healed()
        finally:
            await asyncio.to_thread(host.forward)
            await asyncio.to_thread(host.reset)
        await asyncio.to_thread(run.more_acked, 2)
        statuses = set[int]().union(*(s.statuses for s in run.subscribers))
        verdict = await run.finish(NOTHING)
    assert statuses == {200}, f"statuses {sorted(statuses)}"
    return Row(f"host of a node gone, behind {world.kind.name}", verdict, heal_seconds)


def drained_over(gateway: GatewayProcess) -> float:
    """Seconds between the first and the last stream that its drain has ended. A slow machine makes them more,
    never fewer: that is what spreads the reconnects."""
    ended = [
        datetime.fromisoformat(record["timestamp"])
        for record in gateway.log_records
        if record.get("event") == "stream_ended" and record["reason"] == "drained"
    ]
    return (max(ended) - min(ended)).total_seconds()


def most_in_a_second(moments: Iterable[float]) -> int:
    """How many of the moments fall into the second that has the most of them."""
    ordered = sorted(moments)
    return max((bisect_right(ordered, at + 1) - n for n, at in enumerate(ordered)), default=0)
