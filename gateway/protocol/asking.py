"""What a request to the inspector, and one for presence, ask for. Everything in it is untrusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.protocol.inquiry import is_prefix
from gateway.protocol.request import BadRequest
from publisher.channels import Channel, validate_channel
from publisher.errors import InvalidChannel

MOST_SHOWN: Final = 100
_SHOWN: Final = 20
Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class InspectRequest:
    """One channel by its name, followed or not; else those followed whose names begin with a prefix."""

    channel: Channel | None = None
    prefix: str = ""
    most: int = _SHOWN

    @classmethod
    def parse(cls, query: Query) -> InspectRequest:
        """From the query's pairs. Raises `BadRequest`. Parameters that are not ours are ignored."""
        channel, prefix, limit = (_one(query, name) for name in ("channel", "prefix", "limit"))
        if prefix is not None and not is_prefix(prefix):
            raise BadRequest(f"no channel's name begins with {prefix[:128]!r}")
        try:
            named = None if channel is None else validate_channel(channel)
        except InvalidChannel as error:
            raise BadRequest(str(error)) from None
        return cls(named, "" if named is not None else prefix or "", _limit(limit))


def _limit(text: str | None) -> int:
    if text is None:
        return _SHOWN
    digits = text.isascii() and text.isdigit() and len(text) <= 3
    if not (digits and 1 <= int(text) <= MOST_SHOWN):
        raise BadRequest(f"limit={text[:32]!r}: give a whole number from 1 to {MOST_SHOWN}")
    return int(text)


def _one(query: Query, wanted: str) -> str | None:
    values = [value for name, value in query if name == wanted]
    if len(values) > 1:
        raise BadRequest(f"{wanted} is given {len(values)} times; give it once")
    return values[0] if values else None


def presence_channels(query: Query, *, most: int) -> tuple[Channel, ...]:
    """Which channels GET /presence asks about, each once. Raises `BadRequest`."""
    names = [value for name, value in query if name == "channel"]
    if not names:
        raise BadRequest("Name at least one channel: /presence?channel=a&channel=b")
    if len(names) > most:
        raise BadRequest(f"{len(names)} channels in one request; at most {most} are allowed")
    try:
        return tuple(dict.fromkeys(map(validate_channel, names)))
    except InvalidChannel as error:
        raise BadRequest(str(error)) from None
