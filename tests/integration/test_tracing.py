"""From a publisher through Redis and two nodes to a collector: one trace."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from gateway.settings import Settings
from publisher import AsyncPublisher, Event, InvalidTraceparent, Publisher
from publisher.channels import Channel, Partition
from publisher.payload import FIELD
from tests.integration.test_publish_http import post
from tests.integration.test_workers import open_on_all, pids, readiness
from tests.support.gateway_process import GatewayProcess
from tests.support.otlp import NOWHERE, OtlpCollector
from tests.support.streams import events_url, metrics
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.otlp import Span
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once  # what the script makes of it is asked in test_script.py

TOKEN = GatewayProcess.PUBLISH_TOKEN


@pytest.fixture(scope="module")
def collector() -> Iterator[OtlpCollector]:
    with OtlpCollector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(share_gateway: StartGateway, collector: OtlpCollector) -> list[GatewayProcess]:
    """Two nodes that trace."""
    return [share_gateway(otlp_endpoint=collector.endpoint, publish_token=TOKEN) for _ in range(2)]


def new_traceparent(*, sampled: bool = True) -> tuple[str, str, str]:
    """One that nobody has had, its trace's id, and its span's."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace_id}-{span_id}-{int(sampled):02x}", trace_id, span_id


def has_loaded(gateway: GatewayProcess, library: str) -> bool:
    """Whether its process has this shared library."""
    return library in Path(f"/proc/{gateway.pid}/maps").read_text()


async def spans_of(collector: OtlpCollector, trace_id: str, count: int) -> list[Span]:
    await aeventually(lambda: len(collector.of(trace_id)) >= count)
    spans = collector.of(trace_id)
    assert len(spans) == count
    return spans


# What a span says.


async def test_each_node_makes_one_span_whatever_the_number_of_streams(
    traced: list[GatewayProcess],
    collector: OtlpCollector,
    publisher: Publisher,
    channel: str,
    connect: Connect,
) -> None:
    one, other = traced
    streams = [await connect(events_url(node, channel)) for node in (one, one, one, other)]
    traceparent, trace_id, span_id = new_traceparent()
    before_ns = time.time_ns()
    published = publisher.publish(channel, "Grüße", traceparent=traceparent)
    for stream in streams:
        event = await stream.next_event()
        assert (event.id, event.data) == (published.id, "Grüße")
    spans = await spans_of(collector, trace_id, 2)
    assert sorted(span.attributes.pop("fanlight.streams") for span in spans) == [1, 3]
    assert {span.resource["process.pid"] for span in spans} == {one.pid, other.pid}
    sizes = sorted(span.attributes.pop("fanlight.bytes") for span in spans)
    assert sizes[0] > len("Grüße")
    assert sizes[1] == 3 * sizes[0]
    for span in spans:
        assert (span.name, span.kind, span.parent_id) == ("fanlight fan-out", "CONSUMER", span_id)
        assert span.attributes == {
            "messaging.system": "fanlight",
            "messaging.operation.name": "fan-out",
            "messaging.operation.type": "process",
            "messaging.destination.name": channel,
            "messaging.message.id": published.id,
            "messaging.message.body.size": len("Grüße".encode()),
        }
        assert span.resource["service.name"] == "fanlight"
        # Redis' clock is cut to milliseconds, and known to half a round trip.
        assert before_ns - 1_000_000_000 < span.start_ns <= span.end_ns <= time.time_ns()
    assert spans[0].span_id != spans[1].span_id


async def test_no_client_sees_the_trace(
    traced: list[GatewayProcess], publisher: Publisher, channel: str, connect: Connect
) -> None:
    traceparent, trace_id, _ = new_traceparent()
    stream = await connect(events_url(traced[0], channel))
    publisher.publish(channel, "x", traceparent=traceparent)
    await stream.until(lambda: len(stream.events) == 2)
    again = await connect(events_url(traced[0], channel, last=1), live=False)
    await again.until(lambda: len(again.events) == 2)
    for connection in (stream, again):
        assert not any(trace_id in f"{event}" for event in connection.events)


