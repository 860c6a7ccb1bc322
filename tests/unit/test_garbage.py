"""What streams leave to the garbage collector, and that it still comes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from gateway import garbage
from gateway.http.gzip_stream import GzipStream
from gateway.http.stream import EventStream
from gateway.hub.subscription import Subscription
from gateway.protocol.compression import Units
from gateway.protocol.sse import Encoding
from publisher.channels import Channel
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Owner:
    max_upload_bytes = write_buffer_bytes = 0

    def opened(self, stream: EventStream) -> None: ...
    def filled(self, stream: EventStream) -> None: ...
    def drained(self, stream: EventStream) -> None: ...
    def closed(self, stream: EventStream) -> None: ...


def streams() -> int:
    return sum(isinstance(item, EventStream | Subscription) for item in gc.get_objects())


@pytest.mark.parametrize(
    "make",
    [lambda: EventStream(Owner(), Encoding()), lambda: GzipStream(Owner(), Units(4, 0))],
    ids=["plain", "compressed"],
)
@pytest.mark.usefixtures("no_collector")
def test_a_stream_that_has_ended_is_freed_at_once(make: Callable[[], EventStream]) -> None:
    before = streams()
    stream = make()
    stream.subscription = Subscription(stream, [Channel("a")])
    assert streams() == before + 2
    stream.connection_lost(None)
    del stream
    assert streams() == before


class Circle:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("no_collector")
async def test_what_comes_in_circles_is_found_from_time_to_time() -> None:
    collecting = asyncio.create_task(garbage.collect(0.001))
    circle = weakref.ref(Circle())
    await aeventually(lambda: circle() is None)
    collecting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await collecting
