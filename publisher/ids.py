"""Event ids: `<ms>-<seq>-<epoch>`.

`<ms>-<seq>` is the event's position: the entry ID in its Redis stream, taken from one clock that all
channels of the partition share, so positions are totally ordered over channels. `<epoch>` (6 hex
digits) names the history that the position belongs to: it changes when Redis may have lost events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType

Epoch = NewType("Epoch", str)

MAX_NUMBER: Final = 2**64 - 1
"""Of a position: Redis' numbers have 64 bits."""
_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})-([0-9a-f]{6})", re.ASCII)


class Position(NamedTuple):
    """A place in a partition's order: milliseconds and a sequence number within them."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `<ms>-<seq>` as Redis writes it. ValueError for anything else."""
        ms, _, seq = text.partition("-")
        position = cls(int(ms), int(seq))
        if str(position) != text or not (0 <= position.ms <= MAX_NUMBER and 0 <= position.seq <= MAX_NUMBER):
            raise ValueError(f"not a position: {text[:64]!r}")
        return position

    def before(self) -> Position:
        """The greatest position below this one. `Position(0, 0)` has none, and stays."""
        if self.seq:
            return Position(self.ms, self.seq - 1)
        return Position(self.ms - 1, MAX_NUMBER) if self.ms else self


ORIGIN: Final = Position(0, 0)
"""Below every event: the `prev` of a channel's first."""


@dataclass(frozen=True, slots=True, order=False)
class EventId:
    """An event's id. As a `Last-Event-ID` it is a cursor: everything at or below it has been seen."""

    position: Position
    epoch: Epoch

    def __str__(self) -> str:
        return f"{self.position.ms}-{self.position.seq}-{self.epoch}"

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Read an id in its one canonical spelling. ValueError for anything else."""
        match = _ID.fullmatch(text)
        if match is None:
            raise ValueError(f"not an event id: {text[:64]!r}")
        ms, seq = int(match[1]), int(match[2])
        if ms > MAX_NUMBER or seq > MAX_NUMBER:
            raise ValueError(f"not an event id: {text[:64]!r}")
        return cls(Position(ms, seq), Epoch(match[3]))
