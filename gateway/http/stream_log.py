"""One line for each stream that has ended, with all that is to be known of it.

Where thousands end together (a drain, a proxy that goes away), the lines would be the load. So many a second
are written, the rest is counted and told in one line a second, by reason. Streams that were ended for what
their client did wrong are never left out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.logs import get_logger
from gateway.protocol.closing import CloseReason
from gateway.protocol.sampling import Sampler

if TYPE_CHECKING:
    from gateway.http.stream import EventStream

WRONG: Final = frozenset({CloseReason.STALLED, CloseReason.UPLOADED})


class StreamLog:
    """The canonical lines."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._sampler = Sampler(per_second)
        self._clock = clock
        self._left_out: Counter[str] = Counter()
        self._log = get_logger("streams")
        self.left_out_total = 0

    def ended(self, stream: EventStream, reason: CloseReason, seconds: float) -> None:
        """The stream has ended after `seconds`, and is unregistered."""
        wrong = reason in WRONG
        if not wrong and not self._sampler.take(self._clock()):
            self._left_out[reason.value] += 1
            self.left_out_total += 1
            return
        subscription = stream.subscription
        (self._log.warning if wrong else self._log.info)(
            "stream_ended",
            request_id=stream.request_id,
            reason=reason.value,
            seconds=round(seconds, 3),
            channels=len(subscription.channels),
            resumed=subscription.resumed,
            events=subscription.events,
            bytes=subscription.bytes,
            replays=subscription.replays,
            gaps=subscription.gaps,
        )

    def tell_left_out(self) -> None:
        """To be called about once a second, and at the end."""
        if self._left_out:
            self._log.info(
                "stream_lines_left_out", count=self._left_out.total(), reasons=dict(self._left_out)
            )
            self._left_out.clear()
