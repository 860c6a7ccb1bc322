"""`traceparent`: the trace that an event belongs to, and the span that it comes from.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    version, trace id, parent id, flags; W3C Trace Context, level 2, section 3.2

What is of a later version is read as the specification asks: its first four fields count, and what follows
them is dropped, since nobody here knows what it says. It goes on as version 00.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_SAMPLED: Final = 0x01
_RANDOM: Final = 0x02
"""Of level 2: the trace id was made at random."""

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]*)?", re.ASCII
)


class Traceparent(NamedTuple):
    """Where an event comes from, in lower-case hex digits, as OpenTelemetry writes them."""

    trace_id: str
    """32 of them, not all zero."""
    parent_id: str
    """The span's id: 16 of them, not all zero."""
    flags: int
    """Those that this version knows; the others are zero."""

    @classmethod
    def parse(cls, text: str) -> Traceparent:
        """Read the one spelling that the standard allows. ValueError for anything else."""
        match = _TRACEPARENT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a traceparent: {text[:64]!r}")
        version, trace_id, parent_id, flags, rest = match.groups()
        if version == "00":
            if rest is not None:
                raise ValueError(f"a traceparent of version 00 has 55 characters, this one {len(text)}")
            known = _SAMPLED | _RANDOM
        else:
            known = _SAMPLED  # the one bit that keeps its meaning in all versions
        return cls(trace_id, parent_id, int(flags, 16) & known)

    @property
    def sampled(self) -> bool:
        """Whether whoever made the trace records it. If not, nobody else should."""
        return bool(self.flags & _SAMPLED)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags:02x}"
