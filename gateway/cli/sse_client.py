"""The reading side of an event stream, for `fanlight tail`.

A parser after WHATWG HTML, section 9.2.6, to the letter: bytes in, in pieces cut anywhere; events out.
No I/O. (What the gateway writes is in `gateway.protocol`; the two share nothing, so that one
can't hide the other's mistake.)
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

MAX_EVENT_CHARACTERS: Final = 64 * 1024 * 1024
_BOM: Final = "\ufeff"


class StreamTooLarge(Exception):
    """An event has more characters than the parser was allowed to hold."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as a browser would dispatch it. `id` is the last event ID at that moment, or ""."""

    type: str
    data: str
    id: str


class EventStreamParser:
    """Feed it the body of one response; a new response needs a new parser.

    `last_event_id` carries over from the response before (give it to the constructor) and holds what
    the next request must send. `retry_ms` is the reconnection time, once the server has told one.
    `max_characters` bounds what is held of an event that is not finished.
    """

    def __init__(self, last_event_id: str = "", *, max_characters: int = MAX_EVENT_CHARACTERS) -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._max_characters = max_characters
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._after_cr = False
        self._partial: list[str] = []  # pieces of the line whose end has not come
        self._held = 0  # characters in `_partial` and `_data`
        self._id = last_event_id  # becomes `last_event_id` at the blank line
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[ReceivedEvent]:
        """Take the next bytes; return the events that they complete. Raises `StreamTooLarge`."""
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if not self._begun:
            self._begun = True
            text = text.removeprefix(_BOM)
        if self._after_cr and text:  # the CR ended a line already; an LF belongs to it
            self._after_cr = False
            text = text.removeprefix("\n")
        if text.endswith("\r"):
            self._after_cr = True
        events = []
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines:
            if self._partial:
                self._partial.append(line)
                line = "".join(self._partial)
                self._held -= len(line) - len(self._partial[-1])
                self._partial.clear()
            if (event := self._take_line(line)) is not None:
                events.append(event)
        if rest:
            self._partial.append(rest)
            self._held += len(rest)
        if self._held > self._max_characters:
            raise StreamTooLarge(f"an event of more than {self._max_characters} characters")
        return events

    def _take_line(self, line: str) -> ReceivedEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                self._data.append(value)
                self._held += len(value) + 1
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value[:15])
        return None  # a comment has an empty field name; unknown fields are ignored

    def _dispatch(self) -> ReceivedEvent | None:
        self.last_event_id = self._id
        event_type, data = self._type, self._data
        self._type, self._data, self._held = "", [], 0
        if not data:  # without a data field there is no event, only its id counts
            return None
        return ReceivedEvent(event_type or "message", "\n".join(data), self._id)
