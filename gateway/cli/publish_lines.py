"""Standard input to events: a line an event, with a bar on a terminal.

A line that is refused is told with its number and does not stop the others. A Redis that is away or
refuses to write does, and so does a closed channel.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.cli.lines import Line, LineSplitter
from gateway.cli.screen import printable
from gateway.protocol import strict_json
from publisher import (
    BatchFailed,
    ChannelClosed,
    Event,
    InvalidData,
    InvalidEvent,
    Published,
    Publisher,
    PublishError,
    RedisUnreachable,
)
from publisher.events import encode_data

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

_CHUNK_BYTES: Final = 256 * 1024


@dataclass(slots=True)
class _Tally:
    published: int = 0
    failed: int = 0
    read_bytes: int = 0
    last_id: str = ""


def publish_lines(publisher: Publisher, max_event_bytes: int, options: argparse.Namespace) -> int:
    """Publish standard input; return 1 if lines were refused, else 0.

    Raises `PublishError` where going on makes no sense: Redis is away or refuses, the channel is closed.
    """
    if sys.stdin.isatty():
        print("(a line an event; end with Ctrl-D)", file=sys.stderr)
    bar = sys.stderr.isatty() and not sys.stdin.isatty()
    # On a terminal the bar says how far it is; ten thousand ids would push it off the screen.
    say_id: Callable[[str], object] = _say_nothing if bar and sys.stdout.isatty() else print
    batches = _Batches(publisher, max_event_bytes, options, say_id)
    tally = batches.tally
    try:
        with _Bar(tally) if bar else _NoBar() as show:
            for chunk in _chunks():
                batches.feed(chunk)
                show()
            batches.finish()
            show()
    except PublishError as error:
        sys.stdout.flush()
        kind = RedisUnreachable if isinstance(error, RedisUnreachable) else PublishError
        raise kind(f"{error}; stopped after {tally.published:,} events") from None
    except KeyboardInterrupt:
        complain(f"stopped after {tally.published:,} events")
        raise
    if bar:
        last = f", the last as {tally.last_id}" if tally.last_id else ""
        failed = f"; {tally.failed:,} refused" if tally.failed else ""
        print(f"published {tally.published:,} events{last}{failed}", file=sys.stderr)
    return 1 if tally.failed else 0


def _chunks() -> Iterator[bytes]:
    """Standard input as it comes: a line typed now is published now, a file goes in large pieces."""
    descriptor = sys.stdin.fileno()
    while chunk := os.read(descriptor, _CHUNK_BYTES):
        yield chunk


@dataclass(slots=True)
class _Batches:
    """Lines to events to ids, a chunk of input in one `publish_many`."""

    publisher: Publisher
    max_event_bytes: int
    options: argparse.Namespace
    say_id: Callable[[str], object]
    tally: _Tally = field(default_factory=_Tally)
    splitter: LineSplitter = field(init=False)

    def __post_init__(self) -> None:
        self.splitter = LineSplitter(self.max_event_bytes)

    def feed(self, chunk: bytes) -> None:
        self.tally.read_bytes += len(chunk)
        self._send(self.splitter.feed(chunk))

    def finish(self) -> None:
        self._send(self.splitter.finish())

    def _send(self, lines: list[Line]) -> None:
        events: list[tuple[int, Event]] = []
        for line in lines:
            try:
                events.append((line.number, self._event(line)))
            except InvalidEvent as error:
                self._refused(line.number, error)
        if not events:
            return
        try:
            results: list[Published] | tuple[Published | PublishError, ...] = self.publisher.publish_many(
                event for _, event in events
            )
        except BatchFailed as error:
            results = error.results
        for (number, _), result in zip(events, results, strict=True):
            if isinstance(result, Published):
                self.tally.published += 1
                self.tally.last_id = result.id
                self.say_id(result.id)
            elif isinstance(result, ChannelClosed):
                raise result  # and so would all that follows be refused
            else:
                self._refused(number, result)
        sys.stdout.flush()

    def _event(self, line: Line) -> Event:
        if line.data is None:
            raise InvalidData(f"more than {self.max_event_bytes:,} bytes")
        encode_data(line.data, self.max_event_bytes)
        if self.options.json:
            check_json(line.data)
        key = self.options.idempotency_key
        return Event(
            channel=self.options.channel,
            data=line.data,
            type=self.options.type,
            idempotency_key=None if key is None else f"{key}:{line.number}",
        )

    def _refused(self, number: int, error: PublishError) -> None:
        self.tally.failed += 1
        complain(f"line {number:,}: {error}")


def check_json(data: str | bytes) -> None:
    """Raise `InvalidData` unless it is JSON (RFC 8259)."""
    try:
        strict_json.parse(data)
    except json.JSONDecodeError as error:
        raise InvalidData(f"not JSON: {error.msg} (character {error.pos + 1})") from None
    except ValueError as error:
        raise InvalidData(f"not JSON: {error}") from None


def _say_nothing(_: str) -> None:
    return None


class _NoBar:
    def __enter__(self) -> Callable[[], None]:
        return lambda: None

    def __exit__(self, *_: object) -> None:
        return None


class _Bar:
    """A bar on stderr, by bytes where the input is a file; entering gives what moves it on."""

    def __init__(self, tally: _Tally) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._tally = tally
        self._bar = Progress(
            TextColumn("publishing"),
            BarColumn(),
            TextColumn("{task.fields[events]:,} events"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        size = os.fstat(sys.stdin.fileno()).st_size
        self._task = self._bar.add_task("", total=size or None, events=0)

    def __enter__(self) -> Callable[[], None]:
        self._bar.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._tally.read_bytes, events=self._tally.published)


def complain(text: str, *, status: int = 1) -> int:
    """Say it on stderr, in one line; return `status`."""
    sys.stdout.flush()
    print(f"fanlight publish: {printable(text)}", file=sys.stderr)
    return status
