"""The pages of the last moments, for those who come for the same a moment later.

A page serves whoever's cursor lies within it, not only who stands where it begins. That is what keeps a
replay of many channels from reading the same again and again: a round ends where the first of its pages
does, and for all other channels the next round goes on in the midst of a page.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from gateway.protocol.merge import Page
from publisher.channels import Channel
from publisher.ids import Position

KEPT_SECONDS: Final = 2.0
_KEPT_BYTES: Final = 16_777_216


class Pages:
    """Of one generation. Bounded in bytes and in time."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._by_lower: OrderedDict[tuple[Channel, Position], tuple[Page, float, int]] = OrderedDict()
        self._newest: dict[Channel, Position] = {}
        """Where a channel's newest page begins."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_lower)

    def find(self, channel: Channel, lower: Position) -> Page | None:
        """A page that holds what comes next after `lower`."""
        kept = self._by_lower.get((channel, lower))
        if kept is not None:
            return kept[0]
        begins = self._newest.get(channel)
        if begins is None or begins > lower:
            return None
        page, _, _ = self._by_lower[channel, begins]
        return page if lower < page.complete_to else None

    def keep(self, channel: Channel, lower: Position, page: Page, now: float) -> None:
        """Keep a page that begins at `lower`, for a while."""
        self._drop((channel, lower))
        size = sum(publication.size_bytes for publication in page.publications)
        self._by_lower[channel, lower] = (page, now + KEPT_SECONDS, size)
        self._newest[channel] = lower
        self.bytes += size
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._by_lower)))

    def forget_old(self, now: float) -> None:
        """Drop what was kept for its time."""
        while self._by_lower and next(iter(self._by_lower.values()))[1] < now:
            self._drop(next(iter(self._by_lower)))

    def _drop(self, key: tuple[Channel, Position]) -> None:
        _, _, size = self._by_lower.pop(key, (None, 0.0, 0))
        self.bytes -= size
        channel, lower = key
        if self._newest.get(channel) == lower:
            del self._newest[channel]

    def clear(self) -> None:
        """A new generation."""
        self._by_lower.clear()
        self._newest.clear()
        self.bytes = 0
