"""What happened in a run, as plain values: the checker's input, and nothing of the product.

Ids are text as it was on the wire, `<ms>-<seq>-<epoch>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """How a publish ended."""

    ACKED = "acked"
    UNKNOWN = "unknown"
    """No answer: it may be in the stream or not."""
    REFUSED = "refused"
    """Redis said no: it must not be in the stream."""


@dataclass(frozen=True, slots=True)
class Written:
    """One event that a publisher tried to publish. A retry of the same number is another `Written`."""

    channel: str
    number: int
    data: str
    outcome: Outcome
    id: str = ""


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of a channel's stream, read when all was over. `data` None: not one of ours."""

    channel: str
    id: str
    data: str | None


@dataclass(frozen=True, slots=True)
class Connected:
    """A subscriber's connection was answered with 200."""

    cursor: str
    """The Last-Event-ID that it sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer at which a browser gives up for good."""

    status: int


@dataclass(frozen=True, slots=True)
class Received:
    """An event. `id` is the event source's last event ID at its dispatch."""

    type: str
    id: str
    data: str


@dataclass(slots=True)
class Followed:
    """One subscriber: its channels, and what it saw, in order."""

    name: str
    channels: tuple[str, ...]
    records: list[Connected | Refused | Received] = field(default_factory=list)


class Loss(Enum):
    """What Redis itself may have lost in a run."""

    NONE = "none"
    AT_BREAK = "at a break"
    """The end of a history: what it lost is of an epoch that has ended."""
    ANY = "any"
    """Entries: trimmed, evicted, deleted."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the faults of a run excuse."""

    gaps: frozenset[str] = frozenset()
    """Reasons that a gap may have. All others are false alarms."""
    gap_channels: frozenset[str] | None = None
    """Where not None, the only channels that may have one."""
    loss: Loss = Loss.NONE
    refused: bool = False
    """Publishes may be refused."""
    keys_lost: bool = False
    """Redis may have dropped idempotency keys: a retry is then another event."""
    told: frozenset[str] = frozenset()
    """Each subscriber must have been told a gap with one of these reasons (empty: no matter)."""
    told_only: frozenset[str] | None = None
    """Where not None, the names of the subscribers for which that holds."""


@dataclass(slots=True)
class History:
    """One run."""

    written: list[Written]
    logged: list[Logged]
    followed: list[Followed]
    epoch: str
    """The current one, at the end."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """A node's figures at a moment of quiet."""

    resident_bytes: float
    open_files: float
    tasks: float
    streams: float
    channels: float
    subscriptions: int
    """Of this node's prefix on Redis, besides the nodes' probes."""
