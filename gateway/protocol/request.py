"""What a stream request asks for. Everything in it is untrusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from publisher.channels import Channel, validate_channel
from publisher.errors import InvalidChannel


class BadRequest(ValueError):
    """The request can't be answered as it is; the text says what to do."""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A valid request for a stream.

    `cursor` is the client's `Last-Event-ID` as it came: one that makes no sense is answered by a gap and
    a fresh start, never by an error status, at which an EventSource would give up for good. `ticket` is what
    may stand for a token in a URL, as it came.
    """

    channels: tuple[Channel, ...]
    cursor: str | None
    last: int
    envelope: bool
    ticket: str | None = field(default=None, repr=False)
    presence: bool = False
    """It wants to be told how many follow its channels."""

    @classmethod
    def parse(
        cls,
        query: Sequence[tuple[str, str]],
        last_event_id: str | None,
        *,
        max_channels: int,
        max_last: int,
    ) -> StreamRequest:
        """From the query's pairs and the header. Raises `BadRequest`.

        The header wins over the query, which a browser sends again unchanged when it reconnects; an
        empty one counts as none (WHATWG HTML, section 9.2.4). Parameters that are not ours are ignored.
        """
        names = dict.fromkeys(value for name, value in query if name == "channel")
        if not names:
            raise BadRequest("Name at least one channel: /events?channel=a&channel=b")
        if len(names) > max_channels:
            raise BadRequest(f"{len(names)} channels on one stream; at most {max_channels} are allowed")
        try:
            channels = tuple(map(validate_channel, names))
        except InvalidChannel as error:
            raise BadRequest(str(error)) from None
        cursor = last_event_id or _one(query, "last_event_id") or None
        last, envelope, ticket = _last(query, max_last), _envelope(query), _one(query, "ticket")
        return cls(channels, cursor, last, envelope, ticket, _presence(query))


def _last(query: Sequence[tuple[str, str]], most: int) -> int:
    text = _one(query, "last")
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) > most:
        raise BadRequest(f"last={text[:32]!r}: give a whole number from 0 to {most}")
    return int(text)


def _envelope(query: Sequence[tuple[str, str]]) -> bool:
    text = _one(query, "envelope")
    if text not in (None, "json"):
        raise BadRequest(f"envelope={text[:32]!r}: the only envelope is json")
    return text is not None


def _presence(query: Sequence[tuple[str, str]]) -> bool:
    text = _one(query, "presence")
    if text not in (None, "counts"):
        raise BadRequest(f"presence={text[:32]!r}: the only presence is counts")
    return text is not None


def _one(query: Sequence[tuple[str, str]], wanted: str) -> str | None:
    values = [value for name, value in query if name == wanted]
    if len(values) > 1:
        raise BadRequest(f"{wanted} is given {len(values)} times; give it once")
    return values[0] if values else None
