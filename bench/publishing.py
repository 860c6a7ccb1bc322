"""A process that publishes at a pace: `python -m bench.publishing KIND ADDRESS CHANNELS DATA_BYTES`.

    go RATE SECONDS     events at their times, one after the other over all channels; those that are due at
                        once go in one call
    send COUNT BATCH    so many as fast as it goes, in calls of BATCH events

Both are answered with {"first", "published", "seconds"}. Data begins with `t=<nanoseconds of the wall
clock> `, when the event was due to be sent.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import redis

from bench.lines import LineProcess
from publisher import Event, Publisher
from publisher.commands import SCRIPT, SCRIPT_SHA, Options

Send = Callable[[Sequence[tuple[str, str]]], None]
"""Publishes pairs of channel and data; returns when all are taken."""


def library(url: str) -> Send:
    """What a service would use: `publish_many`."""
    publisher = Publisher(url)

    def send(events: Sequence[tuple[str, str]]) -> None:
        publisher.publish_many([Event(channel=channel, data=data) for channel, data in events])

    return send


def script(url: str) -> Send:
    """The script by a pipeline of bytes that are made once for each channel, without idempotency keys.

    For rates at which the library would take the core that Redis and the load client run on; the gateway
    sees the same messages.
    """
    client = redis.Redis.from_url(url, protocol=2)
    client.script_load(SCRIPT)
    options = Options()
    retention = options.retention(None, None)
    frames: dict[tuple[str, int], tuple[bytes, bytes]] = {}
    connection = client.connection_pool.get_connection()
    marker = "@"

    def frame(channel: str, size: int) -> tuple[bytes, bytes]:
        command = options.event(Event(channel=channel, data=marker * size), retention)
        _, meta, tail, stream, _once, *arguments = command.arguments
        words = [b"EVALSHA", SCRIPT_SHA, b"3", meta, tail, stream, *arguments[:-1]]
        packed = b"*%d\r\n" % len(words)
        for word in words:
            text = word if isinstance(word, bytes) else b"%d" % word
            packed += b"$%d\r\n%b\r\n" % (len(text), text)
        before, _, after = packed.partition(marker.encode() * size)
        return before, after

    def send(events: Sequence[tuple[str, str]]) -> None:
        parts = []
        for channel, data in events:
            key = channel, len(data)
            if key not in frames:
                frames[key] = frame(*key)
            before, after = frames[key]
            parts += [before, data.encode(), after]
        connection.send_packed_command([b"".join(parts)])  # type: ignore[no-untyped-call]
        for _ in events:
            connection.read_response()

    return send


def plain(url: str) -> Send:
    """PUBLISH, for setups that have nothing else."""
    client = redis.Redis.from_url(url, protocol=2)

    def send(events: Sequence[tuple[str, str]]) -> None:
        pipeline = client.pipeline(transaction=False)
        for channel, data in events:
            pipeline.publish(channel, data)
        pipeline.execute()

    return send


def nchan(url: str) -> Send:
    """A POST for each event, as Nchan takes them."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)

    def send(events: Sequence[tuple[str, str]]) -> None:
        for channel, data in events:
            connection.request("POST", f"/publish?channel={channel}", data)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"Nchan answered {answer.status}")

    return send


KINDS: dict[str, Callable[[str], Send]] = {
    "library": library,
    "script": script,
    "plain": plain,
    "nchan": nchan,
}
MOST_AT_ONCE = 500


class Source:
    """Numbers the events, over all commands."""

    def __init__(self, send: Send, channels: int, data_bytes: int) -> None:
        self._send = send
        self._channels = channels
        self._padding = "x" * data_bytes
        self._bytes = data_bytes
        self.sent = 0

    def send(self, count: int) -> None:
        stamp = f"t={time.time_ns()} "
        data = (stamp + self._padding)[: self._bytes]
        self._send([(f"c{(self.sent + i) % self._channels}", data) for i in range(count)])
        self.sent += count

    def go(self, rate: float, seconds: float) -> float:
        """Late events are sent as soon as it goes, so that in the end all have been. Returns the seconds
        that it took."""
        total, done = round(rate * seconds), 0
        # Above 1,000 a second, a call each millisecond has all that are due.
        least_pause = 0.001 if rate > 1000 else 0.0
        started = time.perf_counter()
        while done < total:
            due = min(total, int((time.perf_counter() - started) * rate) + 1)
            if due > done:
                self.send(min(due - done, MOST_AT_ONCE))
                done = min(due, done + MOST_AT_ONCE)
            pause = started + done / rate - time.perf_counter()
            if pause > 0:
                time.sleep(max(pause, least_pause))
        return time.perf_counter() - started

    def burst(self, count: int, batch: int) -> float:
        started = time.perf_counter()
        for done in range(0, count, batch):
            self.send(min(batch, count - done))
        return time.perf_counter() - started


def main() -> None:
    kind, address, channels, data_bytes = sys.argv[1:]
    source = Source(KINDS[kind](address), int(channels), int(data_bytes))
    print("{}", flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        first = source.sent
        if command == "go":
            seconds = source.go(float(numbers[0]), float(numbers[1]))
        else:
            seconds = source.burst(int(numbers[0]), int(numbers[1]))
        print(json.dumps({"first": first, "published": source.sent - first, "seconds": seconds}), flush=True)


class PublisherProcess(LineProcess):
    """That process, ready to be commanded."""

    def __init__(self, kind: str, address: str, channels: int, data_bytes: int, *, core: int) -> None:
        command = [sys.executable, "-m", "bench.publishing", kind, address, str(channels), str(data_bytes)]
        super().__init__(command, core=core)

    def __enter__(self) -> PublisherProcess:
        super().__enter__()
        try:
            self.answer("start")
        except BaseException:
            self.__exit__()
            raise
        return self


if __name__ == "__main__":
    main()
