"""What became of a replay, and what it took: closed sets, for logs and metrics."""

from __future__ import annotations

from enum import Enum


class ReplaySource(Enum):
    """The dearest place that it needed."""

    NOTHING = "nothing"
    """There was nothing to replay."""
    MEMORY = "memory"
    """The hot tails had all of it."""
    REDIS = "redis"
    """Some of it was read from the log."""


class ReplayOutcome(Enum):
    """How it ended."""

    COMPLETE = "complete"
    """All was written or announced; the stream went live, or its channels had ended."""
    STREAM_ENDED = "stream_ended"
    """The connection ended before that."""
    LINK_LOST = "link_lost"
    """The link to Redis was lost before that. Another replay begins from where it stood."""
