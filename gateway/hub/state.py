"""What a node knows of its partition: the channels, the position, the history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.hub.subscription import Subscription
from gateway.protocol.epochs import History
from gateway.protocol.hottail import HotTail
from gateway.protocol.replays import ReplayOutcome, ReplaySource
from publisher.channels import Channel
from publisher.ids import ORIGIN, Epoch, EventId, Position


class ChannelState:
    """A channel that somebody follows, or did until a moment ago."""

    __slots__ = ("end", "last", "name", "subscriptions", "tail")

    def __init__(self, name: Channel) -> None:
        self.name = name
        self.tail: HotTail | None = None
        """None until the channel is confirmed and has its floor, in this generation."""
        self.last = ORIGIN
        """The last event seen on the link or named by the tail key: the chain's end."""
        self.end: EventId | None = None
        """The id of its `fanlight.end`."""
        self.subscriptions: dict[Subscription, None] = {}


@dataclass(slots=True)
class Limits:
    """The hub's bounds; each is a setting."""

    hot_tail_bytes: int = 1_048_576
    hot_tails_bytes: int = 67_108_864
    page_bytes: int = 262_144
    max_replays: int = 32
    max_replay_events: int = 1_000_000
    max_replay_bytes: int = 1_073_741_824
    linger_seconds: float = 10.0
    max_payload_bytes: int = 264_192


@dataclass(slots=True)
class Node:
    """The node's own state towards its partition."""

    in_sync: bool = False
    """The link is up. While it is not, the position stands still and nothing is replayed."""
    generation: int = 0
    position: Position = ORIGIN
    """Every event at or below it, of a channel with a floor, has passed."""
    history: History = field(default_factory=lambda: History(Epoch("000000")))
    evicting: bool = False
    """Redis may evict keys: a missing tail proves nothing."""
    channels: dict[Channel, ChannelState] = field(default_factory=dict)

    @property
    def id(self) -> EventId:
        """The position as an id."""
        return EventId(self.position, self.history.epoch)


@dataclass(slots=True)
class Counts:
    """What the hub counts; the metrics read it."""

    ingested: int = 0
    batches: int = 0
    invalid: int = 0
    replayed: int = 0
    replays_from_log: int = 0
    replays_from_memory: int = 0
    holes_healed: int = 0
    demoted: int = 0
    cut_replays: int = 0
    cut_beginnings: int = 0
    generations: int = 0
    gaps: dict[str, int] = field(default_factory=dict)
    replays: Counter[tuple[ReplaySource, ReplayOutcome]] = field(default_factory=Counter)

    def gap(self, reason: str) -> None:
        self.gaps[reason] = self.gaps.get(reason, 0) + 1

    def replay_ended(self, subscription: Subscription, outcome: ReplayOutcome) -> None:
        self.replays[subscription.source, outcome] += 1
        subscription.replays += 1
        subscription.source = ReplaySource.NOTHING
