"""Encoding of an event stream (WHATWG HTML, section 9.2.6), in the form that most clients read rightly.

- Lines end in LF only; there is a space after the colon; no BOM, no NUL.
- `id:` is the last field of a block: some clients commit it as soon as it is parsed, and an id must
  not be committed before its data is whole.
- A heartbeat is `:` and one LF, and `retry:` one line, without a blank line: some clients dispatch an
  empty message for a block that holds only a comment or a reconnection time. By the letter of the
  standard a block of `retry:` alone would even erase the last event ID of a client that came back.
- Each frame is one HTTP/1.1 chunk (RFC 9112, section 7.1) where the connection is chunked; the
  chunk's framing is part of the shared bytes, so that it costs nothing per connection. Where it is
  compressed, frames have none: chunks are around what was compressed (`compression`).
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

_LINE_ENDS: Final = re.compile(rb"\r\n|\r|\n")


class Encoding(NamedTuple):
    """How a connection wants its frames. Connections with the same encoding share bytes."""

    chunked: bool = True
    envelope: bool = False

    @property
    def slot(self) -> int:
        return self.chunked + 2 * self.envelope

    def framed(self, frame: bytes) -> bytes:
        """The frame as it goes to such a connection."""
        return chunk(frame) if self.chunked else frame


ENCODINGS: Final = 4
OPEN_TYPE: Final = b"fanlight.open"


def event(type_: bytes, data: bytes, id_: str | None) -> bytes:
    """Encode one event. `data` is split at CRLF, CR and LF; each line end reaches the client as LF.

    An empty type is the default one, `message`. Without an id the client keeps the one it has.
    """
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_ENDS.split(data))
    type_line = b"event: %b\n" % type_ if type_ else b""
    id_line = b"id: %b\n" % id_.encode() if id_ is not None else b""
    return b"%bdata: %b\n%b\n" % (type_line, data, id_line)


def retry(milliseconds: int) -> bytes:
    """Encode the reconnection time: a line that takes effect as such, and leads the next event's block."""
    return b"retry: %d\n" % milliseconds


COMMENT: Final = b":\n"


def enveloped(channel: str, data: bytes) -> bytes:
    """Data for `envelope=json`: the channel, and the data as a JSON string, just as published."""
    return json.dumps(
        {"channel": channel, "data": data.decode()}, ensure_ascii=False, separators=(",", ":")
    ).encode()


def chunk(frame: bytes) -> bytes:
    """Wrap a frame into one HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(frame), frame)


LAST_CHUNK: Final = b"0\r\n\r\n"
