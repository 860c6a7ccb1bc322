"""Strict decoders, written from the standards and sharing no code with the gateway.

`EventStreamParser` follows the WHATWG HTML standard, 9.2.6, "Interpreting an event stream", step by
step. `ChunkedDecoder` follows RFC 9112, section 7.1, and is stricter than it: no chunk extensions, no
trailers, no bare line feeds. `GzipDecoder` takes one whole member, and nothing else. All take bytes cut
anywhere.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
_HEX = frozenset(b"0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Event:
    """A dispatched event. `id` is the last event ID at that moment, wherever it was set."""

    type: str
    data: str
    id: str


class EventStreamParser:
    """Feed it bytes, get events. A block that the stream's end cuts off is never dispatched.

    By the letter, the last event ID *buffer* is empty when a stream begins, and any blank line makes
    the buffer's value the source's last event ID. So a stream that ends a block before its first
    `id:` (say, `retry: 1000` and a blank line) erases the cursor of a client that came back with
    one. Browsers are milder; this parser is not.
    """

    def __init__(self) -> None:
        self.last_event_id: str | None = None
        """What the stream has set; None before its first blank line."""
        self.retry_ms: int | None = None
        self.comments: list[str] = []
        self.unknown_fields: list[str] = []
        self.blocks_without_data = 0
        """Blank lines that ended a block (even one of comments) without an event: careless clients
        dispatch an empty message there."""
        self.carriage_returns = 0
        """Line ends other than a lone LF: careless clients break on them."""
        self._started = False
        self._line = bytearray()
        self._after_cr = False
        self._data = ""
        self._type = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        for byte in chunk:
            if self._after_cr:
                self._after_cr = False
                if byte == 0x0A:
                    continue
            if byte == 0x0A or byte == 0x0D:
                if byte == 0x0D:
                    self._after_cr = True
                    self.carriage_returns += 1
                event = self._end_line()
                if event is not None:
                    events.append(event)
            else:
                self._line.append(byte)
        return events

    @property
    def pending(self) -> bytes:
        """The bytes of the line that has not ended yet."""
        return bytes(self._line)

    def _end_line(self) -> Event | None:
        raw = bytes(self._line)
        self._line.clear()
        if not self._started:
            self._started = True
            raw = raw.removeprefix(_BOM)  # exactly one is stripped
        line = raw.decode("utf-8", "replace")
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments.append(line[1:])
            return None
        name, colon, value = line.partition(":")
        self._field(name, value.removeprefix(" ") if colon else "")
        return None

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry":
            if value.isascii() and value.isdigit():
                self.retry_ms = int(value)
        else:
            self.unknown_fields.append(name)

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        data, self._data = self._data, ""
        type_, self._type = self._type, ""
        if not data:
            self.blocks_without_data += 1
            return None
        return Event(type_ or "message", data.removesuffix("\n"), self._id)


class FramingError(AssertionError):
    """The body is not what its framing, or its coding, has to be."""


class ChunkedDecoder:
    """Decode Transfer-Encoding: chunked, byte by byte. `chunks` are those that are complete."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ended = False
        self._line = bytearray()
        self._chunk = bytearray()
        self._left = -1
        """Bytes of the current chunk that are still to come; -1: its size line is."""
        self._trailer = b""
        """What must follow the chunk's data (or the last chunk), byte for byte."""

    def feed(self, data: bytes) -> bytes:
        """The body's bytes among `data`. FramingError at the first byte that may not stand there."""
        body = bytearray()
        at = 0
        while at < len(data):
            if self.ended:
                raise FramingError(f"bytes after the last chunk: {data[at : at + 40]!r}")
            if self._left > 0:
                piece = data[at : at + self._left]
                self._chunk += piece
                body += piece
                at += len(piece)
                self._left -= len(piece)
                continue
            self._framing(data[at])
            at += 1
        return bytes(body)

    def _framing(self, byte: int) -> None:
        if self._trailer:
            if byte != self._trailer[0]:
                raise FramingError(f"{bytes([byte])!r} where {self._trailer[:1]!r} must end a chunk")
            self._trailer = self._trailer[1:]
            if not self._trailer:
                self._end_chunk()
            return
        self._line.append(byte)
        size = bytes(self._line)
        if size.endswith(b"\r\n"):
            self._left = int(size, 16)
            self._line.clear()
            self._trailer = b"\r\n"
        elif byte == 0x0D:
            if not self._line[:-1]:
                raise FramingError("a chunk without a size")
        elif byte not in _HEX or b"\r" in size or len(size) > 16:
            raise FramingError(f"not a chunk size: {size!r}")

    def _end_chunk(self) -> None:
        if self._chunk:
            self.chunks.append(bytes(self._chunk))
            self._chunk.clear()
        else:
            self.ended = True
        self._left = -1


class GzipDecoder:
    """Decode Content-Encoding: gzip (RFC 1952), what there is as soon as it is there."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)

    @property
    def ended(self) -> bool:
        """The trailer was there, and right."""
        return self._inflate.eof

    def feed(self, data: bytes) -> bytes:
        """What these bytes make known. FramingError at what may not stand there."""
        try:
            body = self._inflate.decompress(data)
        except zlib.error as error:
            raise FramingError(f"not gzip: {error}") from error
        if self._inflate.unused_data:
            raise FramingError(f"bytes after the member: {self._inflate.unused_data[:40]!r}")
        return body
