"""What has changed with a node lately: two looks at it, a moment apart, tell what happened in between.

Nobody has to report: whoever does the work counts as ever, and a look costs the same, however much has
happened. So what was many (slow streams, gaps) is one line with a count, and cannot push out what was
rare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, TypeVar

from gateway.protocol.fields import BadMessage, Fields

K = TypeVar("K")
KEPT: Final = 64
"""How many changes a node remembers."""
_TOGETHER_MS: Final = 60_000
"""What happens again within a minute is the same change, that goes on."""
DETAIL_CHARACTERS: Final = 200


class ChangeKind(Enum):
    """What has happened. Those that the log tells of, too, have the same name there."""

    REDIS_CONNECTED = "redis_connected"
    REDIS_LOST = "redis_lost"
    CAUGHT_UP = "caught_up"
    EPOCH_CHANGED = "epoch_changed"
    """Redis is another one than before, or may have lost events."""
    READY = "ready"
    UNREADY = "unready"
    DRAINING = "draining"
    SLOW_STREAMS = "slow_streams"
    """Live streams that were sent back to replay by their backlog."""
    STREAMS_SHED = "streams_shed"
    LIMITS_HIT = "limits_hit"
    GAPS = "gaps"
    HOLES_HEALED = "holes_healed"
    REVOCATIONS_MISSED = "revocations_missed"


_COUNTED: Final = frozenset(
    {
        ChangeKind.SLOW_STREAMS,
        ChangeKind.STREAMS_SHED,
        ChangeKind.LIMITS_HIT,
        ChangeKind.GAPS,
        ChangeKind.HOLES_HEALED,
        ChangeKind.REVOCATIONS_MISSED,
    }
)
"""Those that come in numbers, and are counted up while they go on."""


@dataclass(frozen=True, slots=True)
class Look:
    """A node at one moment. Counters only grow."""

    generation: int = 0
    connected: bool = False
    last_error: str = ""
    epoch: str = ""
    caught_up_seconds: float = 0.0
    ready: bool = False
    accepting: bool = True
    slow_streams: int = 0
    shed: int = 0
    holes_healed: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    gaps: Mapping[str, int] = field(default_factory=dict)
    revocations_missed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened `count` times between two moments, in Unix ms."""

    kind: ChangeKind
    at_ms: int
    until_ms: int
    count: int = 1
    detail: str = ""

    def as_object(self) -> dict[str, object]:
        return {
            "kind": self.kind.value,
            "at_ms": self.at_ms,
            "until_ms": self.until_ms,
            "count": self.count,
            "detail": self.detail,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Change:
        """What `as_object` made. Raises `BadMessage`."""
        try:
            kind = ChangeKind(fields.text("kind", 40))
        except BadMessage:
            raise
        except ValueError:
            raise BadMessage("kind") from None
        times = fields.count("at_ms"), fields.count("until_ms")
        return cls(kind, *times, fields.count("count"), fields.text("detail", DETAIL_CHARACTERS))


def between(before: Look, after: Look) -> Iterator[tuple[ChangeKind, int, str]]:
    """What has happened, how often, and what is known of it; the worst of it last."""
    made = after.generation - before.generation
    losses = made + before.connected - after.connected
    if losses > 0:
        yield ChangeKind.REDIS_LOST, losses, after.last_error
    if made > 0:
        yield ChangeKind.REDIS_CONNECTED, made, f"generation {after.generation}"
    if before.epoch and after.epoch != before.epoch and after.connected:
        yield ChangeKind.EPOCH_CHANGED, 1, f"{before.epoch} is now {after.epoch}"
    if after.caught_up_seconds != before.caught_up_seconds:
        yield ChangeKind.CAUGHT_UP, 1, f"after {after.caught_up_seconds:.2f} s"
    if before.accepting and not after.accepting:
        yield ChangeKind.DRAINING, 1, ""
    elif before.ready != after.ready:
        yield (ChangeKind.READY if after.ready else ChangeKind.UNREADY), 1, ""
    for kind, was, now in (
        (ChangeKind.SLOW_STREAMS, before.slow_streams, after.slow_streams),
        (ChangeKind.STREAMS_SHED, before.shed, after.shed),
        (ChangeKind.HOLES_HEALED, before.holes_healed, after.holes_healed),
    ):
        if now > was:
            yield kind, now - was, ""
    for kind, were, are in (
        (ChangeKind.LIMITS_HIT, before.limits, after.limits),
        (ChangeKind.GAPS, before.gaps, after.gaps),
        (ChangeKind.REVOCATIONS_MISSED, before.revocations_missed, after.revocations_missed),
    ):
        grown = {name: are[name] - were.get(name, 0) for name in are if are[name] > were.get(name, 0)}
        if grown:
            yield kind, sum(grown.values()), ", ".join(sorted(grown))


class Changes:
    """The last of them. What comes in numbers has a place of its own for each kind, while it goes on."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._changes: list[Change] = []

    def note(self, before: Look, after: Look, now_ms: int) -> None:
        """All that has happened between two looks, of which the second is now."""
        for kind, count, detail in between(before, after):
            self._add(Change(kind, now_ms, now_ms, count, detail[:DETAIL_CHARACTERS]))
        del self._changes[: -self._most]

    def _add(self, change: Change) -> None:
        if change.kind in _COUNTED:
            for at, known in enumerate(self._changes):
                if known.kind is change.kind and change.at_ms - known.until_ms <= _TOGETHER_MS:
                    count = known.count + change.count
                    going_on = replace(known, until_ms=change.at_ms, count=count, detail=change.detail)
                    del self._changes[at]
                    self._changes.append(going_on)
                    return
        self._changes.append(change)

    def last(self, most: int) -> tuple[Change, ...]:
        """The newest first."""
        return tuple(reversed(self._changes[-most:]))
