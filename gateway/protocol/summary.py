"""What a node says of itself when it is asked how it is. Bounded: so many laggards, so many changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from gateway.protocol.changes import DETAIL_CHARACTERS, Change
from gateway.protocol.fields import Fields, channel_of
from publisher.channels import Channel

MOST_LAGGARDS: Final = 10
MOST_CHANGES: Final = 20
_MOST_REASONS: Final = 8
NAME_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True)
class LaggingStream:
    """A stream that is behind, by the channel of which it is about to lose something."""

    request_id: str
    """Of its answer's X-Request-Id, as the log has it."""
    channel: Channel
    channels: int
    behind_seconds: float
    left_seconds: float
    """Until retention reaches what it needs next; infinity where nothing is known to threaten it."""

    def as_object(self) -> dict[str, object]:
        return {
            "request_id": self.request_id,
            "channel": self.channel,
            "channels": self.channels,
            "behind_seconds": round(self.behind_seconds, 3),
            "left_seconds": None if math.isinf(self.left_seconds) else round(self.left_seconds, 3),
        }

    @classmethod
    def parse(cls, fields: Fields) -> LaggingStream:
        return cls(
            fields.text("request_id", 128),
            channel_of(fields.text("channel", 128), "channel"),
            fields.count("channels"),
            fields.seconds("behind_seconds"),
            fields.seconds_or_never("left_seconds"),
        )


@dataclass(frozen=True, slots=True)
class LinkSummary:
    """A node's link to Redis."""

    connected: bool
    generation: int
    lost_seconds: float
    round_trip_seconds: float
    probe_round_trip_seconds: float
    last_error: str
    """What ended the last generation."""

    def as_object(self) -> dict[str, object]:
        return {
            "connected": self.connected,
            "generation": self.generation,
            "lost_seconds": round(self.lost_seconds, 3),
            "round_trip_seconds": round(self.round_trip_seconds, 6),
            "probe_round_trip_seconds": round(self.probe_round_trip_seconds, 6),
            "last_error": self.last_error,
        }

    @classmethod
    def parse(cls, fields: Fields) -> LinkSummary:
        return cls(
            fields.flag("connected"),
            fields.count("generation"),
            fields.seconds("lost_seconds"),
            fields.seconds("round_trip_seconds"),
            fields.seconds("probe_round_trip_seconds"),
            fields.text("last_error", DETAIL_CHARACTERS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One process: a node, or a worker of one."""

    name: str
    worker: int | None
    version: str
    uptime_seconds: float
    ready: bool
    why: tuple[str, ...]
    """Why it is not ready."""
    draining: bool
    streams: int
    max_streams: int
    replaying: int
    channels: int
    ingested: int
    delivered: int
    """Counters, since it began: two answers tell the rate."""
    redis: LinkSummary
    behind_seconds: float
    left_seconds: float
    laggards: tuple[LaggingStream, ...]
    changes: tuple[Change, ...]
    """The newest first."""

    def as_object(self) -> dict[str, Any]:
        """For JSON. Infinity is null there."""
        return {
            "name": self.name,
            "worker": self.worker,
            "version": self.version,
            "uptime_seconds": round(self.uptime_seconds, 1),
            "ready": self.ready,
            "why": list(self.why),
            "draining": self.draining,
            "streams": self.streams,
            "max_streams": self.max_streams,
            "replaying": self.replaying,
            "channels": self.channels,
            "ingested": self.ingested,
            "delivered": self.delivered,
            "redis": self.redis.as_object(),
            "behind_seconds": round(self.behind_seconds, 3),
            "left_seconds": None if math.isinf(self.left_seconds) else round(self.left_seconds, 3),
            "laggards": [laggard.as_object() for laggard in self.laggards],
            "changes": [change.as_object() for change in self.changes],
        }

    @classmethod
    def parse(cls, fields: Fields) -> Summary:
        """What `as_object` made. Raises `gateway.protocol.fields.BadMessage`."""
        return cls(
            name=fields.text("name", NAME_CHARACTERS),
            worker=fields.number_or_none("worker"),
            version=fields.text("version", 64),
            uptime_seconds=fields.seconds("uptime_seconds"),
            ready=fields.flag("ready"),
            why=fields.texts("why", _MOST_REASONS, DETAIL_CHARACTERS),
            draining=fields.flag("draining"),
            streams=fields.count("streams"),
            max_streams=fields.count("max_streams"),
            replaying=fields.count("replaying"),
            channels=fields.count("channels"),
            ingested=fields.count("ingested"),
            delivered=fields.count("delivered"),
            redis=LinkSummary.parse(fields.object("redis")),
            behind_seconds=fields.seconds("behind_seconds"),
            left_seconds=fields.seconds_or_never("left_seconds"),
            laggards=tuple(map(LaggingStream.parse, fields.objects("laggards", MOST_LAGGARDS))),
            changes=tuple(map(Change.parse, fields.objects("changes", MOST_CHANGES))),
        )
