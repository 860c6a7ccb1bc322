"""Our own frames, read again: for a subscriber within the node, which is given what any client is given.

Not for what others have encoded: it knows the one form that `gateway.protocol.sse` gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Told(NamedTuple):
    """An event, as it was told. `id` is empty where it had none."""

    type: bytes
    data: bytes
    id: bytes


def read(frames: bytes) -> Iterator[Told]:
    """The events of whole plain frames (not chunked). Of data in several lines, the last is taken."""
    for block in frames.split(b"\n\n")[:-1]:
        fields = {name: value for name, _, value in (line.partition(b": ") for line in block.split(b"\n"))}
        yield Told(fields.get(b"event", b""), fields[b"data"], fields.get(b"id", b""))
