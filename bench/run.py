"""Run the rows, print each as it is done, and write all numbers: `python -m bench.run --help`."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import traceback
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine, plot, report
from bench.load import program
from bench.rows import ROWS
from bench.scenarios import Effort
from tests.support.redis_server import find_binary

if TYPE_CHECKING:
    from bench.rows import Row

FULL = Effort(repeats=5, seconds=10.0, warm_up_seconds=2.0)
SHORT = Effort(repeats=1, seconds=2.0, warm_up_seconds=0.5)
RESULTS = machine.BUILD / "results.json"
_PACKAGES = ("fanlight", "aiohttp", "uvloop", "hiredis", "redis")


def measure(row: Row, effort: Effort, *, short: bool) -> dict[str, Any]:
    """All runs of a row, subjects in turn. What can't be run says why, and costs the others nothing."""
    runs: dict[str, list[dict[str, float]]] = {}
    notes: dict[str, list[str]] = {}
    failures: dict[str, str] = {}
    chosen = {name: run for name, run in row.runs.items() if not (short and name in row.extra)}
    for repeat in range(effort.repeats):
        for name, scenario in chosen.items():
            if name in failures:
                continue
            print(f"   {row.key}: {name}, {repeat + 1} of {effort.repeats}", file=sys.stderr, flush=True)
            try:
                measured = scenario.measure(effort)
            except machine.CannotRun as error:
                failures[name] = str(error)
            except Exception as error:
                traceback.print_exc()
                failures[name] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            else:
                runs.setdefault(name, []).append(measured.numbers)
                notes.setdefault(name, []).extend(measured.notes)
    return {
        "key": row.key,
        "title": row.title,
        "runs": runs,
        "notes": {name: list(dict.fromkeys(texts)) for name, texts in notes.items() if texts},
        "failures": failures,
        "targets": [
            {**asdict(judged), "verdict": judged.verdict, "label": target.label}
            for target in row.targets
            for judged in [target.judge(runs)]
        ],
    }


def versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    server = subprocess.run([find_binary(), "--version"], capture_output=True, text=True, check=False)
    return {"python": sys.version.split()[0], **found, "server": server.stdout.strip()}


def main() -> int:
    keys = [row.key for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--short", action="store_true", help="once, 2 s each: whether all of it works")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="ROW", help=f"of: {', '.join(keys)}")
    parser.add_argument("--repeats", type=int, help="of each row and subject")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the numbers, as JSON (%(default)s)")
    arguments = parser.parse_args()
    effort = SHORT if arguments.short else FULL
    effort = Effort(
        arguments.repeats or effort.repeats, arguments.seconds or effort.seconds, effort.warm_up_seconds
    )
    try:
        machine.cores()
        program("load")
        program("bare")
    except machine.CannotRun as error:
        print(f"The benchmarks can't run here: {error}.", file=sys.stderr)
        return 1
    machine.raise_open_files()
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": machine.revision(),
        "machine": machine.description(),
        "versions": versions(),
        "effort": asdict(effort),
        "rows": [],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for row in ROWS:
        if arguments.only and row.key not in arguments.only:
            continue
        done = measure(row, effort, short=arguments.short)
        results["rows"].append(done)
        print(report.row_text(done), flush=True)
        # After each row: what was measured is kept, whatever befalls the rest.
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    picture = arguments.output.with_suffix(".svg")
    picture.write_text(plot.cost_chart(results))
    print(f"\n{report.targets_table(results)}\n\nNumbers: {arguments.output}. Picture: {picture}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
