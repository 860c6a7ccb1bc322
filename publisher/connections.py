"""How the connections that a publisher makes itself are set up, the same for both clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAX_CONNECTIONS: Final = 50
"""Publishes under way at once, for a client that the publisher made; more of them wait their turn."""


def attempt_seconds(deadline_seconds: float) -> float:
    """A quarter of the deadline: a stalled or unreachable server leaves time to try another time."""
    return deadline_seconds / 4


def connection_options() -> dict[str, Any]:
    """Keywords for `from_url` of redis-py's clients. What the URL's query says goes before these."""
    return {
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
