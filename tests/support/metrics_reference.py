"""What docs/metrics.md says of each metric, and what a scrape says, in one form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERENCE = Path(__file__).resolve().parents[2] / "docs/metrics.md"
_ROW = re.compile(r"^\| `(fanlight_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \|", re.MULTILINE)


class Kind(NamedTuple):
    """Of a metric: its type, and its labels."""

    type: str
    labels: frozenset[str]


def documented() -> dict[str, Kind]:
    return {
        name: Kind(type_, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, type_, labels, _ in _ROW.findall(REFERENCE.read_text())
    }


def exposed(text: str, *, but: Iterable[str] = ()) -> dict[str, Kind]:
    """The metrics of ours in a scrape's answer, without the labels `but`."""
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("fanlight_"):
            labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le", *but}
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = Kind(family.type, labels)
    return found
