"""What the hub needs of the outside. The application wires it; a test can play it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.protocol.closing import CloseReason
from gateway.protocol.merge import Page, Read, Start
from publisher.channels import Channel
from publisher.ids import Position


class Sink(Protocol):
    """One connection, as its subscription sees it."""

    @property
    def full(self) -> bool:
        """Whether the backlog has passed its mark. The hub is told when it has drained."""

    def ready(self) -> None:
        """All channels have floors; called while the subscription has not been started."""

    def write(self, data: bytes) -> None:
        """Write whole frames. Never blocks, never raises."""

    def end(self, reason: CloseReason) -> None:
        """End the stream behind what was written."""


class Link(Protocol):
    """The subscriber connection."""

    def interest_changed(self) -> None:
        """There is work in the interest."""

    def read_position(self) -> int:
        """Ask for the position; the answer carries the returned ticket. Tickets rise."""

    def restart(self, reason: str) -> None:
        """Give this connection up: a new generation."""

    def wake(self) -> None:
        """Call `Hub.work` soon."""


class Log(Protocol):
    """Reads of the streams. Answers come later, or at once where the pages are at hand."""

    def new_generation(self) -> None:
        """What was read so far may be of a history that broke off. Reads that are under way may go
        unanswered, and their answers are ignored."""

    def read(self, reads: Sequence[Read], done: Callable[[Sequence[Page]], None]) -> None:
        """Read a page for each. A failing Redis is tried again until it answers."""

    def newest(
        self,
        channels: Sequence[Channel],
        target: Position,
        count: int,
        wanted: Callable[[], bool],
        done: Callable[[Sequence[Start]], None],
    ) -> None:
        """For each channel, where its newest `count` events up to `target` begin. Once it is not `wanted` any
        more, `done` is called soon, with anything."""
