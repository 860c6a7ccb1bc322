"""What a node asks of Redis and of the machine, by its settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_OTHER_DESCRIPTORS: Final = 128
"""Beside clients and connections to Redis: the issuer, the admin port, files."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The bounds of a node, as far as its surroundings have to match them."""

    workers: int = 1
    max_streams: int = 20_000
    """Of the node; its workers have a part each."""
    max_connections: int = 5_000
    """Of clients whose requests are no streams; of the node, as well."""
    connections_per_worker: int = 100
    """To Redis, at most."""
    link_deadline_seconds: float = 5.0
    backlog: int = 4096
    """Connections that wait to be accepted."""
    send_buffer_bytes: int = 131_072

    @property
    def connections(self) -> int:
        """To Redis, of all workers."""
        return self.workers * self.connections_per_worker

    @property
    def descriptors(self) -> int:
        """Of one process."""
        clients = math.ceil((self.max_streams + self.max_connections) / self.workers)
        return clients + self.connections_per_worker + _OTHER_DESCRIPTORS