async def test_what_is_not_to_be_recorded_or_has_no_trace_makes_no_span(
    traced: list[GatewayProcess],
    collector: OtlpCollector,
    publisher: Publisher,
    channel: str,
    connect: Connect,
) -> None:
    stream = await connect(events_url(traced[0], channel))
    unsampled, _, _ = new_traceparent(sampled=False)
    last, last_id, _ = new_traceparent()
    publisher.publish(channel, 1, traceparent=unsampled)
    publisher.publish(channel, 2)
    publisher.publish(channel, 3, traceparent=last)
    await stream.until(lambda: len(stream.events) == 4)
    await spans_of(collector, last_id, 1)
    spans = [span for span in collector.spans if span.attributes["messaging.destination.name"] == channel]
    assert [span.trace_id for span in spans] == [last_id]


# The ways in.


def stored(client: redis.Redis, prefix: str, channel: str) -> list[str]:
    """The heads of a channel's entries."""
    entries: Any = client.xrange(Partition(prefix).stream(Channel(channel)))
    return [fields[FIELD].split(b"\n")[0].decode() for _, fields in entries]


async def test_the_libraries_write_it_behind_the_head_and_nothing_where_there_is_none(
    client: redis.Redis, publisher: Publisher, shared_prefix: str, redis_server: RedisServer, channel: str
) -> None:
    wanted = [new_traceparent()[0] for _ in range(4)]
    publisher.publish(channel, 0)
    publisher.publish(channel, 1, traceparent=wanted[0])
    publisher.publish_many([Event(channel=channel, data=2, traceparent=wanted[1])])
    async with AsyncPublisher(redis_server.url, prefix=shared_prefix) as asynchronous:
        await asynchronous.publish([channel], 3, traceparent=wanted[2])
        await asynchronous.publish_many(
            [Event(channel=channel, data=4, traceparent=wanted[3]), Event(channel=channel, data=5)]
        )
    heads = stored(client, shared_prefix, channel)
    behind = [head.split(" ")[4:] for head in heads]
    traced = [["event", f"traceparent={traceparent}"] for traceparent in wanted]
    assert behind == [["event"], *traced, ["event"]]


def test_a_retry_keeps_the_trace_of_the_first(
    client: redis.Redis, publisher: Publisher, shared_prefix: str, channel: str
) -> None:
    first, second = new_traceparent()[0], new_traceparent()[0]
    publisher.publish(channel, 1, idempotency_key="k", traceparent=first)
    assert publisher.publish(channel, 1, idempotency_key="k", traceparent=second).duplicate
    assert [head.rpartition("=")[2] for head in stored(client, shared_prefix, channel)] == [first]


def test_a_bad_one_that_a_caller_gives_publishes_nothing(
    client: redis.Redis, publisher: Publisher, shared_prefix: str, channel: str
) -> None:
    with pytest.raises(InvalidTraceparent, match="expected one such as 00-"):
        publisher.publish(channel, 1, traceparent="00-abc")
    assert stored(client, shared_prefix, channel) == []


def test_post_publish_goes_on_with_the_requests_trace(
    traced: list[GatewayProcess], client: redis.Redis, shared_prefix: str, channel: str
) -> None:
    traceparent, _, _ = new_traceparent()
    rows = [{"channel": channel, "data": 1}, {"channel": channel, "data": 2}]
    assert post(traced[0], rows, headers={"Traceparent": traceparent}).body["published"] == 2
    assert [head.rpartition("=")[2] for head in stored(client, shared_prefix, channel)] == [traceparent] * 2


