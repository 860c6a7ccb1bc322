"""How often, and how many at once: two small maps, whose clock is the caller's and whose size is bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK: Final = 1e-9
"""Of a token: what sums of fractions lose."""


class Rates(Generic[K]):
    """A token bucket for each key, which holds a second's worth (one at least), and is full at first.

    Of a bucket one number is kept, the time at which it will be full again (the "generic cell rate
    algorithm"). Whoever finds a token may take any number: the bucket runs into debt, and its key waits until
    that is paid off. So what is taken at once needs no bound of its own to keep the mean. Of more than
    `most_keys`, the one that was idle for longest is forgotten.
    """

    def __init__(self, per_second: Callable[[], float], *, most_keys: int = 65_536) -> None:
        """`per_second` is asked at each decision; when it has changed, all buckets are full. A rate of 0
        bounds nothing."""
        self._asked = per_second
        self._per_second = self._spare_seconds = 0.0
        self._most_keys = most_keys
        self._full_at: OrderedDict[K, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_seconds(self, key: K, now: float) -> float:
        """How long until there is a token; 0: there is one."""
        self._follow()
        wait = self._full_at.get(key, now) - now - self._spare_seconds
        return wait if wait > _SLACK else 0.0

    def take(self, key: K, now: float, tokens: float = 1.0) -> None:
        """Take them, whether or not they are there."""
        self._follow()
        if not self._per_second or tokens <= 0:
            return
        full_at = self._full_at.pop(key, now)
        self._full_at[key] = max(full_at, now) + tokens / self._per_second
        if len(self._full_at) > self._most_keys:
            self._full_at.popitem(last=False)

    def _follow(self) -> None:
        """Forgive what is owed at a rate that was: it is counted in seconds, and could last for hours."""
        per_second = self._asked()
        if per_second == self._per_second:
            return
        self._per_second = per_second
        self._spare_seconds = (max(1.0, per_second) - 1) / per_second if per_second else 0.0
        self._full_at.clear()


class Shares(Generic[K]):
    """How many of something each key holds, of `most`, which is asked at each decision; 0 bounds nothing. It
    knows who holds some, nobody else."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._held: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: K) -> bool:
        """One more for `key`. False: it has as many as it may."""
        held = self._held.get(key, 0)
        most = self._most()
        if most and held >= most:
            return False
        self._held[key] = held + 1
        return True

    def give_back(self, key: K) -> None:
        """One that was taken."""
        held = self._held[key] - 1
        if held:
            self._held[key] = held
        else:
            del self._held[key]
