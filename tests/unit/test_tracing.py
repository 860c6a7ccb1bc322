"""Which traced events get a span, and what they are told to have reached."""

from __future__ import annotations

import pytest

from gateway.hub.groups import Groups
from gateway.hub.subscription import Subscription
from gateway.protocol.publication import Publication
from gateway.protocol.sse import Encoding
from gateway.protocol.tracing import SpanLimits, Verdict, began_ns
from gateway.settings import Settings
from gateway.workers.supervisor import share
from publisher.channels import Channel

A, B = Channel("a"), Channel("b")
SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-1] + "0"


def event(traceparent: str | None = None, channel: Channel = A, number: int = 1) -> Publication:
    extension = b"" if traceparent is None else b" traceparent=%b" % traceparent.encode()
    return Publication.decode(channel, b"1 %d-0-0a1b2c 0-0 7000 event%b\n\nhello" % (number, extension))


# The limits.


def judged(limits: SpanLimits, count: int, *, now: float, queued: int = 0) -> list[str]:
    return [limits.judge(event(SAMPLED), queued=queued, now=now).value for _ in range(count)]


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED])
def test_a_trace_that_nobody_records_gets_no_span_and_costs_the_others_none(traceparent: str | None) -> None:
    limits = SpanLimits(max_per_second=lambda: 1, max_queued=1)
    for _ in range(10):
        assert limits.judge(event(traceparent), queued=5, now=0.0) is Verdict.UNSAMPLED
    assert judged(limits, 1, now=0.0) == ["span"]


def test_so_many_spans_a_second_and_the_others_are_told_apart() -> None:
    limits = SpanLimits(max_per_second=lambda: 2, max_queued=10)
    assert judged(limits, 4, now=0.0) == ["span", "span", "over_rate", "over_rate"]
    assert judged(limits, 2, now=0.5) == ["span", "over_rate"]
    assert judged(limits, 4, now=9.0) == ["span", "span", "over_rate", "over_rate"]


def test_a_rate_of_0_bounds_nothing() -> None:
    assert judged(SpanLimits(max_per_second=lambda: 0, max_queued=10), 50, now=0.0) == ["span"] * 50


def test_the_rate_of_a_node_is_divided_among_its_workers() -> None:
    assert share(Settings(workers=4, max_spans_per_second=10), 8080).max_spans_per_second == 2.5


def test_a_collector_that_takes_nothing_costs_no_more_than_its_queue() -> None:
    limits = SpanLimits(max_per_second=lambda: 3, max_queued=2)
    assert judged(limits, 9, now=0.0, queued=2) == ["over_queue"] * 9
    assert judged(limits, 4, now=0.0, queued=1) == ["span"] * 3 + ["over_rate"], (
        "they took nothing of the rate"
    )


@pytest.mark.parametrize(
    ("wall_ms", "offset_seconds", "ended_ms", "began_ms"),
    [
        pytest.param(7_000, 0.0, 7_009, 7_000, id="one clock"),
        pytest.param(7_000, 2.5, 4_509, 4_500, id="Redis' is ahead"),
        pytest.param(7_000, -2.5, 9_509, 9_500, id="Redis' is behind"),
        pytest.param(7_000, None, 7_009, 7_000, id="nobody knows"),
        pytest.param(7_000, 0.0, 6_999, 6_999, id="written before it was published, it seems"),
        pytest.param(0, 5.0, 7_000, 0, id="before time began"),
    ],
)
def test_a_span_begins_when_redis_took_the_event(
    wall_ms: int, offset_seconds: float | None, ended_ms: int, began_ms: int
) -> None:
    assert began_ns(wall_ms, offset_seconds, ended_ms * 1_000_000) == began_ms * 1_000_000


# What a batch has reached.


class Sink:
    full = False

    def __init__(self) -> None:
        self.bytes = 0

    def ready(self) -> None: ...

    def write(self, data: bytes) -> None:
        self.bytes += len(data)

    def end(self, _: object) -> None: ...


def follow(groups: Groups, *channels: Channel, envelope: bool = False) -> tuple[Subscription, Sink]:
    sink = Sink()
    subscription = Subscription(sink, channels, encoding=Encoding(envelope=envelope))
    groups.join(subscription)
    return subscription, sink


def test_one_fan_out_for_an_event_however_many_streams_get_it() -> None:
    groups = Groups()
    groups.tracing = True
    sinks = [follow(groups, A)[1], follow(groups, A)[1], follow(groups, A, B, envelope=True)[1]]
    follow(groups, B)
    traced = event(SAMPLED)
    groups.add(traced)
    [fan_out] = groups.take_fan_outs()
    groups.flush()
    assert (fan_out.publication, fan_out.streams) == (traced, 3)
    assert fan_out.size_bytes == sum(sink.bytes for sink in sinks) > 0
    assert groups.take_fan_outs() == []


def test_who_has_left_before_the_write_is_not_counted() -> None:
    groups = Groups()
    groups.tracing = True
    follow(groups, A)
    gone, _ = follow(groups, A)
    groups.add(event(SAMPLED))
    groups.leave(gone)
    [fan_out] = groups.take_fan_outs()
    assert fan_out.streams == 1


def test_what_has_no_trace_and_what_nobody_follows_is_not_told() -> None:
    groups = Groups()
    groups.tracing = True
    follow(groups, A)
    groups.add(event())
    groups.add(event(SAMPLED, B))
    assert groups.take_fan_outs() == []


def test_nothing_is_kept_where_nobody_asks() -> None:
    groups = Groups()
    follow(groups, A)
    groups.add(event(SAMPLED))
    assert groups.traced == []
