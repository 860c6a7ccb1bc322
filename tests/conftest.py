"""Fixtures that unit, integration, chaos and browser tests share."""

from __future__ import annotations

import os
import signal
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.proxies import PROXIES, ReverseProxy
from tests.support.redis_server import RedisServer, find_binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class StartGateway(Protocol):
        def __call__(self, **settings: Any) -> GatewayProcess: ...


# A shell starts what it runs in the background with SIGINT ignored, which all children inherit: without
# this, those that tests interrupt would not hear of it.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What takes long here may do so because of a neighbour. The same examples each time, so that what fails is
# what was changed; `make explore` draws others.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("FANLIGHT_TEST_EXAMPLES", "same"))


def pytest_report_header() -> str:
    try:
        return f"redis server: {find_binary()}"
    except Exception as error:  # shown again, in full, by the first test that needs one
        return f"redis server: none ({error})"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the whole run. Tests share it, so each keeps to its own `prefix`, and none may
    stop it, freeze it or change its configuration: that is what `own_redis` is for."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of this test's own, to kill and freeze."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def start_gateway(redis_server: RedisServer, prefix: str) -> Iterator[StartGateway]:
    """Start gateways as processes: `start_gateway(heartbeat_seconds=1)`.

    Settings are those of `gateway.settings`. Without `redis_url` and `prefix` they use `redis_server`
    and this test's `prefix`. All are ended with the test.
    """
    with ExitStack() as started:

        def start(**settings: Any) -> GatewayProcess:
            settings = {"redis_url": redis_server.url, "prefix": prefix} | settings
            return started.enter_context(GatewayProcess(**settings))

        yield start


@pytest.fixture
def gateway_process(start_gateway: StartGateway) -> GatewayProcess:
    """One gateway with default settings, ready, with POST /publish enabled by `PUBLISH_TOKEN`."""
    return start_gateway(publish_token=GatewayProcess.PUBLISH_TOKEN)


@pytest.fixture(scope="module", params=PROXIES, ids=lambda kind: kind.name)
def proxy_kind(request: pytest.FixtureRequest) -> type[ReverseProxy]:
    """Each proxy that a configuration is shipped for, where it is installed."""
    kind: type[ReverseProxy] = request.param
    if kind.program() is None:
        pytest.skip(f"{kind.name} is not installed")
    return kind
