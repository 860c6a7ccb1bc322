"""The way back from a lost link: who is still on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.hub.state import Node
from gateway.hub.subscription import Subscription


class CatchUp:
    """The streams that the last loss has sent to replay, until they are live again, have ended, or take no
    more for now: then it is their clients that are late."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._behind: dict[Subscription, None] = {}
        self.on_done: Callable[[], None] = _unheard
        """Called when there are none any more, on a link that is up."""

    def __len__(self) -> int:
        return len(self._behind)

    def begin(self, subscriptions: Iterable[Subscription]) -> None:
        """The link is lost."""
        self._behind = dict.fromkeys(subscriptions)

    def done(self, subscription: Subscription) -> None:
        """It is where it would be if nothing had happened."""
        if self._behind.pop(subscription, 0) is None and not self._behind and self._node.in_sync:
            self.on_done()


def _unheard() -> None:
    """Nobody waits for it."""
