"""Why a stream ended: the one closed set for the log field and the metric's label."""

from __future__ import annotations

from enum import Enum


class CloseReason(Enum):
    """The reason that ended a stream."""

    CLIENT_LEFT = "client_left"
    CHANNELS_ENDED = "channels_ended"
    MAX_AGE = "max_age"
    STALLED = "stalled"
    UPLOADED = "uploaded"
    DRAINED = "drained"
    EXPIRED = "expired"
    REVOKED = "revoked"
