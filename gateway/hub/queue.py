"""Which subscriptions can go on, and whose turn it is to read the log."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.hub.state import Node
from gateway.hub.subscription import Phase, Subscription
from gateway.hub.turns import Turns

if TYPE_CHECKING:
    from gateway.hub.ports import Link


class Queue:
    """Of subscriptions in replay. Who waited for a turn to read goes before all others."""

    def __init__(self, node: Node, most_reads: int) -> None:
        self._node = node
        self._runnable: deque[Subscription] = deque()
        self._turns = Turns(most_reads)

    def wire(self, link: Link) -> None:
        self._link = link

    @property
    def due(self) -> bool:
        """Whether somebody can go on."""
        return bool(self._runnable) or self._turns.due

    @property
    def waited(self) -> int:
        """How often somebody had to wait for a turn to read."""
        return self._turns.waited

    def add(self, subscription: Subscription) -> None:
        """It can go on."""
        if not subscription.scheduled:
            subscription.scheduled = True
            self._runnable.append(subscription)
            self._link.wake()

    def next(self) -> Subscription | None:
        """Whose turn it is; None: nobody's."""
        if self._turns.due:
            return self._turns.call()
        if not self._runnable:
            return None
        subscription = self._runnable.popleft()
        subscription.scheduled = False
        return subscription

    def may_read(self, subscription: Subscription) -> bool:
        """Whether it may read now; if not, it is advanced again when its turn has come."""
        if self._turns.ask(subscription):
            return True
        self._link.wake()
        return False

    def answered(self, subscription: Subscription, generation: int) -> bool:
        """Its read was answered: whether the answer is still of use."""
        # One that belongs to an older generation is dropped: `lost` has reset everything.
        if generation != self._node.generation:
            return False
        self._turns.end(subscription)
        self._link.wake()
        return subscription.phase is Phase.REPLAY

    def forget(self, subscription: Subscription) -> None:
        """Its connection is gone."""
        self._turns.forget(subscription)

    def reset(self) -> None:
        """A new generation: whoever reads or waits for it has to ask again."""
        self._turns.reset()