@pytest.mark.parametrize("wrong", ["", "00-abc", f"00-{'A' * 32}-{'B' * 16}-01", "x" * 5000])
def test_a_bad_one_of_a_request_counts_as_none(
    traced: list[GatewayProcess], client: redis.Redis, shared_prefix: str, channel: str, wrong: str
) -> None:
    """As the standard says: what traces requests must not make them fail."""
    answer = post(traced[0], {"channel": channel, "data": 1}, headers={"traceparent": wrong})
    assert answer.status == 200
    [head] = stored(client, shared_prefix, channel)
    assert head.endswith(" event")


async def test_an_application_that_traces_is_one_trace_with_the_gateways(
    traced: list[GatewayProcess],
    collector: OtlpCollector,
    redis_server: RedisServer,
    shared_prefix: str,
    channel: str,
    connect: Connect,
) -> None:
    stream = await connect(events_url(traced[0], channel))
    explicit, explicit_id, explicit_span = new_traceparent()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")
    with tracer.start_as_current_span("request") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
        with Publisher(redis_server.url, prefix=shared_prefix, tracing=True) as publisher:
            publisher.publish(channel, 1)
            publisher.publish(channel, 2, traceparent=explicit)
        async with AsyncPublisher(redis_server.url, prefix=shared_prefix, tracing=True) as asynchronous:
            await asynchronous.publish(channel, 3)
    assert not trace.get_current_span().get_span_context().is_valid
    await stream.until(lambda: len(stream.events) == 4)
    await spans_of(collector, trace_id, 2)
    [given] = await spans_of(collector, explicit_id, 1)
    assert given.parent_id == explicit_span


# Bounds.


async def test_what_is_over_the_rate_is_counted_and_delivered_all_the_same(
    share_gateway: StartGateway,
    collector: OtlpCollector,
    publisher: Publisher,
    channel: str,
    connect: Connect,
) -> None:
    gateway = share_gateway(otlp_endpoint=collector.endpoint, max_spans_per_second=0.001)
    stream = await connect(events_url(gateway, channel))
    traces = [new_traceparent() for _ in range(20)]
    publisher.publish_many(Event(channel=channel, data=1, traceparent=each) for each, _, _ in traces)
    await stream.until(lambda: len(stream.events) == 21)
    await aeventually(lambda: metrics(gateway)["fanlight_spans_total{exported}"] == 1)
    assert metrics(gateway)["fanlight_limits_hit_total{spans_per_second}"] == 19
    assert sum(len(collector.of(trace_id)) for _, trace_id, _ in traces) == 1


async def test_a_collector_that_does_not_answer_costs_spans_and_nothing_else(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, channel: str, connect: Connect
) -> None:
    with OtlpCollector() as slow, Publisher(redis_server.url, prefix=prefix) as publisher:
        slow.released.clear()
        gateway = start_gateway(otlp_endpoint=slow.endpoint, max_queued_spans=3, max_spans_per_second=0)
        stream = await connect(events_url(gateway, channel))
        publisher.publish_many(
            Event(channel=channel, data=1, traceparent=new_traceparent()[0]) for _ in range(50)
        )
        await stream.until(lambda: len(stream.events) == 51)
        assert metrics(gateway)["fanlight_limits_hit_total{queued_spans}"] == 47
        slow.released.set()
        await aeventually(lambda: metrics(gateway)["fanlight_spans_total{exported}"] == 3)
        publisher.publish(channel, 2, traceparent=new_traceparent()[0])
        await aeventually(lambda: metrics(gateway)["fanlight_spans_total{exported}"] == 4)


async def test_a_collector_that_is_down_harms_nobody(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, channel: str, connect: Connect
) -> None:
    gateway = start_gateway(otlp_endpoint=f"{NOWHERE}?key=CANARY")
    stream = await connect(events_url(gateway, channel))
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        publisher.publish(channel, 1, traceparent=new_traceparent()[0])
        assert (await stream.next_event()).data == "1"
    assert await asyncio.to_thread(gateway.terminate) == 0, "it does not wait for long"


