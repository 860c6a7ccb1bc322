"""Crowds: many that come back at once, and many that come and go while the link is cut."""

from __future__ import annotations

import asyncio
import itertools
import time

from tests.chaos.faults import NOTHING
from tests.chaos.subscribers import Subscriber
from tests.chaos.world import MORE_BYTES, Row, Run, World
from tests.support.wait import aeventually

CROWD_SECONDS = 60.0
KEPT_BYTES = 6_000
"""Of what a connection takes while it is being made (14 KB, with aiohttp's objects), the allocator keeps a
part when many are made at once. It is used again: after a second crowd of 5,000 a node was no larger."""


async def all_come_back_at_once(world: World, count: int) -> Row:
    """`count` subscribers of one node, which is killed: all resume on the others, from the log."""
    async with Run(world, each=1, pace=0.2) as run:
        sets = ([run.a], [run.a, run.b], [run.c], [run.b, run.d])
        crowd = [
            Subscriber(f"crowd/{n}", channels, world.ports, gzip=n // 2 % 2 == 1)
            for n, channels in zip(range(count), itertools.cycle(sets), strict=False)
        ]
        run.subscribers += crowd
        for subscriber in crowd:
            subscriber.start()
        await aeventually(lambda: all(s.opens for s in crowd), seconds=CROWD_SECONDS, what="all are open")
        await asyncio.to_thread(run.more_acked, 2)
        for gateway in world.gateways:
            await asyncio.to_thread(gateway.kill)
        await asyncio.to_thread(run.more_acked, 3)
        for gateway in world.gateways:
            await asyncio.to_thread(gateway.start)
        started = time.monotonic()
        await aeventually(lambda: all(s.connected for s in crowd), seconds=CROWD_SECONDS, what="all are back")
        await run.healed()
        heal_seconds = time.monotonic() - started
        verdict = await run.finish(NOTHING, more_bytes=MORE_BYTES + count * KEPT_BYTES)
    return Row(f"{count:,} subscribers come back at once", verdict, heal_seconds)


async def come_and_go(world: World, count: int, cuts: int) -> Row:
    """`count` subscribers leave and return all the time, while the link is cut again and again."""
    async with Run(world, each=1, pace=0.5) as run:
        sets = ([run.a], [run.a, run.b], [run.c], [run.b, run.d], [run.extra, run.c])
        crowd = [
            Subscriber(f"crowd/{n}", channels, world.ports, gzip=n // 2 % 2 == 1)
            for n, channels in zip(range(count), itertools.cycle(sets), strict=False)
        ]
        run.subscribers += crowd
        for subscriber in crowd:
            subscriber.start()
        await aeventually(lambda: all(s.opens for s in crowd), seconds=CROWD_SECONDS, what="all are open")
        over = asyncio.Event()

        async def churn() -> None:
            for turn in itertools.count():
                gone = crowd[turn % 10 :: 10]
                for subscriber in gone:
                    subscriber.leave()
                await asyncio.to_thread(run.more_acked, 1)
                for subscriber in gone:
                    subscriber.come_back()
                if over.is_set():
                    return

        churning = asyncio.create_task(churn())
        for turn in range(cuts):
            before = await asyncio.to_thread(world.generations)
            for link in world.links:
                (link.reset if turn % 2 else link.cut)()
            await asyncio.to_thread(world.wait_anew, before)
        over.set()
        await churning
        heal_seconds = await run.healed()
        verdict = await run.finish(NOTHING)
    return Row(f"{count} come and go, the link is cut {cuts} times", verdict, heal_seconds)


async def quiet_channels(world: World, count: int) -> list[str]:
    """`count` subscribers with a channel each of their own, that come once: what is left of them."""
    before = await asyncio.to_thread(world.vitals)
    crowd = [
        Subscriber(f"own/{n}", [f"own.{n}"], world.ports, gzip=n % 2 == 1, keep=False) for n in range(count)
    ]
    for subscriber in crowd:
        subscriber.start()
    await aeventually(lambda: all(s.opens for s in crowd), seconds=CROWD_SECONDS, what="all are open")
    for subscriber in crowd:
        subscriber.stop()
    return list(map(str, await world.settled(before)))
