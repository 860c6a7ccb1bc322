"""Which channels of a replay are worth reading now.

A round ends where the first of its pages does. Of a busy channel that is soon, and what the pages of the
others hold beyond it is dropped: nothing is kept for a client between its rounds. To read all of them again
each time would cost the log a multiple of what the client gets (87 times as much, of one busy channel and 99
with a large event each). So it is remembered up to where each channel has nothing, which takes no more than a
position, and a channel is left out of the rounds before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from publisher.channels import Channel
from publisher.ids import Position

if TYPE_CHECKING:
    from gateway.protocol.merge import Read


@dataclass(frozen=True, slots=True)
class Lookahead:
    """What a round has shown of what comes after it."""

    clear: Mapping[Channel, Position]
    """Up to where each channel has nothing that the round did not bring."""
    reach: Position
    """About where the next round may end: twice as far on as this one went."""

    def due(self, reads: Sequence[Read]) -> tuple[list[Read], list[tuple[Read, Position]]]:
        """The reads to make now, one at least; and those to leave out, with the bound up to which nothing
        would come of them."""
        clear = [self.clear.get(read.channel, read.lower) for read in reads]
        least = min(clear)
        now: list[Read] = []
        later: list[tuple[Read, Position]] = []
        for read, bound in zip(reads, clear, strict=True):
            if max(self.reach, least) < bound < read.target:
                later.append((read, bound))
            else:
                now.append(read)
        return now, later
