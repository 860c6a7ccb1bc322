"""What `fanlight tail` prints: lines for people, in colour on a terminal, or JSON lines for programs.

Events go to stdout, what happens to the connection to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIM: Final = "2"
_BOLD: Final = "1"
_GREEN: Final = "32"
_CYAN: Final = "36"
_YELLOW: Final = "1;33"
_GAPS: Final = {
    "trimmed": "the channel keeps fewer events than were missed",
    "expired": "the channel's events have expired",
    "rewritten": "events of the channel were deleted or replaced",
    "invalid": "an entry is not of Fanlight's contract, or too large",
    "failover": "Redis was restarted or replaced, and may have lost its last events",
    "epoch": "the id is of another Redis, or of one that was wiped",
    "unknown_cursor": "the id is not one of Fanlight's",
    "future": "the id is ahead of Redis",
    "late": "somebody publishes without the publisher's script",
    "unknown": "nothing is left in Redis that could tell what was missed",
}


class OutputClosed(Exception):
    """Whoever read our output has gone. No OSError: those are of the network."""


class Screen:
    """`channels` is how many are followed: the channel is shown when there are several."""

    def __init__(
        self,
        *,
        json_lines: bool,
        channels: int,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self._json = json_lines
        self._channels = channels
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._colours = coloured(self._out)
        self._err_colours = coloured(self._err)

    def event(self, id: str, channel: str | None, type: str, data: str, latency_ms: int | None) -> None:
        """An event. `latency_ms` None: it is of the replay."""
        if self._json:
            self._object(id=id, channel=channel, type=type, data=data, latency_ms=latency_ms)
            return
        age = "replayed" if latency_ms is None else f"{latency_ms:,} ms"
        parts = [self._paint(id, _DIM)]
        if self._channels > 1:
            parts.append(self._paint(printable(channel or "?"), _GREEN))
        parts += [
            self._paint(printable(type), _CYAN),
            printable(data, keep_lines=True).replace("\n", "\n    "),
            self._paint(f"({age})", _DIM),
        ]
        self._print("  ".join(parts))

    def gap(self, id: str, gap: Mapping[str, object]) -> None:
        """Events were missed for good."""
        if self._json:
            self._object(id=id, channel=gap.get("channel"), type="fanlight.gap", data=gap)
            return
        reason, channel = str(gap.get("reason")), gap.get("channel")
        where = "all channels" if channel is None else printable(str(channel))
        bounds = " to ".join(printable(str(gap[key])) for key in ("from", "to") if gap.get(key))
        why = _GAPS.get(reason, "")
        text = f"GAP in {where}: {printable(reason)}"
        text += f" ({why})" if why else ""
        text += f", {bounds}" if bounds else ""
        self._print(self._paint(text, _YELLOW))

    def end(self, id: str, channel: str) -> None:
        """A channel was closed."""
        if self._json:
            self._object(id=id, channel=channel, type="fanlight.end", data={"channel": channel})
            return
        self._print(f"{self._paint(id, _DIM)}  {self._paint(f'END of {printable(channel)}', _BOLD)}")

    def note(self, text: str) -> None:
        """Something about the connection."""
        text = printable(text)
        print(f"\x1b[{_DIM}m{text}\x1b[0m" if self._err_colours else text, file=self._err, flush=True)

    def _object(self, **fields: object) -> None:
        self._print(json.dumps(fields, ensure_ascii=False))

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._out, flush=True)
        except BrokenPipeError:
            raise OutputClosed from None

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


def printable(text: str, *, keep_lines: bool = False) -> str:
    """`text` without control characters: a publisher must not be able to write to the terminal."""
    return "".join(
        c if c.isprintable() or c == "\t" or (keep_lines and c == "\n") else f"\\x{ord(c):02x}" for c in text
    )


def coloured(stream: TextIO) -> bool:
    """Whether to write colours to it."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
