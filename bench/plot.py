"""A picture of the results: CPU time per delivery, as bars, as an SVG without a library."""

from __future__ import annotations

from html import escape
from typing import Any

from bench.report import figure
from bench.verdict import SUBJECT, Spread, spread

_WIDTH, _LABELS, _BAR, _GAP, _TITLE = 860, 150, 18, 6, 34
_FULL = _WIDTH - _LABELS - 90
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600}"
    ".own{fill:#d9480f}.other{fill:#868e96}.range{stroke:#222;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}.range{stroke:#eee}}"
)


def _bar(name: str, value: Spread, longest: float, top: float) -> list[str]:
    def x(number: float) -> float:
        return _LABELS + number / longest * _FULL

    middle = top + _BAR / 2
    kind = "own" if name == SUBJECT else "other"
    length = max(1.0, x(value.median) - _LABELS)
    return [
        f'<text x="{_LABELS - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{_LABELS}" y="{top:.0f}" width="{length:.1f}" height="{_BAR}"/>',
        f'<line class="range" x1="{x(value.lowest):.1f}" x2="{x(value.highest):.1f}" '
        f'y1="{middle:.0f}" y2="{middle:.0f}"/>',
        f'<text x="{x(value.highest) + 6:.1f}" y="{middle + 4:.0f}">{figure(value.median)} µs</text>',
    ]


def cost_chart(results: dict[str, Any]) -> str:
    """Of each row that has it: a bar for each subject's median, with a line from lowest to highest. Each
    row has a scale of its own, from zero."""
    parts: list[str] = []
    top = 10.0
    for row in results["rows"]:
        found = {name: spread(runs, "cpu_us") for name, runs in row["runs"].items()}
        bars = {name: value for name, value in found.items() if value is not None}
        if not bars:
            continue
        parts.append(f'<text class="t" x="10" y="{top + 16:.0f}">{escape(row["title"])}</text>')
        top += _TITLE - 8
        longest = max(value.highest for value in bars.values()) or 1.0
        for name, value in bars.items():
            parts += _bar(name, value, longest, top)
            top += _BAR + _GAP
        top += 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:.0f}" role="img">'
        f"<title>CPU time of the gateway for each delivery, in microseconds</title>"
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )
