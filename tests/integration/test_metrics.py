"""What a scrape tells of a real node, and that docs/metrics.md says the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from gateway.protocol.closing import CloseReason
from gateway.protocol.gaps import GapReason
from publisher import Event
from tests.support.metrics_reference import documented, exposed
from tests.support.otlp import NOWHERE
from tests.support.streams import events_url, gaps, metrics
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from publisher import Publisher
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    """It has all metrics that there are, and holds little for a client that does not read."""
    small = {"write_buffer_bytes": 4096, "send_buffer_bytes": 4096, "page_bytes": 20_000}
    return share_gateway(jwks_url="https://127.0.0.1:9/jwks", otlp_endpoint=NOWHERE, **small)


def test_the_reference_is_the_scrape(gateway: GatewayProcess) -> None:
    _, body = gateway.admin_get("/metrics")
    found, told = exposed(body.decode()), documented()
    assert {name: told.get(name) for name in found} == found
    others = told.keys() - found.keys()
    assert all(name.startswith("fanlight_workers") for name in others), others


def test_closed_sets_begin_at_zero(gateway: GatewayProcess) -> None:
    values = metrics(gateway)
    for reason in GapReason:
        assert f"fanlight_gaps_total{{{reason.value}}}" in values
    for close_reason in CloseReason:
        assert f"fanlight_streams_closed_total{{{close_reason.value}}}" in values
    assert "fanlight_replays_total{link_lost,redis}" in values


async def test_latency_is_observed_once_for_an_event_however_many_get_it(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    before = metrics(gateway)
    connections = [await connect(events_url(gateway, channel)) for _ in range(3)]
    for number in range(5):
        publisher.publish(channel, number)
    for connection in connections:
        await connection.until(lambda: len(connection.events) == 6)  # noqa: B023
    after = metrics(gateway)
    grown = {name: after[name] - before[name] for name in after if "latency_seconds" in name}
    assert grown["fanlight_latency_seconds_count"] == grown["fanlight_latency_seconds_bucket{+Inf}"] == 5
    assert 0 <= grown["fanlight_latency_seconds_sum"] < 5 * 60
    assert abs(after["fanlight_redis_clock_offset_seconds"]) < 1, "it is the same machine's"


async def test_the_event_loop_is_watched(gateway: GatewayProcess) -> None:
    await aeventually(lambda: metrics(gateway)["fanlight_event_loop_lag_seconds_count"] > 1)


async def test_a_replay_is_counted_by_what_it_took(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    first = await connect(events_url(gateway, channel))
    ids = [publisher.publish(channel, number).id for number in range(3)]
    await first.until(lambda: len(first.events) == 4)
    before = metrics(gateway)
    again = await connect(events_url(gateway, channel), live=False, last_event_id=ids[0])
    await again.until(lambda: len(again.events) == 3)
    after = metrics(gateway)
    name = "fanlight_replays_total{complete,memory}"
    assert after[name] - before[name] == 1
    assert after["fanlight_events_replayed_total"] - before["fanlight_events_replayed_total"] == 2


async def test_a_laggard_is_seen_and_so_is_when_it_will_lose_events(
    gateway: GatewayProcess, publisher: Publisher, channel: str, connect: Connect
) -> None:
    slow = await connect(events_url(gateway, channel), receive_buffer_bytes=4096)
    data = "x" * 1000
    publisher.publish_many(Event(channel=channel, data=data) for _ in range(600))
    await aeventually(lambda: metrics(gateway)["fanlight_laggard_retention_seconds"] < math.inf)
    values = metrics(gateway)
    assert values["fanlight_streams_replaying"] == 1
    assert 0 < values["fanlight_laggard_retention_seconds"] <= 3600
    assert 0 < values["fanlight_laggard_retention_left_ratio"] < 1
    assert values["fanlight_laggard_behind_seconds"] >= 0
    # Now the stream is cut down to less than the laggard needs.
    for _ in range(200):
        publisher.publish(channel, data, retention_events=10)
    await aeventually(lambda: metrics(gateway)["fanlight_laggard_retention_seconds"] == 0)
    assert metrics(gateway)["fanlight_laggard_retention_left_ratio"] == 0
    last = publisher.publish(channel, "last").id
    await slow.until(lambda: slow.events[-1].id == last)
    assert gaps(slow.events)
    await aeventually(lambda: metrics(gateway)["fanlight_laggard_retention_seconds"] == math.inf)
    assert metrics(gateway)["fanlight_laggard_behind_seconds"] == 0
    assert metrics(gateway)["fanlight_laggard_retention_left_ratio"] == 1
    assert "laggards_not_read" not in gateway.log
