"""`fanlight tail`: follow channels over HTTP, as a browser would, and for as long.

Events go to stdout, what happens to the connection to stderr. It resumes with Last-Event-ID after
the server's reconnection time; it ends with 204, which says that all channels are closed, and with an
answer that says that the request is wrong. The file with the token is read anew for each connection.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp

from gateway.cli.screen import OutputClosed, Screen
from gateway.cli.sse_client import EventStreamParser, ReceivedEvent, StreamTooLarge
from gateway.protocol import strict_json
from publisher.channels import validate_channel
from publisher.errors import InvalidChannel
from publisher.ids import EventId

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

DEFAULT_RETRY_MS: Final = 2000
MAX_PAUSE_SECONDS: Final = 15.0
CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 90.0
"""Heartbeats come every 15 s by default: a stream silent for this long has lost its connection."""
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Refused(Exception):
    """The gateway's answer says that asking again won't help."""


def tail(options: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    try:
        for channel in options.channels:
            validate_channel(channel)
        _check_url(options.url)
    except (InvalidChannel, ValueError) as error:
        print(f"fanlight tail: {error}", file=sys.stderr)
        return 2
    screen = Screen(json_lines=options.json, channels=len(options.channels))
    follower = Follower(
        options.url, options.channels, screen, last=options.last, cursor=options.last_event_id or ""
    )
    if options.token_file is not None:
        follower.read_token = token_reader(options.token_file)
    try:
        asyncio.run(follower.run())
    except Refused as error:
        print(f"fanlight tail: {error}", file=sys.stderr)
        return 1
    except OutputClosed:
        raise BrokenPipeError from None
    return 0


class Follower:
    """One resuming client. `cursor` is the last event ID, "" before there is one."""

    def __init__(
        self, url: str, channels: list[str], screen: Screen, *, last: int | None = None, cursor: str = ""
    ) -> None:
        self.url = f"{url.rstrip('/')}/events"
        self.channels = channels
        self.cursor = cursor
        self._last = last
        self._screen = screen
        self._retry_ms = DEFAULT_RETRY_MS
        self._failures = 0
        self.read_token: Callable[[], str] | None = None
        """Where a token is to be sent."""

    async def run(self) -> None:
        """Until the channels are closed (204). Raises `Refused`."""
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as session:
            while True:
                try:
                    if await self._follow(session):
                        self._screen.note("all channels are closed")
                        return
                    why = "the stream ended"
                except (aiohttp.ClientError, OSError, TimeoutError, StreamTooLarge) as error:
                    why = _reason(error)
                    self._failures += 1
                pause = self._pause_seconds()
                self._screen.note(f"{why}; again in {pause:.1f} s")
                await asyncio.sleep(pause)

    async def _follow(self, session: aiohttp.ClientSession) -> bool:
        """One connection. True when there is nothing more to come."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        query = [("channel", channel) for channel in self.channels] + [("envelope", "json")]
        if self.cursor:
            headers["Last-Event-ID"] = self.cursor
        elif self._last is not None:
            query.append(("last", str(self._last)))
        if self.read_token is not None:
            headers["Authorization"] = f"Bearer {self.read_token()}"
        async with session.get(self.url, params=query, headers=headers, allow_redirects=True) as response:
            if response.status == 204:
                return True
            if response.status in _RETRIED:
                raise aiohttp.ClientError(f"the gateway answered {response.status}")
            if response.status != 200:
                raise Refused(await _problem(response))
            if response.content_type != "text/event-stream":
                raise Refused(f"{self.url} is no event stream: {response.content_type}")
            parser = EventStreamParser(self.cursor)
            live = False
            async for chunk in response.content.iter_any():
                for event in parser.feed(chunk):
                    live = live or event.type == "fanlight.open"
                    self._show(event, live)
                self.cursor = parser.last_event_id
                if parser.retry_ms is not None:
                    self._retry_ms = parser.retry_ms
        return False

    def _show(self, event: ReceivedEvent, live: bool) -> None:
        if event.type == "fanlight.open":
            self._failures = 0
            resumed = _object(event.data).get("resumed") is True
            self._screen.note("connected, resumed" if resumed else "connected")
        elif event.type == "fanlight.unauthorized":
            self._screen.note(f"the token is over ({_object(event.data).get('reason')})")
        elif event.type == "fanlight.gap":
            self._screen.gap(event.id, _object(event.data))
        elif event.type == "fanlight.end":
            channel = _unwrap(event.data)[0] or _object(event.data).get("channel")
            self._screen.end(event.id, str(channel))
        else:
            channel, data = _unwrap(event.data)
            self._screen.event(event.id, channel, event.type, data, latency_ms(event.id) if live else None)

    def _pause_seconds(self) -> float:
        """The server's reconnection time; twice that after each further failure, up to a limit."""
        seconds = self._retry_ms / 1000 * 2.0 ** min(max(self._failures - 1, 0), 10)
        return min(seconds, max(MAX_PAUSE_SECONDS, self._retry_ms / 1000)) * random.uniform(0.8, 1.0)  # noqa: S311 - jitter


def token_reader(file: str) -> Callable[[], str]:
    """Reads the token in a file: anew each time, or once from standard input for `-`. Raises `Refused`."""
    if file == "-":
        line = sys.stdin.readline()
        return lambda: _token(line, file)

    def read() -> str:
        try:
            text = Path(file).read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise Refused(f"cannot read a token from {file}: {error}") from None
        return _token(text, file)

    return read


def _token(text: str, file: str) -> str:
    """It becomes the value of a header, which has one line."""
    token = text.strip()
    if not token.isprintable():
        raise Refused(f"cannot read a token from {file}: it has more than one line, or control characters")
    return token


def latency_ms(event_id: str, *, now_ms: float | None = None) -> int | None:
    """This machine's clock minus the id's milliseconds; below zero where the clocks disagree."""
    try:
        position = EventId.parse(event_id).position
    except ValueError:
        return None
    return round((time.time() * 1000 if now_ms is None else now_ms) - position.ms)


def _unwrap(data: str) -> tuple[str | None, str]:
    """Undo `envelope=json`: channel and data. What is no envelope is shown as it is."""
    envelope = _object(data)
    channel, inner = envelope.get("channel"), envelope.get("data")
    if isinstance(channel, str) and isinstance(inner, str) and len(envelope) == 2:
        return channel, inner
    return None, data


def _object(text: str) -> dict[str, object]:
    try:
        value = strict_json.parse(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _problem(response: aiohttp.ClientResponse) -> str:
    """What the answer says, in a line."""
    problem = _object((await response.content.read(65_536)).decode(errors="replace"))
    detail = problem.get("detail") or problem.get("title") or response.reason
    return f"the gateway answered {response.status}: {detail}"


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"nobody answers at {error.host}:{error.port}"
    if isinstance(error, TimeoutError):
        return "the connection is silent"
    if isinstance(error, aiohttp.ClientPayloadError | ConnectionError | aiohttp.ServerDisconnectedError):
        return "the connection broke"
    return str(error) or type(error).__name__


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"--url: expected the gateway's address, such as http://127.0.0.1:8080, not {url!r}")
