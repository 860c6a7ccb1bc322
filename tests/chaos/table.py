"""The faults as a table in Markdown, measured: `python -m tests.chaos.table [SERVER ...]`.

A SERVER is the path of a redis-server or valkey-server; without one, the tests' default is used. The rows
that need a proxy, or root for a small disk, are left out where there is none, and stderr says so.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter

from tests.chaos.crowd import all_come_back_at_once, come_and_go
from tests.chaos.disk import NoDisk, full_disk, small_disk, world_on
from tests.chaos.faults import TABLE
from tests.chaos.judge import Worlds, judge
from tests.chaos.rolling import ProxiedWorld, VanishingWorld, rolling_restart, vanished_host
from tests.chaos.sentinel import TABLE as SENTINEL_TABLE
from tests.chaos.sentinel import SentinelWorld
from tests.chaos.world import Row
from tests.support.proxies import PROXIES
from tests.support.redis_server import BINARY_VARIABLE, find_binary

HEAD = """| Fault | published | delivered | repeated | lost in silence | gaps announced | seconds to heal |
|---|--:|--:|--:|--:|---|--:|"""


async def measure() -> list[Row]:
    """Every fault once. AssertionError where a promise was broken: such a table is not to be printed."""
    worlds = Worlds()
    rows = []
    try:
        for fault in TABLE.values():
            with worlds.borrow(durable=fault.durable) as world:
                rows.append(_sound(await judge(world, [fault])))
        with worlds.borrow(durable=False) as world:
            rows.append(_sound(await come_and_go(world, 200, 10)))
            rows.append(_sound(await all_come_back_at_once(world, 1000)))
    finally:
        worlds.close()
    with SentinelWorld() as watched:
        rows += [_sound(await judge(watched, [fault])) for fault in SENTINEL_TABLE.values()]
    try:
        with small_disk() as disk, world_on(disk) as small:
            rows.append(_sound(await full_disk(small, disk)))
    except NoDisk as error:
        print(f"no row for a full disk: {error}", file=sys.stderr)
    for kind in PROXIES:
        if kind.program() is None:
            print(f"no rows for nodes behind {kind.name}: it is not installed", file=sys.stderr)
            continue
        with ProxiedWorld(kind) as proxied:
            rows.append(_sound(await rolling_restart(proxied)))
        with VanishingWorld(kind) as vanishing:
            rows.append(_sound(await vanished_host(vanishing)))
    return rows


def _sound(row: Row) -> Row:
    assert not row.verdict.violations, f"{row.fault}: {row.verdict.violations[0]}"
    return row


def line(row: Row) -> str:
    verdict = row.verdict
    gaps: Counter[str] = verdict.gaps
    told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(gaps.items())) or "none"
    return (
        f"| {row.fault} | {verdict.published:,} | {verdict.delivered:,} | {verdict.repeated} "
        f"| {verdict.lost} | {told} | {row.heal_seconds:.2f} |"
    )


def main(servers: list[str]) -> None:
    for server in servers or [find_binary()]:
        os.environ[BINARY_VARIABLE] = server
        answer = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
        name, _, version, *_ = answer.split(" ")
        print(f"### {name} {version.removeprefix('v=')}\n\n{HEAD}", flush=True)
        rows = asyncio.run(measure())
        for row in rows:
            print(line(row))
        for row in rows:
            if row.remark:
                print(f"\n{row.fault}: {row.remark}.")
        print(flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
