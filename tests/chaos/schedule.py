"""A seeded random schedule of faults, for as long as it is told.

    python -m tests.chaos.schedule --seconds 600 --seed 1

Each round draws one to three faults and lets them befall one load, one after the other. The first broken
promise ends it: the seed, the round and what was broken are printed, and the status is 1. The same seed
draws the same faults in the same order; what falls in between is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass

from tests.chaos.checker import Violation
from tests.chaos.crowd import all_come_back_at_once, come_and_go
from tests.chaos.faults import TABLE
from tests.chaos.judge import Worlds, judge
from tests.chaos.world import Row

MOST_AT_ONCE = 3
LARGE_CROWD = 5000
LARGE_CROWD_EVERY = 40
"""Rounds between two large crowds; a schedule of 20 seconds never gets there."""
CROWD_EVERY = 15


@dataclass(eq=False)
class Broken(Exception):
    """A promise was not kept."""

    seed: int
    round: int
    faults: str
    violation: Violation | None
    reason: str

    def __str__(self) -> str:
        what = self.violation or self.reason
        return f"seed {self.seed}, round {self.round} ({self.faults}): {what}"


async def run(seconds: float, seed: int, *, tell: bool = False) -> list[Row]:
    """Run rounds until `seconds` have passed. Raises `Broken`."""
    chance = random.Random(seed)
    # What spoils its world costs a new one: seldom, and by itself.
    drawn = [fault for fault in TABLE.values() if not fault.lengthy]
    plain = [fault for fault in drawn if not fault.spoils and not fault.durable]
    durable = [fault for fault in drawn if not fault.spoils and "gateway" not in fault.name]
    spoiling = [fault for fault in drawn if fault.spoils]
    deadline = time.monotonic() + seconds
    worlds = Worlds()
    rows: list[Row] = []
    try:
        while time.monotonic() < deadline:
            number = len(rows) + 1
            keeps = chance.random() < 0.25
            faults = chance.sample(durable if keeps else plain, chance.randint(1, MOST_AT_ONCE))
            if keeps:
                # The wipes wipe here as well, but a restart keeps: only those made for it.
                faults = [f for f in faults if f.durable or not f.name.startswith("re")] or [durable[0]]
            elif chance.random() < 0.1:
                faults = [chance.choice(spoiling)]
            name = ", ".join(fault.name for fault in faults)
            try:
                with worlds.borrow(durable=keeps) as world:
                    if number % LARGE_CROWD_EVERY == 0:
                        name = "a large crowd comes back"
                        row = await all_come_back_at_once(world, LARGE_CROWD)
                    elif number % CROWD_EVERY == 0:
                        name = "a crowd comes and goes"
                        row = await come_and_go(world, 200, 10)
                    else:
                        row = await judge(world, faults)
            except (AssertionError, OSError) as error:
                raise Broken(seed, number, name, None, f"{type(error).__name__}: {error}") from error
            if row.verdict.violations:
                raise Broken(seed, number, name, row.verdict.violations[0], "")
            rows.append(row)
            if tell:
                found = row.verdict
                print(
                    f"{number:4} {row.heal_seconds:5.2f} s to heal, {found.published} published, "
                    f"{found.delivered} delivered, gaps {dict(found.gaps)}: {name}",
                    flush=True,
                )
    finally:
        worlds.close()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.schedule")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    try:
        rows = asyncio.run(run(options.seconds, options.seed, tell=True))
    except Broken as broken:
        print(f"BROKEN: {broken}", file=sys.stderr)
        return 1
    published = sum(row.verdict.published for row in rows)
    delivered = sum(row.verdict.delivered for row in rows)
    print(
        f"{len(rows)} rounds, {published:,} events published, {delivered:,} delivered, none lost in silence"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
