"""`gateway.workers.exposition`: the metrics of several processes in one exposition."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from gateway.metrics import Exposition, counter, counters, gauge, histogram, info
from gateway.protocol.histogram import Histogram
from gateway.workers.exposition import labelled


def text(streams: float) -> str:
    latency = Histogram((0.1, 1))
    latency.observe(streams)
    families = [
        info("build", "What runs.", {"version": "1"}),
        gauge("streams_open", "Open.", streams),
        counter("streams_opened", "Opened.", 10 * streams),
        counters("gaps", "Gaps.", "reason", {"trimmed": streams, "expired": 0}),
        histogram("latency_seconds", "Latency.", latency),
    ]
    return Exposition(lambda: families).text().decode()


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def test_each_sample_says_whose_it_is_and_each_family_stands_once() -> None:
    registry = CollectorRegistry()
    registry.register(_Families(labelled({0: text(3), 4: text(5)})))
    lines = generate_latest(registry).decode().splitlines()
    for line in (
        'fanlight_build_info{version="1",worker="0"} 1.0',
        'fanlight_streams_open{worker="0"} 3.0',
        'fanlight_streams_open{worker="4"} 5.0',
        'fanlight_streams_opened_total{worker="4"} 50.0',
        'fanlight_gaps_total{reason="trimmed",worker="0"} 3.0',
        'fanlight_gaps_total{reason="expired",worker="4"} 0.0',
        'fanlight_latency_seconds_bucket{le="1.0",worker="0"} 0.0',
        'fanlight_latency_seconds_bucket{le="+Inf",worker="0"} 1.0',
        'fanlight_latency_seconds_sum{worker="4"} 5.0',
        'fanlight_latency_seconds_count{worker="4"} 1.0',
    ):
        assert lines.count(line) == 1, line
    types = [line for line in lines if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))
    assert "# TYPE fanlight_streams_opened_total counter" in types
    assert "# TYPE fanlight_latency_seconds histogram" in types
    assert "# HELP fanlight_streams_opened_total Opened." in lines
