"""What a node asks for, by its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.app import TICKET_CALLS
from gateway.check.demand import Demand
from gateway.http.listening import BACKLOG
from publisher.connections import MAX_CONNECTIONS

if TYPE_CHECKING:
    from gateway.settings import Settings

_LINK_AND_PROBE: Final = 2


def demand_of(settings: Settings) -> Demand:
    return Demand(
        workers=settings.workers,
        max_streams=settings.max_streams,
        max_connections=settings.max_connections,
        connections_per_worker=_LINK_AND_PROBE + settings.max_replays + TICKET_CALLS + MAX_CONNECTIONS,
        link_deadline_seconds=settings.link_deadline_seconds,
        backlog=BACKLOG,
        send_buffer_bytes=settings.send_buffer_bytes,
    )
