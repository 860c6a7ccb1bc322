"""How the connections that a publisher makes itself are set up, the same for both clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAX_CONNECTIONS: Final = 50
"""Publishes under way at once, for a client that the publisher made; more of them wait their turn."""


def connection_options(deadline_seconds: float) -> dict[str, Any]:
    """Keywords for `redis.Redis.from_url`. What the URL's query says goes before these."""
    # A quarter of the deadline: a stalled or unreachable server leaves time to try another time.
    attempt_seconds = deadline_seconds / 4
    return {
        "socket_timeout": attempt_seconds,
        "socket_connect_timeout": attempt_seconds,
        "socket_keepalive": True,
        # All that a publisher needs, and without the HELLO and the maintenance hand-shake of RESP3.
        "protocol": 2,
    }


def check_database(connection_kwargs: Mapping[str, Any]) -> None:
    """ValueError for a database other than 0: pub/sub knows no databases, so two installations that are
    apart in their keys would hear each other's events. Prefixes keep them apart."""
    if connection_kwargs.get("db"):
        raise ValueError(
            f"Redis database {connection_kwargs['db']}: Fanlight uses database 0, because pub/sub is shared "
            "by all of them; keep installations apart by their prefix"
        )
