"""When an issuer's keys are fetched again. No I/O, no clock: times are given.

By age, in the background. And when a token names a key that is not known: at most once in a while, whatever
number of such tokens come, since they cost nothing to make up. A failure keeps what was fetched before.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Refresh:
    """The state of one address. Times are seconds of one clock that never goes back."""

    every_seconds: float
    """The age at which the keys are fetched again."""
    asked_seconds: float
    """The least time between the beginnings of two fetches, but for the growing pauses after failures."""
    begun_at: float | None = None
    succeeded_at: float | None = None
    failures: int = 0
    """Since the last success."""

    def begin(self, now: float) -> None:
        self.begun_at = now

    def succeeded(self, now: float) -> None:
        self.succeeded_at, self.failures = now, 0

    def failed(self) -> None:
        self.failures += 1

    @property
    def well(self) -> bool:
        """Whether the last fetch brought keys."""
        return self.succeeded_at is not None and not self.failures

    def may_ask(self, now: float) -> bool:
        """Whether a fetch may begin for the sake of a key that is not known."""
        return self.begun_at is None or now - self.begun_at >= self.asked_seconds

    def pause_seconds(self, now: float) -> float:
        """How long until the next fetch by age, or after a failure: then soon, and ever later."""
        if self.begun_at is None:
            return 0.0
        wait = self.every_seconds
        if self.failures:
            wait = min(wait, self.asked_seconds * 2 ** min(self.failures - 1, 8))
        return max(0.0, self.begun_at + wait - now)
