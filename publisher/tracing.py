"""The publisher's part of a trace, for processes that use OpenTelemetry.

Off, unless it is asked for. Then each call makes one span, however many events it publishes, and they all
belong to it. Only where a span is current, and so somebody has decided whether the trace is recorded. Of one
that is not, events carry nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias

from publisher.traceparent import Traceparent

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

Publishing: TypeAlias = "Callable[[str | None], AbstractContextManager[Traceparent | None]]"
"""To be entered around a call that publishes to this channel, or to several (None): what its events belong
to, unless they say otherwise."""


def publishing(*, traced: bool) -> Publishing:
    """What a publisher enters around each call. ValueError if it is to be traced, and can't be."""
    return _with_spans() if traced else _untraced


def _untraced(_: str | None) -> AbstractContextManager[None]:
    return nullcontext()


def _with_spans() -> Publishing:
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        raise ValueError("tracing needs OpenTelemetry: pip install 'fanlight[otel]'") from None
    tracer = trace.get_tracer("fanlight.publisher", version("fanlight"))

    @contextmanager
    def traced(channel: str | None) -> Iterator[Traceparent | None]:
        if not trace.get_current_span().get_span_context().is_valid:
            yield None
            return
        attributes = {
            "messaging.system": "fanlight",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
        }
        if channel is not None:
            attributes["messaging.destination.name"] = channel
        with tracer.start_as_current_span(
            "fanlight publish", kind=trace.SpanKind.PRODUCER, attributes=attributes
        ) as span:
            yield _traceparent(span.get_span_context())

    return traced


def _traceparent(context: SpanContext) -> Traceparent | None:
    if not context.trace_flags.sampled:
        return None
    return Traceparent.parse(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}")
