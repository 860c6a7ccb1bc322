"""Run random schedules of `tests.support.simulation`: `python -m tests.support.schedules [SEEDS] [STEPS]`."""

from __future__ import annotations

import sys
from typing import Final

from tests.support.simulation import World

FAULTS: Final = {
    "calm": frozenset[str](),
    "trim": frozenset({"trim"}),
    "promote": frozenset({"promote"}),
    "wipe": frozenset({"wipe"}),
    "close": frozenset({"close"}),
    "evict": frozenset({"evict"}),
    "spoil": frozenset({"spoil"}),
    "shout": frozenset({"shout"}),
    "mute": frozenset({"mute"}),
    "behind": frozenset({"behind"}),
    "closed behind": frozenset({"behind", "close", "promote"}),
    "everything": frozenset({"trim", "promote", "wipe", "close", "spoil"}),
    "more": frozenset({"trim", "promote", "wipe", "close", "evict", "spoil"}),
}


def run(seed: int, faults: str, steps: int = 500) -> World:
    """One schedule to its end. AssertionError, with the seed, at the first thing that doesn't hold."""
    world = World(seed, FAULTS[faults])
    try:
        for _ in range(steps):
            world.step()
        world.settle()
        world.check()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, faults {faults}: {error}") from error
    return world


def main(seeds: int = 1000, steps: int = 500) -> None:
    for faults in reversed(FAULTS):
        events = sum(len(run(seed, faults, steps).redis.facts) for seed in range(seeds))
        print(f"{faults}: {seeds} schedules, {events} events: nothing lost in silence, nothing repeated")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
