"""What Redis keeps of some channels, as told by their streams and tails; a few at a time.

XINFO brings the first and the last entry along, whole, so it is the size of events that bounds how many are
looked at together.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from publisher.ids import EventId, Position

if TYPE_CHECKING:
    from gateway.inspect.line import Command, Line
    from publisher.channels import Channel, Partition

_TOGETHER: Final = 16


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one channel. Without a stream, `length` is 0 and `first_ms` None."""

    length: int = 0
    first_ms: int | None = None
    """When Redis took the oldest event that is kept, in Unix ms."""
    last_id: str | None = None
    """Of its last event, also of one that is not kept any more."""
    ended: bool = False
    expires_seconds: float | None = None
    """From now on, if nobody publishes."""


async def kept(line: Line, partition: Partition, channels: Sequence[Channel]) -> list[Kept]:
    """In the order of `channels`. Raises `gateway.inspect.line.Away`."""
    found: list[Kept] = []
    for at in range(0, len(channels), _TOGETHER):
        few = channels[at : at + _TOGETHER]
        commands: list[Command] = [("MGET", *map(partition.tail, few))]
        for stream in map(partition.stream, few):
            commands += [("XINFO", "STREAM", stream), ("PTTL", stream)]
        tails, *rest = await line.run_commands(*commands)
        if isinstance(tails, Exception):
            tails = [None] * len(few)
        found += [of(*facts) for facts in zip(rest[::2], rest[1::2], tails, strict=True)]
    return found


def of(info: Any, ttl_ms: Any, tail: bytes | None) -> Kept:
    """From Redis' answers. What is not of ours is as if it were not there."""
    last_id, ended = None, False
    if tail is not None:
        id_, _, flag = tail.partition(b" ")
        with suppress(ValueError):
            last_id, ended = str(EventId.parse(id_.decode("ascii"))), flag == b"end"
    if not isinstance(info, dict) or not info.get(b"length"):
        return Kept(last_id=last_id, ended=ended)
    try:
        first_ms = Position.parse(info[b"first-entry"][0].decode()).ms
    except ValueError:
        first_ms = None
    expires = ttl_ms / 1000 if isinstance(ttl_ms, int) and ttl_ms >= 0 else None
    return Kept(info[b"length"], first_ms, last_id, ended, expires)
