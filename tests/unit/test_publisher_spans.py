"""The span that a publisher makes of a call, where OpenTelemetry is set up."""

from __future__ import annotations

import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from publisher import AsyncPublisher, Publisher
from publisher.tracing import publishing


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """OpenTelemetry as an application sets it up, without the part that can be set up only once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def test_a_publish_is_a_span_of_the_current_trace(spans: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("app")
    with tracer.start_as_current_span("request") as request, publishing(traced=True)("news") as traceparent:
        pass
    [span] = [span for span in spans.get_finished_spans() if span.name == "fanlight publish"]
    assert span.kind is trace.SpanKind.PRODUCER
    assert span.parent == request.get_span_context()
    assert span.attributes is not None
    assert span.attributes["messaging.destination.name"] == "news"
    assert traceparent is not None
    assert traceparent.sampled
    assert traceparent.trace_id == f"{span.context.trace_id:032x}"
    assert traceparent.parent_id == f"{span.context.span_id:016x}"


def test_where_no_span_is_current_there_is_none(spans: InMemorySpanExporter) -> None:
    with publishing(traced=True)(None) as traceparent:
        assert traceparent is None
    assert spans.get_finished_spans() == ()


def test_a_trace_that_is_not_recorded_costs_its_events_nothing() -> None:
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("app")
    with tracer.start_as_current_span("request"), publishing(traced=True)("news") as traceparent:
        assert traceparent is None


def test_a_call_that_fails_is_a_span_that_says_so(spans: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("app")
    with (
        tracer.start_as_current_span("request"),
        pytest.raises(ZeroDivisionError),
        publishing(traced=True)("a"),
    ):
        raise ZeroDivisionError
    failed, _ = spans.get_finished_spans()
    assert not failed.status.is_ok


def test_unless_it_is_asked_for_there_is_no_span(spans: InMemorySpanExporter) -> None:
    with (
        trace.get_tracer("app").start_as_current_span("request"),
        publishing(traced=False)("a") as traceparent,
    ):
        assert traceparent is None
    assert [span.name for span in spans.get_finished_spans()] == ["request"]


@pytest.mark.parametrize("publisher", [Publisher, AsyncPublisher])
def test_a_publisher_that_is_to_trace_says_what_is_missing(
    publisher: type[Publisher | AsyncPublisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    publisher()
    with pytest.raises(ValueError, match=r"pip install 'fanlight\[otel\]'"):
        publisher(tracing=True)
