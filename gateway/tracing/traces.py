"""A span for each traced event that this process has written to its live streams.

It is made right after the writes, from what the batch has left behind, and costs the loop 30 us: hence the
rate (`gateway.protocol.tracing`). From there on it is the collector's thread that works.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from gateway.metrics import counters
from gateway.protocol.tracing import SpanLimits, Verdict, began_ns
from gateway.tracing.collector import Collector

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from gateway.protocol.clock_offset import ClockOffset
    from gateway.protocol.tracing import FanOut
    from publisher.traceparent import Traceparent

_NAME: Final = "fanlight fan-out"
_VERSION: Final = version("fanlight")


class Traces:
    """The spans of one process."""

    def __init__(
        self,
        endpoint: str,
        offset: ClockOffset,
        *,
        max_per_second: Callable[[], float],
        max_queued: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`endpoint` is the collector's URL for traces; `offset` tells Redis' clock."""
        self.collector = Collector(endpoint, _resource(), max_queued)
        self.verdicts: Counter[Verdict] = Counter()
        self._tracer = self.collector.provider.get_tracer("fanlight.gateway", _VERSION)
        self._limits = SpanLimits(max_per_second=max_per_second, max_queued=max_queued)
        self._offset = offset
        self._clock = clock

    def written(self, fan_outs: Iterable[FanOut]) -> None:
        """These events have been written just now."""
        ended_ns, now = time.time_ns(), self._clock()
        for fan_out in fan_outs:
            queued = self.verdicts[Verdict.SPAN] - self.collector.done
            verdict = self._limits.judge(fan_out.publication, queued=queued, now=now)
            self.verdicts[verdict] += 1
            if verdict is Verdict.SPAN:
                self._record(fan_out, ended_ns)

    def metrics(self) -> Iterable[Metric]:
        outcomes = {"exported": self.collector.exported_total, "failed": self.collector.failed_total}
        yield counters("spans", "Spans of traced events, by what became of them.", "outcome", outcomes)

    def _record(self, fan_out: FanOut, ended_ns: int) -> None:
        publication = fan_out.publication
        assert publication.traceparent is not None
        span = self._tracer.start_span(
            _NAME,
            context=_context(publication.traceparent),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "fanlight",
                "messaging.operation.name": "fan-out",
                "messaging.operation.type": "process",
                # Of no use without it, and whoever reads traces may know it; in metrics it would be a label.
                "messaging.destination.name": publication.channel,
                "messaging.message.id": str(publication.id),
                "messaging.message.body.size": len(publication.data),
                "fanlight.streams": fan_out.streams,
                "fanlight.bytes": fan_out.size_bytes,
            },
            start_time=began_ns(publication.wall_ms, self._offset.seconds, ended_ns),
        )
        span.end(ended_ns)


def _context(parent: Traceparent) -> Context:
    span_context = trace.SpanContext(
        int(parent.trace_id, 16), int(parent.parent_id, 16), is_remote=True, trace_flags=trace.TraceFlags(1)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(span_context), Context())


def _resource() -> Resource:
    """Who speaks: this process. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before all of it."""
    ours: dict[str, str | int] = {
        "service.name": "fanlight",
        "service.version": _VERSION,
        "service.instance.id": str(uuid.uuid4()),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    return Resource.create().merge(Resource(ours)).merge(OTELResourceDetector().detect())
