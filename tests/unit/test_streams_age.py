"""`gateway.http.streams`: which streams their age ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.http.current import Configuration, Current
from gateway.http.streams import Streams
from gateway.protocol.closing import CloseReason
from gateway.protocol.sse import Encoding
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.http.stream import EventStream
    from gateway.hub.hub import Hub


@pytest.mark.parametrize("full", [False, True], ids=["reads", "lags for ever"])
async def test_a_stream_is_ended_at_its_age(full: bool) -> None:
    written: list[bytes] = []
    ended: list[CloseReason] = []
    stream = SimpleNamespace(
        full=full, reason=None, expires_at=10.0, encoding=Encoding(), write=written.append, end=ended.append
    )
    Streams(cast("Hub", None), Current(Configuration.of(Settings(), None)))._tend(
        cast("EventStream", stream), 10.1
    )
    assert ended == [CloseReason.MAX_AGE]
    [chunk] = written
    assert b"retry: " in chunk
