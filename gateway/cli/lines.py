"""Lines out of a stream of bytes, each within a bound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end. `number` counts from 1; `data` is None if it was too long."""

    number: int
    data: bytes | None


class LineSplitter:
    """Splits at LF, and drops the CR before one. A line of more than `max_bytes` is told, not held."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._partial = bytearray()
        self._too_long = False
        self._number = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that `chunk` completes."""
        *ends, rest = chunk.split(b"\n")
        lines = []
        for end in ends:
            self._hold(end)
            lines.append(self._take())
        self._hold(rest)
        return lines

    def finish(self) -> list[Line]:
        """What is left when the input ends without a line feed."""
        return [self._take()] if self._partial or self._too_long else []

    def _hold(self, piece: bytes) -> None:
        if self._too_long:
            return
        self._partial += piece
        if len(self._partial) > self._max_bytes + 1:  # the one more may be the CR
            self._too_long = True
            self._partial.clear()

    def _take(self) -> Line:
        self._number += 1
        line = Line(self._number, None if self._too_long else bytes(self._partial).removesuffix(b"\r"))
        self._partial.clear()
        self._too_long = False
        return line
