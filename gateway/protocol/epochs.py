"""Epochs: which history a cursor belongs to, and what it crosses on its way to the present.

A break is a point where Redis may have lost events: an epoch ended, with F as the last position of
what survived. A cursor of the epoch that ended at F resumes from the lower of the two, and is told of
the break where it passes F. A cursor of an epoch that nobody knows can't be resumed at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from publisher.ids import Epoch, EventId, Position


@dataclass(frozen=True, slots=True)
class Break:
    """An epoch that ended, and the last position of it that survived."""

    epoch: Epoch
    last: Position


@dataclass(frozen=True, slots=True)
class History:
    """The current epoch, and the breaks before it, the newest first (as `meta` holds them)."""

    epoch: Epoch
    breaks: tuple[Break, ...] = ()

    @classmethod
    def parse(cls, epoch: str, breaks: str) -> History:
        """Read the fields `epoch` and `breaks` of `meta`. ValueError if they are not ours."""
        past = []
        for item in breaks.split():
            name, _, position = item.partition(":")
            past.append(Break(Epoch(name), Position.parse(position)))
        if len(epoch) != 6:
            raise ValueError(f"not an epoch: {epoch[:16]!r}")
        return cls(Epoch(epoch), tuple(past))

    @property
    def epochs(self) -> frozenset[Epoch]:
        """The current one, and those that are remembered."""
        return frozenset((self.epoch, *(past.epoch for past in self.breaks)))

    def at(self, position: Position) -> EventId:
        """The id that an event at `position` has: the oldest epoch that reached it gave it out."""
        epoch = self.epoch
        for past in self.breaks:
            if position > past.last:
                break
            epoch = past.epoch
        return EventId(position, epoch)

    def path(self, cursor: EventId) -> Path | None:
        """How `cursor` gets to the present; None where its epoch is unknown."""
        if cursor.epoch == self.epoch:
            return Path(cursor.position, ())
        crossed: list[Break] = []
        for past in self.breaks:
            crossed.append(past)
            if past.epoch == cursor.epoch:
                return Path(min(cursor.position, past.last), tuple(reversed(crossed)))
        return None


@dataclass(frozen=True, slots=True)
class Path:
    """Where a cursor resumes, and the breaks it then crosses, the oldest first."""

    start: Position
    crossing: tuple[Break, ...]
