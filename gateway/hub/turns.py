"""Turns to read the log: so many at once, and the others in the order in which they asked.

Who reads page after page asks anew for each of them, behind all who are waiting by then. Otherwise it would
take each turn that it has just given back, and a few long replays would keep all other clients out.
"""

from __future__ import annotations

from gateway.hub.subscription import Subscription


class Turns:
    """The reads of one generation of the link. While it waits or reads, a subscription is `reading`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Subscription, None] = {}
        self._called: Subscription | None = None
        self.under_way = 0
        self.waited = 0
        """How often somebody had to wait."""

    @property
    def due(self) -> bool:
        """Whether somebody waits who could read now."""
        return bool(self._waiting) and self.under_way < self._most

    def ask(self, subscription: Subscription) -> bool:
        """Take a turn, and give it back with `end`. False: it waits, to be called and to ask again."""
        subscription.reading = True
        if self.under_way < self._most and (not self._waiting or self._called is subscription):
            self.under_way += 1
            return True
        self._waiting[subscription] = None
        self.waited += 1
        return False

    def call(self) -> Subscription:
        """The first of those who wait, if `due`. It goes before all others that ask."""
        subscription = self._called = next(iter(self._waiting))
        del self._waiting[subscription]
        subscription.reading = False
        return subscription

    def end(self, subscription: Subscription) -> None:
        """Its read was answered."""
        subscription.reading = False
        self.under_way -= 1

    def forget(self, subscription: Subscription) -> None:
        """Its connection is gone: it waits no more. A read that is under way keeps its turn."""
        self._waiting.pop(subscription, None)

    def reset(self) -> None:
        """A new generation: nobody waits, and nothing is under way."""
        self._waiting.clear()
        self._called = None
        self.under_way = 0
