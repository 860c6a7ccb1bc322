"""Prometheus exposition: values are read from their owners when a scrape asks, never pushed per event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from gateway.protocol.histogram import Histogram

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Source = Callable[[], Iterable[Metric]]


def gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fanlight_{name}", documentation, value=value)


def counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(f"fanlight_{name}", documentation, value=value)


def counters(
    name: str,
    documentation: str,
    labels: str | tuple[str, ...],
    values: Mapping[str, float] | Mapping[tuple[str, ...], float],
) -> Metric:
    """A counter with a label, or several, whose values are closed sets."""
    names = [labels] if isinstance(labels, str) else labels
    family = CounterMetricFamily(f"fanlight_{name}", documentation, labels=names)
    for key, value in values.items():
        family.add_metric([key] if isinstance(key, str) else key, value)
    return family


def histogram(name: str, documentation: str, values: Histogram) -> Metric:
    buckets = [
        (str(float(bound)).replace("inf", "+Inf"), float(count)) for bound, count in values.cumulative()
    ]
    return HistogramMetricFamily(f"fanlight_{name}", documentation, buckets=buckets, sum_value=values.sum)


def info(name: str, documentation: str, values: Mapping[str, str]) -> Metric:
    return InfoMetricFamily(f"fanlight_{name}", documentation, value=dict(values))


class _Sources(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        return self._source()


class Exposition:
    """One registry, so that several gateways can live in one process (as in tests)."""

    def __init__(self, source: Source) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Sources(source))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """The scrape's answer."""
        return generate_latest(self._registry)
