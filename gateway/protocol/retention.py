"""How long a laggard still has, before its stream has lost what it needs.

A stream loses entries in two ways. Each publish trims it to so many; at its present rate it takes as long for
an entry to get there as it took the one that is there now. And it expires whole, some time after its last
publish. Both are estimates of what publishers will do, from one look at the stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from publisher.channels import Channel
from publisher.ids import Position


@dataclass(frozen=True, slots=True)
class Laggards:
    """The streams that are behind: in replay, with something that they have not got."""

    behind_seconds: float
    """The one furthest behind, by the positions of events."""
    cursors: Mapping[Channel, Position]
    """Of each channel that they need something of, the lowest; of so many channels at most."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a stream holds."""

    first: Position
    last: Position
    length: int
    has_lost: bool
    """It was trimmed before: it is as long as it gets."""
    expires_seconds: float
    """From now on, if nobody publishes."""


def seconds_left(kept: Kept | None, cursor: Position, *, most_entries: int, now_ms: float) -> float:
    """Until the entry behind `cursor` is gone; 0 where it may be gone by now, infinity where there is none.

    `kept` is None where the stream is gone. `most_entries` is what a stream holds that has lost nothing yet.
    """
    if kept is None:
        return 0.0
    if cursor >= kept.last:
        return math.inf
    room = 0 if kept.has_lost else max(0, most_entries - kept.length)
    age_seconds = (max(now_ms, kept.last.ms) - kept.first.ms) / 1000
    full_seconds = age_seconds * room / kept.length
    ahead_seconds = max(0, cursor.ms - kept.first.ms) / 1000
    return min(kept.expires_seconds, full_seconds + ahead_seconds)


def share_left(seconds: float, cursor: Position, *, now_ms: float) -> float:
    """How much of the way from its event to its loss is left, 0 to 1, for who has `seconds` left.

    A minute is much where a channel keeps two, and little where it keeps a day.
    """
    if math.isinf(seconds):
        return 1.0
    behind_seconds = max(0.0, now_ms - cursor.ms) / 1000
    return seconds / (seconds + behind_seconds) if seconds else 0.0
