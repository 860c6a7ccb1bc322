"""Which events get a span, and what it says: what a traced event's way through this node was.

One span for each traced event and process, however many streams it went to. Anybody who may publish may ask
for one, so they are bounded: by a rate, and by how many may wait for the collector.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.protocol.rates import Rates

if TYPE_CHECKING:
    from gateway.protocol.publication import Publication

_NS_PER_MS: Final = 1_000_000
_NS_PER_SECOND: Final = 1_000_000_000
_NODE: Final = None


class FanOut(NamedTuple):
    """A traced event that was written to the live streams of its channel."""

    publication: Publication
    streams: int
    size_bytes: int
    """Of all these writes, before compression."""


class Verdict(Enum):
    """What becomes of a traced event."""

    SPAN = "span"
    UNSAMPLED = "unsampled"
    """Whoever made the trace does not record it."""
    OVER_RATE = "over_rate"
    """`max_spans_per_second`."""
    OVER_QUEUE = "over_queue"
    """`max_queued_spans`: the collector does not keep up, or is away."""


class SpanLimits:
    """Decides event by event. Its clock is the caller's."""

    def __init__(self, *, max_per_second: Callable[[], float], max_queued: int) -> None:
        """The rate is asked at each decision; 0 bounds nothing."""
        self._rate: Rates[None] = Rates(max_per_second)
        self._max_queued = max_queued

    def judge(self, publication: Publication, *, queued: int, now: float) -> Verdict:
        """`queued` spans wait for the collector, or are on their way to it."""
        traceparent = publication.traceparent
        if traceparent is None or not traceparent.sampled:
            return Verdict.UNSAMPLED
        if queued >= self._max_queued:
            return Verdict.OVER_QUEUE
        if self._rate.wait_seconds(_NODE, now):
            return Verdict.OVER_RATE
        self._rate.take(_NODE, now)
        return Verdict.SPAN


def began_ns(wall_ms: int, offset_seconds: float | None, ended_ns: int) -> int:
    """When Redis took an event, in nanoseconds of our clock: never after it was written.

    Redis cuts its clock to whole milliseconds. As long as nothing is known of how far it is ahead
    (`offset_seconds`), it is taken for ours.
    """
    offset_ns = 0 if offset_seconds is None else round(offset_seconds * _NS_PER_SECOND)
    return max(0, min(wall_ms * _NS_PER_MS - offset_ns, ended_ns))
