"""A client of POST /publish: `python -m bench.http_publish PORT TOKEN CONNECTIONS DATA_BYTES`.

    run SECONDS EVENTS      each connection sends its next request when the last one has been answered, with
                            so many events in it: one as a JSON object, more as NDJSON

Answered with {"requests", "events", "seconds", "failed", "p99_ms"}: `failed` counts answers other than 200
and events that were refused.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
_PUBLISHED = re.compile(rb'"published":(\d+)')


class Client(asyncio.Protocol):
    """One keep-alive connection, which asks as long as `until` has not come."""

    def __init__(self, request: bytes, events: int) -> None:
        self._request = request
        self._events = events
        self._answer = b""
        self._sent_at = 0.0
        self.until = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.seconds: list[float] = []
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def ask(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not found or length is None or len(body) < int(length[1]):
            return
        now = time.perf_counter()
        self.seconds.append(now - self._sent_at)
        self.failed += self._events - self._published(head, body)
        self._answer = b""
        if now < self.until:
            self.ask()
        else:
            self.done.set_result(None)

    def _published(self, head: bytes, body: bytes) -> int:
        if not head.startswith(b"HTTP/1.1 200"):
            return 0
        if self._events == 1:
            return 1
        counted = _PUBLISHED.search(body)
        return int(counted[1]) if counted else 0

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the gateway closed a connection"))


def request_of(token: str, events: int, data_bytes: int) -> bytes:
    item = json.dumps({"channel": "c0", "data": "x" * data_bytes}).encode()
    body = b"\n".join([item] * events)
    content_type = "application/json" if events == 1 else "application/x-ndjson"
    head = (
        f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(
    port: int, token: str, connections: int, data_bytes: int, seconds: float, events: int
) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    request = request_of(token, events, data_bytes)
    clients = []
    for _ in range(connections):
        transport, client = await loop.create_connection(lambda: Client(request, events), "127.0.0.1", port)
        clients.append((transport, client))
    started = time.perf_counter()
    for _, client in clients:
        client.until = started + seconds
        client.ask()
    await asyncio.gather(*(client.done for _, client in clients))
    took = time.perf_counter() - started
    for transport, _ in clients:
        transport.close()
    latencies = sorted(latency for _, client in clients for latency in client.seconds)
    return {
        "requests": len(latencies),
        "events": len(latencies) * events,
        "seconds": took,
        "failed": sum(client.failed for _, client in clients),
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
    }


def main() -> None:
    port, token, connections, data_bytes = sys.argv[1:]
    print("{}", flush=True)
    for line in sys.stdin:
        _, seconds, events = line.split()
        asked = run(int(port), token, int(connections), int(data_bytes), float(seconds), int(events))
        print(json.dumps(uvloop.run(asked)), flush=True)


if __name__ == "__main__":
    main()
