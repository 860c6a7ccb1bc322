"""Who is told what comes on the link: the hub, which stands beside this layer."""

from __future__ import annotations

from typing import Protocol

from gateway.protocol.epochs import History
from publisher.channels import Channel
from publisher.ids import EventId, Position


class Ingest(Protocol):
    """What `gateway.hub.hub.Hub` promises for each of these."""

    def connected(self, history: History, position: Position, *, evicting: bool) -> None: ...
    def floor(
        self,
        name: Channel,
        position: Position,
        tail: EventId | None,
        *,
        now_ms: int,
        ended: bool = False,
        doubtful: bool = False,
    ) -> None: ...
    def position(self, position: Position, epoch: str, ticket: int) -> None: ...
    def message(self, name: Channel, raw: bytes) -> None: ...
    def end_of_batch(self) -> bool: ...
    def lost(self) -> None: ...
    def work(self, most: int) -> bool: ...
