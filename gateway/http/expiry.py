"""Which streams end when: by the second, so that looking after all of them costs next to nothing.

No timer for a stream, and nothing to do for one until its second has come. Times are Unix seconds: what a
token says is of the wall clock, also when that is set.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_SLACK: Final = 64


class Expiries(Generic[T]):
    """Things, each with the time at which it is over."""

    def __init__(self) -> None:
        self._by_second: dict[int, set[T]] = {}
        self._seconds: list[int] = []
        """A heap of the keys above, and of some that are there no more."""

    def add(self, thing: T, at: float) -> None:
        """It is due in the first whole second that is not before `at`."""
        second = math.ceil(at)
        things = self._by_second.get(second)
        if things is None:
            things = self._by_second[second] = set()
            if len(self._seconds) > 2 * len(self._by_second) + _SLACK:
                # Most of what ends does so before its time: the heap must not keep all that ever was.
                self._seconds = list(self._by_second)
                heapq.heapify(self._seconds)
            else:
                heapq.heappush(self._seconds, second)
        things.add(thing)

    def discard(self, thing: T, at: float) -> None:
        """Forget it; `at` is what it was added with. Nothing if it is not there."""
        second = math.ceil(at)
        things = self._by_second.get(second)
        if things is not None:
            things.discard(thing)
            if not things:
                del self._by_second[second]

    def due(self, now: float) -> list[T]:
        """What is over by now. It is forgotten."""
        things: list[T] = []
        while self._seconds and self._seconds[0] <= now:
            things += self._by_second.pop(heapq.heappop(self._seconds), ())
        return things

    def __len__(self) -> int:
        return sum(map(len, self._by_second.values()))
