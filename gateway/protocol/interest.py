"""Which channels this node should be subscribed to, what Redis has confirmed, and which lack a floor.

The wanted set is desired state; the difference to what was asked of Redis is worked off. An answer is
matched to its command by counting: SUBSCRIBE and UNSUBSCRIBE of one channel are answered in the order
they were sent, so a channel is confirmed only when none of its commands is unanswered. Otherwise the
late answer to an old SUBSCRIBE would pass for the new one's.

A confirmed channel gets its floor from a position read that was sent after its SUBSCRIBE.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from publisher.channels import Channel


@dataclass(frozen=True, slots=True)
class Work:
    """What to send now, in this order."""

    subscribe: list[Channel]
    unsubscribe: list[Channel]
    floors: list[Channel]
    """Read the tails of these, then the position."""

    def __bool__(self) -> bool:
        return bool(self.subscribe or self.unsubscribe or self.floors)


class Interest:
    """Wanted, asked and confirmed channels of one link."""

    def __init__(self) -> None:
        self.wanted: set[Channel] = set()
        self._asked: set[Channel] = set()
        self._differs: set[Channel] = set()
        self._unanswered: Counter[Channel] = Counter()
        self._floorless: set[Channel] = set()
        self._floors_asked: set[Channel] = set()

    def want(self, channel: Channel) -> None:
        """Follow `channel`, which has no floor."""
        self.wanted.add(channel)
        self._floorless.add(channel)
        self._update(channel)

    def unwant(self, channel: Channel) -> None:
        self.wanted.discard(channel)
        self._floorless.discard(channel)
        self._update(channel)

    def _update(self, channel: Channel) -> None:
        if (channel in self.wanted) == (channel in self._asked):
            self._differs.discard(channel)
        else:
            self._differs.add(channel)

    def take(self, most: int) -> Work:
        """Up to `most` of each kind of work. Taking it counts as having sent it."""
        differs = list(self._differs)[:most]
        subscribe = [channel for channel in differs if channel in self.wanted]
        unsubscribe = [channel for channel in differs if channel not in self.wanted]
        self._differs.difference_update(differs)
        self._asked.update(subscribe)
        self._asked.difference_update(unsubscribe)
        self._unanswered.update(differs)
        # A floor is asked for behind the SUBSCRIBE, so never for one that is still to be sent.
        askable = self._floorless - self._floors_asked
        floors = [channel for channel in askable if channel in self._asked][:most]
        self._floors_asked.update(floors)
        return Work(subscribe, unsubscribe, floors)

    def answered(self, channel: Channel) -> None:
        """An answer to a SUBSCRIBE or UNSUBSCRIBE of `channel` arrived."""
        left = self._unanswered[channel] - 1
        if left > 0:
            self._unanswered[channel] = left
        else:
            self._unanswered.pop(channel, None)

    def confirmed(self, channel: Channel) -> bool:
        """Whether Redis is known to send this channel's messages."""
        return channel in self._asked and channel not in self._unanswered

    def floors_read(self, channels: Iterable[Channel]) -> list[Channel]:
        """The read that was to give these their floors was answered: which of them have one now.

        The others were unsubscribed and subscribed again meanwhile, and are asked for once more.
        """
        channels = list(channels)
        self._floors_asked.difference_update(channels)
        given = [c for c in channels if c in self._floorless and self.confirmed(c)]
        self._floorless.difference_update(given)
        return given

    @property
    def unconfirmed(self) -> int:
        """How many wanted channels have no floor yet."""
        return len(self._floorless)

    def reset(self) -> None:
        """A new connection: nothing was asked on it yet."""
        self._asked.clear()
        self._unanswered.clear()
        self._floors_asked.clear()
        self._differs = set(self.wanted)
        self._floorless = set(self.wanted)
