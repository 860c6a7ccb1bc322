"""When to try again: exponential back-off with full jitter, within a deadline.

Pure: the caller brings the failures so far, the time that is left and a random number, so a test
needs no clock. Full jitter (a delay drawn evenly between nothing and the ceiling) spreads the
publishers that a Redis restart sends back all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Backoff:
    """The ceiling of the delay doubles from `first_seconds` with each failure, up to `max_seconds`."""

    first_seconds: float = 0.05
    max_seconds: float = 1.0

    def ceiling_seconds(self, failures: int) -> float:
        """The longest delay after this many failures (1 or more) in a row."""
        # The exponent is capped so that it stays a float however long an outage lasts.
        return min(self.max_seconds, self.first_seconds * 2.0 ** min(failures - 1, 64))

    def delay_seconds(self, failures: int, remaining_seconds: float, jitter: float) -> float | None:
        """How long to wait before the next attempt; None to give up.

        `failures` counts the attempts that failed (1 or more), `remaining_seconds` is what is left
        until the deadline, `jitter` an even random number in [0, 1). None means that the next attempt
        would begin at or after the deadline.
        """
        delay = self.ceiling_seconds(failures) * jitter
        return delay if delay < remaining_seconds else None


BACKOFF: Final = Backoff()
