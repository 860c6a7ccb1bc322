"""Revocations: which tokens are refused, and which streams end, though they have not expired yet.

A revocation has a moment: the time of its id, by Redis' clock. It covers what was granted up to then:

- of a subject: its tokens with an `iat` at or before the moment, and those without one;
- of a channel: the same of all tokens, as far as that channel goes, and what is granted to everybody;
- of one token: that one, whatever it says of its own age.

It counts for as long as any of these can live; then nothing is left for it to refuse.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection
from dataclasses import dataclass

from gateway.auth.grants import Bearer
from gateway.protocol import strict_json
from publisher.channels import Channel
from publisher.control import By, Target


@dataclass(frozen=True, slots=True)
class Revocation:
    """One that counts. Times are Unix seconds."""

    target: Target
    at: float
    until: float

    @classmethod
    def parse(cls, data: bytes, at: float, least_seconds: float) -> Revocation:
        """From an event's data. It counts for `least_seconds` at least: as long as this node takes tokens.
        ValueError for what is no revocation. Fields that are not known are ignored."""
        try:
            fields = strict_json.parse(data)
            seconds = fields["seconds"]
            named = {by.value: fields[by.value] for by in By if by.value in fields}
            target = Target.of(**named)
            until = at + max(least_seconds, float(seconds))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a revocation: {type(error).__name__}") from None
        if not math.isfinite(until):
            raise ValueError("not a revocation: it has no end")
        return cls(target, at, until)

    def covers(self, bearer: Bearer, channels: Collection[Channel] = ()) -> bool:
        """Whether the bearer may not follow these channels any more; without channels, whether nothing."""
        value = self.target.value
        match self.target.by:
            case By.TOKEN:
                return bearer.token_id == value
            case By.SUBJECT:
                return bearer.subject == value and self._precedes(bearer)
            case By.CHANNEL:
                return value in channels and self._precedes(bearer)

    def _precedes(self, bearer: Bearer) -> bool:
        return bearer.issued_at is None or bearer.issued_at <= self.at


class Revocations:
    """Those that count, the last of each target."""

    def __init__(self) -> None:
        self._held: dict[By, dict[str, Revocation]] = {by: {} for by in By}
        self._ends: list[tuple[float, str, str]] = []
        """A heap of when which target's runs out, with some that were renewed since."""

    def add(self, revocation: Revocation, now: float) -> bool:
        """Whether it is news: it still counts, and none that was as late is known of its target."""
        target, at, until = revocation.target, revocation.at, revocation.until
        if until <= now:
            return False
        held = self._held[target.by].get(target.value)
        if held is None or held.until < until:
            heapq.heappush(self._ends, (until, target.by.value, target.value))
        if held is not None:  # one for both: it may refuse more than they do, and never less
            revocation = Revocation(target, max(held.at, at), max(held.until, until))
        self._held[target.by][target.value] = revocation
        return held is None or held.at < at

    def find(self, bearer: Bearer, channels: Collection[Channel], now: float) -> Revocation | None:
        """One that keeps the bearer from these channels."""
        named = [(By.SUBJECT, bearer.subject), (By.TOKEN, bearer.token_id)]
        named += [(By.CHANNEL, channel) for channel in channels]
        for by, value in named:
            found = None if value is None else self._held[by].get(value)
            if found is not None and found.until > now and found.covers(bearer, channels):
                return found
        return None

    def prune(self, now: float) -> None:
        """Forget those that have run out."""
        while self._ends and self._ends[0][0] <= now:
            until, by, value = heapq.heappop(self._ends)
            held = self._held[By(by)].get(value)
            if held is not None and held.until <= until:  # else it was renewed, and ends later
                del self._held[By(by)][value]

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))
