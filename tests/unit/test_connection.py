"""When the subscriber connection rests, against a transport and a listener that are played."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.broker import connection as module
from gateway.broker.connection import Connection, rest_seconds
from tests.support.wait import aeventually

PUSH = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$%d\r\n%b\r\n"


@pytest.mark.parametrize(
    ("took_ms", "turn_ms", "rest_ms"),
    [
        (0.5, 10, 0),  # not worth a timer
        (2, 10, 2),
        (5, 10, 5),
        (7, 10, 3),
        (9.5, 10, 0),
        (30, 10, 0),
        (2, 0, 0),
    ],
)
def test_a_rest_is_as_long_as_the_batch_within_the_turn(
    took_ms: float, turn_ms: float, rest_ms: float
) -> None:
    assert rest_seconds(took_ms / 1000, turn_ms / 1000) == pytest.approx(rest_ms / 1000)


class Played:
    """Clock, transport and listener. A batch takes 4 ms."""

    def __init__(self, *, writes: bool) -> None:
        self.now = 0.0
        self.paused = self.rests = 0
        self._writes = writes

    def perf_counter(self) -> float:
        return self.now

    def get_extra_info(self, _: str) -> None:
        return None

    def pause_reading(self) -> None:
        self.paused += 1
        self.rests += 1

    def resume_reading(self) -> None:
        self.paused -= 1

    def push(self, _: list[Any]) -> None:
        pass

    def end_of_batch(self) -> bool:
        self.now += 0.004
        return self._writes

    def connection_lost(self, _: Exception | None) -> None:
        pass


@pytest.mark.parametrize(
    ("writes", "bytes_", "rests"), [(True, 10, 1), (False, 10, 0), (True, 100_000, 0)], ids=str
)
async def test_it_rests_after_writes_unless_more_is_waiting(
    monkeypatch: pytest.MonkeyPatch, writes: bool, bytes_: int, rests: int
) -> None:
    played = Played(writes=writes)
    monkeypatch.setattr(module, "perf_counter", played.perf_counter)
    connection = Connection(played, user_timeout_seconds=1, turn_seconds=0.01)
    connection.connection_made(cast("asyncio.Transport", played))
    connection.data_received(PUSH % (bytes_, b"x" * bytes_))
    assert (played.rests, played.paused) == (rests, rests)
    await aeventually(lambda: not played.paused)
