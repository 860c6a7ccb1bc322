"""Results as Markdown: `python -m bench.report results.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.verdict import SUBJECT, spread

_UNITS = {
    "cpu_us": "µs of CPU a delivery",
    "cpu_us_an_event": "µs of CPU an event",
    "cpu_us_a_stream": "µs of CPU a stream",
    "deliveries_per_s": "deliveries/s",
    "streams_per_s": "streams/s",
    "requests_per_s": "requests/s",
    "events_per_s": "events/s",
    "p50_ms": "ms median",
    "p99_ms": "ms p99",
    "live_seconds": "s until all were live",
    "pages_a_channel": "pages read a channel",
    "redis_cpu_us": "µs of Redis' CPU an event",
    "script_us": "µs in the script",
    "bytes": "bytes a stream",
    "closed_seconds": "s until the last was closed",
    "refused": "closed at once",
    "expired": "closed at their deadline",
    "bytes_a_connection": "bytes a connection",
    "p50_ratio": "times the median latency before",
    "max_ms": "ms at most",
    "max_ms_before": "ms at most before",
    "lost": "lost",
    "violations": "out of order",
    "gaps": "gaps",
}
"""The numbers that are shown, in this order; all are in the JSON."""


def figure(value: float) -> str:
    """Three digits where there are decimals, whole numbers above."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cell(runs: list[dict[str, float]], number: str) -> str | None:
    found = spread(runs, number)
    if found is None:
        return None
    text = f"{figure(found.median)} {_UNITS[number]}"
    if found.lowest != found.highest:
        text += f" ({figure(found.lowest)} to {figure(found.highest)})"
    return text


def _subject_line(name: str, runs: list[dict[str, float]]) -> str:
    cells = [cell for number in _UNITS if (cell := _cell(runs, number)) is not None]
    # Of what should be nothing, only what is something.
    shown = [cell for cell in cells if not cell.startswith("0 ")]
    return f"- {name}: " + "; ".join(shown)


def _target_label(target: dict[str, Any]) -> str:
    number, _, rest = target["target"].partition(" ")
    named = f"{_UNITS.get(number, number)}, {rest}"
    return named if target["label"] == SUBJECT else f"{named} ({target['label']})"


def row_text(row: dict[str, Any]) -> str:
    """All that is known of a row: its subjects' medians and ranges, the verdicts, and notes on both."""
    lines = [f"### {row['title']}", ""]
    lines += [_subject_line(name, runs) for name, runs in row["runs"].items()]
    lines += [f"- {name} could not be run: {reason}" for name, reason in row["failures"].items()]
    lines += [f"- Note on {name}: {'; '.join(notes)}." for name, notes in row["notes"].items()]
    lines.append("")
    for target in row["targets"]:
        value = "" if target["value"] is None else f": {figure(target['value'])}"
        lines.append(f"- **{target['verdict']}**, {_target_label(target)}{value}")
    return "\n".join([*lines, ""])


def targets_table(results: dict[str, Any]) -> str:
    lines = ["| Row | Number and target | Measured | Verdict |", "|---|---|--:|---|"]
    for row in results["rows"]:
        for target in row["targets"]:
            value = "" if target["value"] is None else figure(target["value"])
            lines.append(f"| {row['title']} | {_target_label(target)} | {value} | {target['verdict']} |")
    return "\n".join(lines)


def markdown(results: dict[str, Any]) -> str:
    """Everything: where and when it was measured, the targets, and each row."""
    effort = results["effort"]
    facts = {**results["machine"], **results["versions"]}
    head = [
        f"Measured on {results['date'][:10]}, revision `{results['revision']}`: each number is the median of "
        f"{effort['repeats']} runs of {effort['seconds']:g} s, with the lowest and the highest.",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        targets_table(results),
        "",
    ]
    return "\n".join([*head, *map(row_text, results["rows"])])


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m bench.report RESULTS.json", file=sys.stderr)
        return 2
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
