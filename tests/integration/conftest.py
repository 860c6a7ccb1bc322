"""Fixtures for tests of the gateway. Most leave it as they found it, and share one: starts take time."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from publisher import Publisher
from tests.support.gateway_process import GatewayProcess
from tests.support.sse import SseConnection
from tests.support.streams import unique

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Protocol

    import redis

    from tests.conftest import StartGateway
    from tests.support.redis_server import RedisServer

    class Connect(Protocol):
        async def __call__(self, url: str, *, live: bool = True, **options: Any) -> SseConnection: ...


@pytest.fixture(scope="module")
def shared_prefix() -> str:
    """The key prefix of the module's shared gateways."""
    return f"m{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def share_gateway(redis_server: RedisServer, shared_prefix: str) -> Iterator[StartGateway]:
    """Like `start_gateway`, for gateways that all tests of a module share. None may be killed."""
    with ExitStack() as started:

        def start(**settings: Any) -> GatewayProcess:
            settings = {"redis_url": redis_server.url, "prefix": shared_prefix} | settings
            return started.enter_context(GatewayProcess(**settings))

        yield start


@pytest.fixture(scope="module")
def shared_publisher(redis_server: RedisServer, shared_prefix: str) -> Iterator[Publisher]:
    """A publisher for the shared gateways."""
    with Publisher(redis_server.url, prefix=shared_prefix) as publisher:
        yield publisher


@pytest.fixture(scope="module")
def nodes(share_gateway: StartGateway) -> list[GatewayProcess]:
    """One that remembers, and one that keeps nothing in memory."""
    return [share_gateway(), share_gateway(hot_tail_bytes=0, page_bytes=2000)]


@pytest.fixture(params=["memory", "no memory"])
def node(request: pytest.FixtureRequest, nodes: list[GatewayProcess]) -> GatewayProcess:
    remembers, forgets = nodes
    return forgets if request.param == "no memory" else remembers


@pytest.fixture(scope="module")
def publisher(shared_publisher: Publisher) -> Publisher:
    return shared_publisher


@pytest.fixture(scope="module")
def client(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


@pytest.fixture
def channel() -> str:
    """A channel that no other test has."""
    return unique()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open streams, closed with the test. With `live`, wait for `fanlight.open` as the first event."""
    async with AsyncExitStack() as opened:

        async def open_stream(url: str, *, live: bool = True, **options: Any) -> SseConnection:
            connection = await opened.enter_async_context(await SseConnection.open(url, **options))
            if live:
                assert connection.status == 200, connection
                event = await connection.next_event()
                assert event.type == "fanlight.open", event
            return connection

        yield open_stream
