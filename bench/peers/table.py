"""The faults of `tests.chaos` on two other setups, as a table in Markdown.

`python -m bench.peers.table [--runs 3] [--only PATTERN] [sse-starlette] [nchan]`
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import traceback
from typing import TYPE_CHECKING

from bench.peers.judge import PeerVerdict
from bench.peers.nodes import Nchan, Node, SseStarlette
from bench.peers.world import PeerRun, PeerWorld
from tests.chaos.faults import TABLE

if TYPE_CHECKING:
    from tests.chaos.faults import Fault

SETUPS: dict[str, type[Node]] = {"sse-starlette": SseStarlette, "nchan": Nchan}
LEFT_OUT = frozenset(
    {
        "eviction under allkeys lru",
        "stale primary",
        "publisher killed between write and answer",
        "stream key of a wrong type",
    }
)
"""Why is in docs/guarantees.md."""


def applies(fault: str) -> bool:
    """Whether the fault is one of these setups', too."""
    return fault not in LEFT_OUT and not fault.startswith("entry ")


HEAD = (
    "| Fault | published | delivered | repeated | published again | lost in silence "
    "| on an unbroken stream | across a reconnect | while away | turned away | seconds to heal |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)
Result = tuple[PeerVerdict, float | None]


async def suffer(kind: type[Node], fault: Fault) -> Result:
    """One fault under load, on processes of its own: what a fault leaves behind is not the next one's."""
    with PeerWorld(kind, durable=fault.durable) as world:
        async with PeerRun(world, pace=fault.pace) as run:
            run.away.leave()
            await asyncio.to_thread(fault.act, run)
            healed = await run.settle()
            verdict = await run.end()
    return verdict, healed


def line(name: str, results: list[Result]) -> str:
    """The run whose loss is the median, the range of losses, and the median time to heal, or how many
    runs did not."""
    middle = sorted((verdict for verdict, _ in results), key=lambda v: v.lost)[(len(results) - 1) // 2]
    lost = sorted(verdict.lost for verdict, _ in results)
    spread = f" ({lost[0]:,} to {lost[-1]:,})" if lost[0] != lost[-1] else ""
    unhealed = sum(healed is None for _, healed in results)
    healed = (
        f"not in 15 s ({unhealed} of {len(results)})"
        if unhealed
        else f"{statistics.median(h for _, h in results if h is not None):.2f}"
    )
    return (
        f"| {name} | {middle.published:,} | {middle.delivered:,} | {middle.repeated:,} "
        f"| {middle.published_again:,} | {middle.lost:,}{spread} | {middle.lost_unbroken:,} "
        f"| {middle.lost_reconnect:,} | {middle.lost_away:,} | {middle.turned_away:,} | {healed} |"
    )


def measure(kind: type[Node], runs: int, only: str) -> None:
    """Print the table of one setup, line by line. A run that the harness can't finish is told on stderr."""
    print(f"### {kind.name}\n\n{HEAD}", flush=True)
    single = total = 0
    for fault in TABLE.values():
        if not applies(fault.name) or not re.search(only, fault.name):
            continue
        results: list[Result] = []
        for _ in range(runs):
            try:
                results.append(asyncio.run(suffer(kind, fault)))
            except Exception:
                traceback.print_exc()
        name = fault.name if len(results) == runs else f"{fault.name} ({len(results)} of {runs} runs)"
        print(line(name, results) if results else f"| {fault.name} | could not be run |", flush=True)
        single += sum(verdict.lost_single for verdict, _ in results)
        total += sum(verdict.lost for verdict, _ in results)
    print(f"\nOf {total:,} lost in all runs, {single:,} were missed by streams of a single channel.\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers.table")
    parser.add_argument("setups", nargs="*", choices=[[], *SETUPS], help="both, unless named")
    parser.add_argument("--runs", type=int, default=3, help="of each fault; medians are printed")
    parser.add_argument("--only", default="", help="faults whose name this regular expression finds")
    arguments = parser.parse_args()
    for name in arguments.setups or SETUPS:
        measure(SETUPS[name], arguments.runs, arguments.only)


if __name__ == "__main__":
    main()
