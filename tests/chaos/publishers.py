"""Publishers that write numbered events and note what was acknowledged: in threads, and as a process.

As a process (`python -m tests.chaos.publishers URL PREFIX CHANNEL JOURNAL DEADLINE BEGIN_AT`) it can be
killed between write and answer. It keeps a journal, and what was begun without an answer it publishes
again with the same idempotency key when it is started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from publisher import (
    AsyncPublisher,
    BatchFailed,
    Event,
    Published,
    Publisher,
    PublishError,
    RedisRefused,
    RedisUnreachable,
)
from tests.chaos.history import Outcome, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ROOT = Path(__file__).resolve().parents[2]


def numbered(channel: str, number: int, size_bytes: int = 0) -> str:
    """The data of an event: its channel, its number, and a check that no other event has."""
    check = hashlib.sha256(f"{channel} {number}".encode()).hexdigest()[:16]
    check = (check * (size_bytes // 16 + 1))[: max(16, size_bytes)]
    return json.dumps({"c": channel, "n": number, "check": check}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Habits:
    """How a publisher behaves."""

    rate: float = 25.0
    """Rounds per second; each publishes one event, or a batch, to each of its channels."""
    batch: int = 1
    persist: bool = False
    """After a failure, publish the same event again, with its idempotency key, until it is answered."""
    repeat_every: int = 0
    """Each so-many-th event is published a second time with the same key, as a retry would."""
    cancel_every: int = 0
    """Each so-many-th publish is cancelled under way, and published again with the same key."""
    size_bytes: int = 0


class Writer:
    """One thread that publishes to its channels until it is stopped. All lists are append-only."""

    def __init__(
        self,
        url: str,
        prefix: str,
        channels: Sequence[str],
        habits: Habits,
        *,
        deadline_seconds: float = 4.0,
        begin_at: int = 1,
    ) -> None:
        self.channels = tuple(channels)
        self.habits = habits
        self.written: list[Written] = []
        self.last_acked: dict[str, tuple[int, str]] = {}
        """Per channel: number and id."""
        self.begun: dict[str, int] = dict.fromkeys(channels, begin_at - 1)
        """Per channel: the highest number that was tried."""
        self.pace = 1.0
        """Factor on the rate."""
        self.paused = frozenset[str]()
        """Channels that are left out for now."""
        self.failure: BaseException | None = None
        self._url, self._prefix, self._deadline_seconds = url, prefix, deadline_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name="chaos-writer", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self, *, seconds: float = 20.0) -> None:
        """End it, behind the publish that is under way."""
        self._stop.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise AssertionError(f"a publisher did not end within {seconds:g} s")
        if self.failure is not None:
            raise AssertionError(f"a publisher failed: {self.failure!r}") from self.failure

    def _guarded(self) -> None:
        try:
            if self.habits.cancel_every:
                asyncio.run(self._run_async())
            else:
                self._run()
        except BaseException as error:
            self.failure = error

    def _rounds(self) -> Iterable[int]:
        due = time.monotonic()
        for number in itertools.count():
            due = max(due + 1 / (self.habits.rate * self.pace), time.monotonic() - 0.5)
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            yield number

    def _next(self, channel: str) -> Event:
        number = self.begun[channel] = self.begun[channel] + 1
        data = numbered(channel, number, self.habits.size_bytes)
        return Event(channel=channel, data=data, idempotency_key=f"n{number}")

    def _run(self) -> None:
        with Publisher(self._url, prefix=self._prefix, deadline_seconds=self._deadline_seconds) as publisher:
            for _ in self._rounds():
                for channel in self.channels:
                    if channel in self.paused:
                        continue
                    if self.habits.batch > 1:
                        self._publish_batch(
                            publisher, [self._next(channel) for _ in range(self.habits.batch)]
                        )
                    else:
                        self._publish_one(publisher, self._next(channel))

    def _publish_one(self, publisher: Publisher, event: Event) -> None:
        number = self.begun[event.channel]
        times = 2 if self.habits.repeat_every and number % self.habits.repeat_every == 0 else 1
        while times:
            try:
                result: Published | PublishError = publisher.publish(
                    event.channel, event.data, idempotency_key=event.idempotency_key
                )
            except PublishError as error:
                result = error
            again = self._note(event, number, result) is Outcome.UNKNOWN and self.habits.persist
            if not again or self._stop.is_set():
                times -= 1

    def _publish_batch(self, publisher: Publisher, events: list[Event]) -> None:
        first = self.begun[events[0].channel] - len(events) + 1
        try:
            results: Sequence[Published | PublishError] = publisher.publish_many(events)
        except BatchFailed as error:
            results = error.results
        except PublishError as error:
            results = [error] * len(events)
        for number, (event, result) in enumerate(zip(events, results, strict=True), first):
            self._note(event, number, result)

    async def _run_async(self) -> None:
        chance = random.Random(len(self.channels))
        async with AsyncPublisher(
            self._url, prefix=self._prefix, deadline_seconds=self._deadline_seconds
        ) as publisher:
            for _ in self._rounds():  # its own loop: nothing else runs here
                for channel in self.channels:
                    if channel not in self.paused:
                        await self._publish_async(publisher, self._next(channel), chance)

    async def _publish_async(self, publisher: AsyncPublisher, event: Event, chance: random.Random) -> None:
        number = self.begun[event.channel]

        async def publish() -> Published:
            return await publisher.publish(event.channel, event.data, idempotency_key=event.idempotency_key)

        if number % self.habits.cancel_every == 0:
            with contextlib.suppress(TimeoutError, PublishError):
                async with asyncio.timeout(chance.uniform(0, 0.002)):
                    await publish()
        while True:
            try:
                result: Published | PublishError = await publish()
            except PublishError as error:
                result = error
            if self._note(event, number, result) is not Outcome.UNKNOWN or not self.habits.persist:
                return
            if self._stop.is_set():
                return

    def _note(self, event: Event, number: int, result: Published | PublishError) -> Outcome:
        match result:
            case Published(id=id_):
                outcome = Outcome.ACKED
                self.last_acked[event.channel] = number, id_
            case RedisUnreachable():
                outcome, id_ = Outcome.UNKNOWN, ""
            case RedisRefused():
                outcome, id_ = Outcome.REFUSED, ""
            case error:
                raise error
        self.written.append(Written(event.channel, number, str(event.data), outcome, id_))
        return outcome


class Journal:
    """What a publisher process has begun and what was answered, one line each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[list[str]]:
        """The complete lines, split."""
        text = self._path.read_text() if self._path.exists() else ""
        return [line.split(" ") for line in text.split("\n")[:-1]]

    def written(self, channel: str) -> list[Written]:
        """The history that it tells."""
        acked = {int(line[1]): line[2] for line in self.lines() if line[0] == "ack"}
        begun = {int(line[1]) for line in self.lines() if line[0] == "begin"}
        return [
            Written(
                channel,
                number,
                numbered(channel, number),
                Outcome.ACKED if number in acked else Outcome.UNKNOWN,
                acked.get(number, ""),
            )
            for number in sorted(begun)
        ]


def _main(url: str, prefix: str, channel: str, path: str, deadline_seconds: str, begin_at: str) -> None:
    done = Journal(Path(path)).lines()
    before = int(begin_at) - 1
    last_begun = max((int(line[1]) for line in done if line[0] == "begin"), default=before)
    last_acked = max((int(line[1]) for line in done if line[0] == "ack"), default=before)
    journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Publisher(url, prefix=prefix, deadline_seconds=float(deadline_seconds)) as publisher:
        for number in itertools.count(last_acked + 1):
            if number > last_begun:
                os.write(journal, f"begin {number}\n".encode())
            while True:
                try:
                    done_id = publisher.publish(
                        channel, numbered(channel, number), idempotency_key=f"n{number}"
                    ).id
                except RedisUnreachable:
                    continue
                break
            os.write(journal, f"ack {number} {done_id}\n".encode())
            time.sleep(0.005)  # its rate


if __name__ == "__main__":
    _main(*sys.argv[1:])
