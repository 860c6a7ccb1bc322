"""The first so many of each second, where all of them would be too much."""

from __future__ import annotations


class Sampler:
    """Its clock is the caller's."""

    __slots__ = ("_per_second", "_second", "_taken")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._taken = 0

    def take(self, now_seconds: float) -> bool:
        """Whether this one is among them."""
        second = int(now_seconds)
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        return self._taken <= self._per_second
