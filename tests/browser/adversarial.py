"""Events that careless decoders get wrong. All are allowed: the publisher takes them."""

from __future__ import annotations

from typing import Final

BOM: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"
NEL, LINE_SEPARATOR, PARAGRAPH_SEPARATOR = "\x85", "\u2028", "\u2029"

DATA: Final = [
    "plain",
    "",
    "\n",
    "\n\n\n",
    "\r",
    "\r\n",
    "\r\r\n\n",
    "one\ntwo",
    "one\rtwo\r\nthree\n\rfour",
    "ends in a newline\n",
    "\nbegins with one",
    "\n\n\nbegins with three",
    "blank lines\n\n\nwithin",
    " one leading space",
    "   three leading spaces",
    "\ttab",
    "trailing spaces   ",
    "   ",
    " \n \n ",
    ":",
    ": not a comment",
    ":\n:\n:",
    "data: x",
    "data: x\n\ndata: y",
    "id: 1",
    "x\nid: 1-1-000000\n\nevent: fake\ndata: injected",
    "event: fake",
    "retry: 0",
    "retry: 0\n\n",
    "data",
    "id",
    "0\r\n\r\n",
    "2\r\n:\n\r\n",
    f"{BOM}a byte order mark first",
    f"line\n{BOM}in the second line",
    f"with{BOM}in",
    BOM,
    f"next{NEL}line",
    f"line{LINE_SEPARATOR}separator",
    f"paragraph{PARAGRAPH_SEPARATOR}separator",
    f"{NEL}{LINE_SEPARATOR}{PARAGRAPH_SEPARATOR}",
    "vertical\x0btab form\x0cfeed, file\x1cgroup\x1drecord\x1eunit\x1fseparators",
    "escape \x1b[31m delete \x7f",
    "\N{DOOR}\N{GRINNING FACE}\N{MUSICAL SYMBOL G CLEF}",
    "\U0010ffff\U00010000\ufffd\uffff",
    "e\N{COMBINING ACUTE ACCENT} \N{RIGHT-TO-LEFT OVERRIDE}abc \N{ZERO WIDTH JOINER}",
    '{"json":"with \\n escapes and \\u0000"}',
    "0",
    "null",
    "[DONE]",
    "x" * 100_000,
    "\N{DOOR}" * 25_000,
    "\n".join(str(number) for number in range(2_000)),
    "\n" * 1_000,
]
"""Data for events of the default type."""

TYPES: Final = [
    "plain",
    "two words",
    " leading space",
    "trailing space ",
    " ",
    "with: colon",
    ":",
    "data",
    "data: x",
    "id",
    "retry",
    "Message",
    "message",
    "open",
    "error",
    "close",
    "fanlight",
    "Fanlight.open",
    "ünïcödé \N{DOOR}",
    f"next{NEL}line{LINE_SEPARATOR}separator",
    f"{BOM}byte order mark",
    "__proto__",
    "constructor",
    "t" * 128,
]
"""Types, all with the same data."""


def received(data: str) -> str:
    """Published data as the standard delivers it: each of CRLF, CR and LF becomes LF."""
    return data.replace("\r\n", "\n").replace("\r", "\n")
