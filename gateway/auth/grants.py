"""What somebody may do, and until when."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gateway.auth.refusals import Refusal, Refused
from gateway.protocol import strict_json
from gateway.protocol.patterns import InvalidPattern, Patterns
from publisher.channels import Channel


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who was granted something, by which token (`jti`), issued when (Unix seconds): what revocations name.

    A stream holds on to this of its grant, so it is small.
    """

    subject: str | None = field(default=None, repr=False)
    token_id: str | None = field(default=None, repr=False)
    issued_at: float | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do. `expires_at` is in Unix seconds, and infinite for what everybody may do."""

    subscribe: Patterns = field(default_factory=Patterns)
    publish: Patterns = field(default_factory=Patterns)
    expires_at: float = math.inf
    subject: str | None = field(default=None, repr=False)
    token_id: str | None = field(default=None, repr=False)
    issued_at: float | None = None
    disconnect: bool = False
    """Whether it allows to revoke."""
    presence: Patterns = field(default_factory=Patterns)
    """Of which channels it allows to know how many follow them."""

    @property
    def bearer(self) -> Bearer:
        return Bearer(self.subject, self.token_id, self.issued_at)

    @property
    def anonymous(self) -> bool:
        """Whether it takes no credential."""
        return self.expires_at == math.inf

    def beside(self, everybody: Grant) -> Grant:
        """This, and what everybody may do."""
        return replace(self, subscribe=self.subscribe | everybody.subscribe)

    def check_subscribe(self, channels: Iterable[Channel]) -> None:
        """Raises `Refused`, which names the first of these channels that may not be followed."""
        denied = self.subscribe.denied(channels)
        if denied is None:
            return
        if self.anonymous:
            detail = f"Not everybody may subscribe to {denied}: send a token whose claims allow it."
            raise Refused(Refusal.MISSING, detail)
        raise Refused(Refusal.NOT_GRANTED, f"The token does not allow to subscribe to {denied}.")

    def check_presence(self, channels: Iterable[Channel]) -> None:
        """Raises `Refused`, which names the first of these channels whose followers may not be counted."""
        denied = self.presence.denied(channels)
        if denied is not None:
            detail = f"It takes a token with fanlight.presence to know how many follow {denied}."
            raise Refused(Refusal.MISSING if self.anonymous else Refusal.NOT_GRANTED, detail)

    def check_expiry(self, now: float) -> None:
        """Raises `Refused` if it is over by now, in Unix seconds."""
        if self.expires_at <= now:
            raise Refused(Refusal.EXPIRED, "The token has expired: get a new one.")

    def dump(self) -> bytes:
        """For a ticket: it is for reading, so it holds nothing else."""
        bearer = self.subject, self.token_id, self.issued_at
        patterns = [list(these.texts) for these in (self.subscribe, self.presence)]
        return json.dumps([*patterns, self.expires_at, *bearer]).encode()

    @classmethod
    def load(cls, data: bytes, now: float) -> Grant:
        """What `dump` wrote. It has lain in Redis, so it is checked. Raises `Refused`."""
        try:
            subscribe, presence, expires_at, subject, token_id, issued_at = strict_json.parse(data)
            if not (isinstance(subscribe, list) and isinstance(presence, list)):
                raise ValueError
            if not all(isinstance(name, str | None) for name in (subject, token_id)):
                raise ValueError
            if not math.isfinite(expires_at) or not math.isfinite(issued_at or 0):
                raise ValueError
            bearer = subject, token_id, issued_at
            grant = cls(
                Patterns(subscribe), Patterns(), float(expires_at), *bearer, presence=Patterns(presence)
            )
        except (ValueError, TypeError, OverflowError, InvalidPattern):
            raise Refused(Refusal.TICKET, "The ticket can't be read: get a new one from /ticket.") from None
        if grant.expires_at <= now:
            raise Refused(
                Refusal.EXPIRED, "The token that the ticket was made for has expired: get a new one."
            )
        return grant
