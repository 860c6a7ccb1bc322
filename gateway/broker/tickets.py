"""Tickets: what may stand for a token in a URL, once, for some seconds, on any node.

    {prefix:0}:ticket:<SHA-256 of the ticket, in hex>   string: the grant; expires with the ticket

The ticket itself is not in Redis: who can read there can't use what they find. GETDEL reads and removes in
one step, so of two nodes that are given the same ticket one finds it.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import time
from typing import Final

from redis.exceptions import RedisError

from gateway.auth.grants import Grant
from gateway.auth.refusals import Refusal, Refused
from publisher.async_client import AsyncClient
from publisher.channels import Partition

_RANDOM_BYTES: Final = 32
_TICKET: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
"""The base64url of as many bytes."""
_UNKNOWN: Final = "The ticket is not known: it can be used once, within seconds. Get a new one from /ticket."


class TicketsAway(Exception):
    """Redis does not answer, or takes no writes: the request may be good, and should come again."""


class Tickets:
    """The tickets of an installation."""

    def __init__(self, client: AsyncClient, partition: Partition, seconds: float) -> None:
        """`client` is closed here. `seconds` is how long a ticket can be used."""
        self._client = client
        self._partition = partition
        self._seconds = seconds
        self.issued_total = 0
        self.redeemed_total = 0

    async def issue(self, grant: Grant) -> tuple[str, float]:
        """A new ticket for what the grant allows to subscribe to, and its life in seconds. Raises
        `TicketsAway`."""
        ticket = secrets.token_urlsafe(_RANDOM_BYTES)
        seconds = min(self._seconds, grant.expires_at - time.time())
        life_ms = max(1, math.floor(seconds * 1000))
        key, value = self._key(ticket), grant.dump()
        try:
            await self._client.run(lambda redis: redis.set(key, value, px=life_ms, nx=True))
        except (RedisError, OSError):
            raise TicketsAway from None
        self.issued_total += 1
        return ticket, life_ms / 1000

    async def redeem(self, ticket: str) -> Grant:
        """What the ticket allows. It is used up. Raises `Refused`, `TicketsAway`."""
        if _TICKET.fullmatch(ticket) is None:
            raise Refused(Refusal.TICKET, _UNKNOWN)
        key = self._key(ticket)
        try:
            value = await self._client.run(lambda redis: redis.getdel(key))
        except (RedisError, OSError):
            raise TicketsAway from None
        if not isinstance(value, bytes):
            raise Refused(Refusal.TICKET, _UNKNOWN)
        grant = Grant.load(value, time.time())
        self.redeemed_total += 1
        return grant

    def _key(self, ticket: str) -> str:
        return f"{self._partition.tag}:ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"

    async def aclose(self) -> None:
        await self._client.aclose()
