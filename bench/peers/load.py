"""The harness' publishers and subscribers, made to speak to the two setups.

What is taken from `tests.chaos`: rates, channels, numbered events, the subscribers' connections, the run.
What is left out: a deliberate second publish and a cancelled one, for neither setup has idempotency keys.
"""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from publisher import Event
from tests.chaos.history import Outcome, Written
from tests.chaos.publishers import Habits, Writer
from tests.chaos.subscribers import Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_HOST = "127.0.0.1"
_ANSWER_SECONDS = 4.0
_TURNED_AWAY_MS = 1000


class PeerSubscriber(Subscriber):
    """An event source of either setup; it knows events by channel and number."""

    def __init__(
        self,
        name: str,
        channels: Iterable[str],
        ports: Callable[[], Sequence[int]],
        *,
        path: Callable[[Sequence[str]], str],
        receive_buffer_bytes: int | None = None,
    ) -> None:
        super().__init__(name, channels, ports, receive_buffer_bytes=receive_buffer_bytes)
        self._path = path
        self.newest: dict[str, int] = {}
        """Per channel, the highest number that came."""
        self.seen: list[tuple[str, int, int, bool]] = []
        """Channel, number, count of connections, whether it has been away: in the order of arrival."""
        self.turned_away = 0
        """Answers at which a browser gives up. A page that makes a new event source with the same
        cursor a second later is supposed here, which is more than a browser does."""
        self.was_away = False

    def leave(self) -> None:
        self.was_away = True
        super().leave()

    def request(self) -> bytes:
        cursor = f"Last-Event-ID: {self.last_event_id}\r\n" if self.last_event_id else ""
        return (
            f"GET {self._path(self.followed.channels)} HTTP/1.1\r\nHost: {_HOST}\r\n"
            f"Accept: text/event-stream\r\nConnection: close\r\n{cursor}\r\n"
        ).encode()

    def answered(self, status: int) -> None:
        if status == 200:
            self.opens += 1
            self.retry_ms = 50
        else:
            self.turned_away += 1
            self.retry_ms = _TURNED_AWAY_MS

    def received(self, type_: str, id_: str, data: str) -> None:
        self.last_event_id = id_
        event = json.loads(data)
        channel, number = event["c"], event["n"]
        self.newest[channel] = max(number, self.newest.get(channel, 0))
        self.seen.append((channel, number, self.opens, self.was_away))
        self.events += 1


class PeerWriter(Writer):
    """Publishes in the way of a setup. What has no good answer is unknown: it may have got through."""

    def send(self, event: Event) -> bool:
        """Whether it was acknowledged."""
        raise NotImplementedError

    def _run(self) -> None:
        for _ in self._rounds():
            for channel in self.channels:
                if channel not in self.paused:
                    for _ in range(self.habits.batch):
                        self._publish(self._next(channel))

    def _publish(self, event: Event) -> None:
        number = self.begun[event.channel]
        while True:
            acked = self.send(event)
            outcome = Outcome.ACKED if acked else Outcome.UNKNOWN
            self.written.append(Written(event.channel, number, str(event.data), outcome))
            if acked:
                self.last_acked[event.channel] = number, ""
            if acked or not self.habits.persist or self._stop.is_set():
                return
            self._stop.wait(0.05)


class RedisWriter(PeerWriter):
    """PUBLISH with redis-py. The retries are this writer's own, so that they can be counted."""

    def __init__(self, url: str, channels: Sequence[str], habits: Habits) -> None:
        super().__init__(url, "", channels, habits)
        self._client = redis.Redis.from_url(url, socket_timeout=_ANSWER_SECONDS, retry=Retry(NoBackoff(), 0))

    def send(self, event: Event) -> bool:
        try:
            self._client.publish(event.channel, str(event.data))
        except redis.RedisError:
            return False
        return True


class HttpWriter(PeerWriter):
    """POST to one node, and to the next where that fails."""

    def __init__(self, ports: Sequence[int], channels: Sequence[str], habits: Habits) -> None:
        super().__init__("", "", channels, habits)
        self._ports = ports
        self._turn = 0
        self._connection: http.client.HTTPConnection | None = None

    def send(self, event: Event) -> bool:
        if self._connection is None:
            port = self._ports[self._turn % len(self._ports)]
            self._connection = http.client.HTTPConnection(_HOST, port, timeout=_ANSWER_SECONDS)
        try:
            path = f"/publish?channel={quote(event.channel)}"
            self._connection.request("POST", path, str(event.data).encode())
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            good = False
        else:
            good = answer.status in (200, 201, 202)
        if not good:
            self._connection.close()
            self._connection = None
            self._turn += 1
        return good