async def test_a_collector_that_refuses_is_told_once_and_so_is_that_it_takes_spans_again(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, channel: str, connect: Connect
) -> None:
    with OtlpCollector() as refusing, Publisher(redis_server.url, prefix=prefix) as publisher:
        refusing.status = 400  # which is for good: it is not tried again
        gateway = start_gateway(otlp_endpoint=f"{refusing.endpoint}?key=CANARY")
        stream = await connect(events_url(gateway, channel))

        async def traced_event(outcome: str, total: int) -> None:
            publisher.publish(channel, "x", traceparent=new_traceparent()[0])
            await stream.next_event()
            await aeventually(lambda: metrics(gateway)[f"fanlight_spans_total{{{outcome}}}"] == total)

        await traced_event("failed", 1)
        await traced_event("failed", 2)
        refusing.status = 200
        await traced_event("exported", 1)
        ours = ("traces_not_taken", "traces_taken")
        await aeventually(lambda: gateway.log_records[-1]["event"] == ours[1])
        told = [r for r in gateway.log_records if r["logger"] not in ("lifecycle", "link")]
        assert [record["event"] for record in told] == list(ours)
        assert {record["endpoint"] for record in told} == {refusing.endpoint}
        assert "400" in told[0]["error"]
        assert "CANARY" not in gateway.log


async def test_what_is_left_is_sent_at_the_end(
    start_gateway: StartGateway,
    collector: OtlpCollector,
    redis_server: RedisServer,
    prefix: str,
    channel: str,
    connect: Connect,
) -> None:
    gateway = start_gateway(otlp_endpoint=collector.endpoint)
    stream = await connect(events_url(gateway, channel))
    traceparent, trace_id, _ = new_traceparent()
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        publisher.publish(channel, 1, traceparent=traceparent)
    await stream.next_event()
    assert gateway.terminate() == 0
    await spans_of(collector, trace_id, 1)


# Processes.


async def test_each_worker_has_an_exporter_of_its_own(
    start_gateway: StartGateway,
    collector: OtlpCollector,
    redis_server: RedisServer,
    prefix: str,
    channel: str,
) -> None:
    gateway = start_gateway(otlp_endpoint=collector.endpoint, workers=2)
    await aeventually(lambda: [status for status, _ in readiness(gateway)] == ["ok", "ok"])
    clients = await open_on_all(gateway, channel)
    traceparent, trace_id, span_id = new_traceparent()
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        publisher.publish(channel, 1, traceparent=traceparent)
    spans = await spans_of(collector, trace_id, 2)
    assert {span.resource["process.pid"] for span in spans} == set(pids(gateway).values())
    assert {span.parent_id for span in spans} == {span_id}
    assert len({span.resource["service.instance.id"] for span in spans}) == 2
    assert sum(span.attributes["fanlight.streams"] for span in spans) == len(clients)
    for client in clients:
        await client.__aexit__(None, None, None)


async def test_without_the_setting_opentelemetry_is_not_even_imported(
    start_gateway: StartGateway,
    traced: list[GatewayProcess],
    redis_server: RedisServer,
    prefix: str,
    channel: str,
    connect: Connect,
) -> None:
    gateway = start_gateway()
    stream = await connect(events_url(gateway, channel))
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        publisher.publish(channel, 1, traceparent=new_traceparent()[0])
    assert (await stream.next_event()).data == "1"
    assert "fanlight_spans_total{exported}" not in metrics(gateway)
    # What is loaded with it: the library that encodes spans.
    assert has_loaded(traced[0], "_upb")
    assert not has_loaded(gateway, "_upb")


def test_without_opentelemetry_the_setting_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.settings._is_installed", lambda _: False)
    with pytest.raises(ValueError, match=r"pip install 'fanlight\[gateway,otel\]'"):
        Settings(otlp_endpoint=NOWHERE)
