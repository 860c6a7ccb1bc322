"""How connections for commands are set up, the same for all clients, the gateway's too."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote

MAX_CONNECTIONS: Final = 50
"""Publishes under way at once, for a client that the publisher made; more of them wait their turn."""


def attempt_seconds(deadline_seconds: float) -> float:
    """A quarter of the deadline: a stalled or unreachable server leaves time to try another time."""
    return deadline_seconds / 4


def connection_options(url: str) -> dict[str, Any]:
    """Keywords for `from_url` of redis-py's clients. What the URL's query says goes before these."""
    options: dict[str, Any] = {
        # All that commands need, and without the HELLO and the maintenance hand-shake of RESP3.
        "protocol": 2,
        # No CLIENT SETINFO: a user of Redis with few rights may not, and nothing depends on it.
        "driver_info": None,
    }
    # A Unix socket has no keep-alive, and redis-py's connection no such keyword.
    return options if url.startswith("unix:") else options | {"socket_keepalive": True}


def check_database(connection_kwargs: Mapping[str, Any]) -> None:
    """ValueError for a database other than 0: pub/sub knows no databases, so two installations that are
    apart in their keys would hear each other's events. Prefixes keep them apart."""
    if connection_kwargs.get("db"):
        raise ValueError(
            f"Redis database {connection_kwargs['db']}: Fanlight uses database 0, because pub/sub is shared "
            "by all of them; keep installations apart by their prefix"
        )


def trusting(url: str, ca_file: str | None) -> str:
    """The URL of a rediss:// server, or of rediss+sentinel:// ones, whose certificates may be of the
    authorities in `ca_file` (PEM), beside the system's. None: the URL as it is. ValueError for a file that
    can't be used."""
    if ca_file is None:
        return url
    before, _, query = url.partition("#")[0].partition("?")
    if before.partition("://")[0] not in ("rediss", "rediss+sentinel"):
        raise ValueError("a file with authorities is for rediss://, and the URL of Redis is not")
    if "ssl_ca_certs" in parse_qs(query):
        raise ValueError("the URL of Redis names a file with authorities already (ssl_ca_certs)")
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"cannot use {ca_file}: {error.strerror or error}") from None
    option = f"ssl_ca_certs={quote(ca_file, safe='')}"
    return f"{before}?{query}&{option}" if query else f"{before}?{option}"
