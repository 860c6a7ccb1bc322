"""`fanlight.gap`: what can't be recovered is said in-band."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.protocol import sse
from publisher.channels import Channel
from publisher.ids import EventId

GAP_TYPE: Final = b"fanlight.gap"


class GapReason(Enum):
    """Why events are missing. Also the label of the metric."""

    TRIMMED = "trimmed"
    """The stream holds fewer entries than the client is behind."""
    EXPIRED = "expired"
    """The stream is gone: its channel was quiet for longer than its retention, or it was evicted."""
    REWRITTEN = "rewritten"
    """Entries are missing within the stream: somebody deleted or replaced them."""
    INVALID = "invalid"
    """An entry is not a payload of the contract, or is too large."""
    FAILOVER = "failover"
    """An epoch ended: Redis was restarted or a replica promoted, and may have lost its last events."""
    EPOCH = "epoch"
    """The cursor is of an epoch that this Redis doesn't know: it was wiped, or is another one."""
    UNKNOWN_CURSOR = "unknown_cursor"
    """The cursor is not an id of ours."""
    FUTURE = "future"
    """The cursor is above everything that was published."""
    LATE = "late"
    """An event became known after later ones had been written: a writer outside the contract."""
    TOO_FAR_BEHIND = "too_far_behind"
    """More than a new stream may read of the past."""
    UNKNOWN = "unknown"
    """Neither stream nor tail is left to tell whether anything was missed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events after `start`, up to and with `end`, are missing.

    `channel` None stands for all channels of the connection, `start` None for a cursor that could
    not be read.
    """

    channel: Channel | None
    reason: GapReason
    start: EventId | None
    end: EventId | None

    def frame(self, encoding: sse.Encoding, id_: EventId | None) -> bytes:
        """Encode it under the subscription's own cursor: if it is cut off, it is told again."""
        data = json.dumps(
            {
                "channel": self.channel,
                "reason": self.reason.value,
                "from": None if self.start is None else str(self.start),
                "to": None if self.end is None else str(self.end),
            },
            separators=(",", ":"),
        ).encode()
        return encoding.framed(sse.event(GAP_TYPE, data, None if id_ is None else str(id_)))
