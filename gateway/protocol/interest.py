"""Which channels this node should be subscribed to, what was asked of Redis, and which lack a floor.

The wanted set is desired state; the difference to what was asked of Redis is worked off.

A channel gets its floor from a read (its tail, then the position) that was sent behind its SUBSCRIBE. Redis
answers in order, so when that read is answered, the SUBSCRIBE has been executed, and everything that was
published since has been heard. The read's ticket ties the two together: a channel that was left while the
read was under way, and wanted again, waits for the read of its new time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from publisher.channels import RESERVED_PREFIX, Channel


@dataclass(frozen=True, slots=True)
class Work:
    """What to send now, in this order."""

    subscribe: list[Channel]
    unsubscribe: list[Channel]
    floors: list[Channel]
    """Read the tails of these, then the position."""
    ticket: int
    """Give it back with the answer to that read."""

    def __bool__(self) -> bool:
        return bool(self.subscribe or self.unsubscribe or self.floors)


class Interest:
    """Wanted and asked channels of one link.

    What is to be done is kept in order of arrival (a dict as an ordered set), so that taking a batch
    costs the batch, however much is waiting behind it.
    """

    def __init__(self) -> None:
        self.wanted: set[Channel] = set()
        self._asked: set[Channel] = set()
        self._ticket = 0
        self._floorless: dict[Channel, int] = {}
        """With the ticket of the read that is to give it a floor; 0 while none is under way."""
        self._differs: dict[Channel, None] = {}
        """Wanted and asked differ, and nothing is sent yet."""
        self._floors_due: dict[Channel, None] = {}
        """Without a floor, and without a read under way."""

    def want(self, channel: Channel) -> None:
        """Follow `channel`, which has no floor."""
        self.wanted.add(channel)
        self._floorless[channel] = 0
        self._floors_due[channel] = None
        self._update(channel)

    def unwant(self, channel: Channel) -> None:
        self.wanted.discard(channel)
        self._floorless.pop(channel, None)
        self._floors_due.pop(channel, None)
        self._update(channel)

    def _update(self, channel: Channel) -> None:
        if (channel in self.wanted) == (channel in self._asked):
            self._differs.pop(channel, None)
        else:
            self._differs[channel] = None

    def take(self, most: int) -> Work:
        """Up to `most` of each kind of work. Taking it counts as having sent it."""
        differs = list(islice(self._differs, most))
        subscribe = [channel for channel in differs if channel in self.wanted]
        unsubscribe = [channel for channel in differs if channel not in self.wanted]
        for channel in differs:
            del self._differs[channel]
        self._asked.update(subscribe)
        self._asked.difference_update(unsubscribe)
        # A floor is asked for behind the SUBSCRIBE, so never for one that is still to be sent.
        floors = [channel for channel in islice(self._floors_due, most) if channel in self._asked]
        self._ticket += 1
        for channel in floors:
            del self._floors_due[channel]
            self._floorless[channel] = self._ticket
        return Work(subscribe, unsubscribe, floors, self._ticket)

    def floors_read(self, work: Work) -> list[Channel]:
        """The read that was to give `work.floors` theirs was answered: which of them have one now.

        One that was left meanwhile has none, nor has it after it was wanted again: messages that came
        between the two were heard by nobody.
        """
        given = [channel for channel in work.floors if self._floorless.get(channel) == work.ticket]
        for channel in given:
            del self._floorless[channel]
        return given

    @property
    def asked(self) -> int:
        """How many channels this link is subscribed to, once all that was sent has been executed."""
        return len(self._asked)

    @property
    def unconfirmed(self) -> int:
        """How many wanted channels have no floor yet."""
        return len(self._floorless)

    def reset(self) -> None:
        """A new connection: nothing was asked on it yet."""
        self._asked.clear()
        # The control channel before all others: who is revoked is to know it before they are served.
        self._differs = dict.fromkeys(sorted(self.wanted, key=_order))
        self._floorless = dict.fromkeys(self._differs, 0)
        self._floors_due = dict(self._differs)


def _order(channel: Channel) -> tuple[bool, Channel]:
    return not channel.startswith(RESERVED_PREFIX), channel
