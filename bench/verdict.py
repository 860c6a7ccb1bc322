"""From the numbers of a row's runs to medians, spread, and whether a target was met. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Runs = Mapping[str, Sequence[Mapping[str, float]]]
"""Of each subject, the numbers of its runs, in the order in which they were taken in turn."""

SUBJECT = "fanlight"


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Target:
    """A bound of one number of Fanlight's; with `of`, of its ratio to that subject's number.

    A ratio is taken of runs that followed each other, and the median of ratios is judged. An `exact`
    bound holds for each run, others for the median.
    """

    number: str
    bound: float
    at_least: bool = False
    of: str = ""
    exact: bool = False
    label: str = SUBJECT

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{self.number} {sign} {self.bound:,g}" + (f" × {self.of}" if self.of else "")

    def values(self, runs: Runs) -> list[float]:
        own = runs.get(self.label, ())
        if not self.of:
            return [run[self.number] for run in own if self.number in run]
        pairs = zip(own, runs.get(self.of, ()), strict=False)
        return [a[self.number] / b[self.number] for a, b in pairs if self.number in a and b.get(self.number)]

    def judge(self, runs: Runs) -> Judged:
        values = self.values(runs)
        if not values:
            return Judged(str(self), None, None)
        worst = min(values) if self.at_least else max(values)
        value = worst if self.exact else statistics.median(values)
        met = value >= self.bound if self.at_least else value <= self.bound
        return Judged(str(self), value, met)


@dataclass(frozen=True, slots=True)
class Judged:
    """`met` is None where nothing could be measured."""

    target: str
    value: float | None
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def spread(runs: Sequence[Mapping[str, float]], number: str) -> Spread | None:
    """None where no run has the number."""
    values = [run[number] for run in runs if number in run]
    return Spread(statistics.median(values), min(values), max(values)) if values else None
