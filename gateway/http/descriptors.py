"""How many connections the process has room for: each is a file descriptor.

What the system lets a process open is raised as far as it allows. A part is kept for all else: connections to
Redis and to the issuer, the admin port, files. So there is always one to reach Redis by, and accepting does
not fail for want of one: libuv closes connections then, but only once nothing else can be opened either.
"""

from __future__ import annotations

import resource
from typing import Final

from gateway.logs import get_logger

KEPT: Final = 128
"""Beside those of the pool of replays."""


def room_for(connections: int, others: int) -> int:
    """Make room for so many connections, and for so many others that are the node's own. Returns how many
    there is room for: perhaps fewer, which is logged, and at least one."""
    wanted = connections + others + KEPT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
        except (ValueError, OSError):  # the system has a bound of its own
            pass
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    room = max(1, soft - others - KEPT)
    get_logger("lifecycle").warning(
        "few_file_descriptors",
        limit=soft,
        wanted=wanted,
        connections=room,
        hint="raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower max_streams and max_connections",
    )
    return room
