"""Which bound somebody has come to: one closed set, for the metric and for answers."""

from __future__ import annotations

from enum import Enum


class Limit(Enum):
    """The label of `fanlight_limits_hit_total`, mostly the setting's name without its `max_`."""

    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    HEADER_SECONDS = "header_seconds"
    HEADER_BYTES = "header_bytes"
    BODY_SECONDS = "body_seconds"
    ANSWER_SECONDS = "stall_seconds"
    STREAMS = "streams"
    STREAMS_PER_ADDRESS = "streams_per_address"
    STREAMS_PER_SUBJECT = "streams_per_subject"
    NEW_STREAMS = "new_streams_per_second"
    FAILED_CREDENTIALS = "failed_credentials_per_second"
    TICKETS = "tickets_per_second"
    PUBLISHING = "publish_per_second"
    PUBLISH_BYTES = "publish_bytes_per_second"
    PUBLISHES_PER_SUBJECT = "publishes_per_subject"
    QUESTIONS = "questions_per_second"
    """To other nodes."""
    ANSWERS = "answers_per_second"
    """To other nodes: their question is left unanswered."""
    REPLAY = "replay"
    """`max_replay_events`, `max_replay_bytes`: told as a gap."""
    LAST = "last"
    """Told as a gap."""
    REPLAYS = "replays"
    """It waits for its turn."""
    SPANS = "spans_per_second"
    QUEUED_SPANS = "queued_spans"
    DESCRIPTORS = "descriptors"
    """The process may open no more files."""


class OverLimit(Exception):
    """Whoever asks has taken what they may, for now. Nobody who was there before is worse off for it.

    `seconds` is after how long it is worth asking again, 0 where that depends on others.
    """

    def __init__(self, limit: Limit, detail: str, seconds: float = 0.0) -> None:
        self.limit = limit
        self.detail = detail
        self.seconds = seconds
        super().__init__(f"{limit.value}: {detail}")
