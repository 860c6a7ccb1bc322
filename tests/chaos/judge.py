"""One fault, or several one after the other, on a world under load: the row that comes of it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.chaos.history import Allowance, Loss
from tests.chaos.world import Row, Run, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.faults import Fault

_SEVERITY = (Loss.NONE, Loss.AT_BREAK, Loss.ANY)


def new_world(*, durable: bool) -> World:
    """A server that keeps everything, or one that keeps nothing, and two gateways."""
    options = {"appendonly": "yes", "appendfsync": "always"} if durable else None
    return World(options=options)


class Worlds:
    """Worlds to take turns in: made when they are needed, and anew when one was broken."""

    def __init__(self) -> None:
        self._worlds: dict[bool, World] = {}

    @contextmanager
    def borrow(self, *, durable: bool) -> Iterator[World]:
        world = self._worlds.get(durable)
        if world is None:
            world = self._worlds[durable] = new_world(durable=durable).__enter__()
        try:
            yield world
        except BaseException:
            world.broken = True
            raise
        finally:
            if world.broken:
                del self._worlds[durable]
                world.__exit__()

    def close(self) -> None:
        for world in self._worlds.values():
            world.__exit__()
        self._worlds.clear()


async def judge(world: World, faults: Sequence[Fault]) -> Row:
    """Load, faults, healing, verdict. AssertionError where something did not come within its deadline."""
    async with Run(world, pace=min(fault.pace for fault in faults)) as run:
        heal_seconds = 0.0
        for fault in faults:
            run.away.leave()
            await asyncio.to_thread(fault.act, run)
            if fault.spoils:
                world.broken = True
            heal_seconds = max(heal_seconds, await run.healed())
        allowance = together([fault.allow(run) for fault in faults])
        verdict = await run.finish(allowance)
    return Row(", ".join(fault.name for fault in faults), verdict, heal_seconds)


def together(allowances: Sequence[Allowance]) -> Allowance:
    """What several faults excuse. What only one of them demands can't be demanded of their sum."""
    if len(allowances) == 1:
        return allowances[0]
    channels = [allowance.gap_channels for allowance in allowances if allowance.gaps]
    return replace(
        Allowance(),
        gaps=frozenset[str]().union(*(allowance.gaps for allowance in allowances)),
        gap_channels=None
        if None in channels
        else frozenset[str]().union(*(c for c in channels if c)) or None,
        loss=max((allowance.loss for allowance in allowances), key=_SEVERITY.index),
        refused=any(allowance.refused for allowance in allowances),
        keys_lost=any(allowance.keys_lost for allowance in allowances),
    )
