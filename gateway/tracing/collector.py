"""The way to the collector: OTLP over HTTP, in batches, by a thread of OpenTelemetry's.

A collector that is slow or away costs spans, and nothing else: what waits for it is bounded before a span is
made, so the loop never waits, and the thread's failures are a number and one line of the log.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from gateway.logs import get_logger
from gateway.settings import redact_url

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_PERIOD_MS: Final = 1000
_BATCH: Final = 512
_TIMEOUT_SECONDS: Final = 5.0
"""For a batch, with all its retries."""
_LAST_SECONDS: Final = 3.0
"""How long a stop waits for the last ones."""


class Collector:
    """Takes spans, counts them, and never makes anybody wait."""

    def __init__(self, endpoint: str, resource: Resource, max_queued: int) -> None:
        """`max_queued` spans at most are given to it that are not `done` yet."""
        self._exporter = _Exporter(endpoint)
        # Whether there is a span is decided before it is made: by the parent's flag, and by the limits.
        self.provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=max_queued,
                schedule_delay_millis=_PERIOD_MS,
                max_export_batch_size=min(_BATCH, max_queued),
            )
        )

    @property
    def exported_total(self) -> int:
        return self._exporter.exported_total

    @property
    def failed_total(self) -> int:
        return self._exporter.failed_total

    @property
    def done(self) -> int:
        """Spans that wait no more, however that came."""
        return self.exported_total + self.failed_total

    async def aclose(self) -> None:
        """Send what is left, if that goes fast."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self.provider.shutdown()
            with suppress(RuntimeError):  # nobody has waited for so long, and the loop is closed
                loop.call_soon_threadsafe(sent.set)

        # Not one of the loop's threads: at its end it waits for them.
        threading.Thread(target=shut_down, name="last-spans", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await sent.wait()


class _Exporter(SpanExporter):
    """OpenTelemetry's, whose outcomes are counted, and told when they change. Its calls are a thread's."""

    def __init__(self, endpoint: str) -> None:
        self._exporter = OTLPSpanExporter(endpoint, timeout=_TIMEOUT_SECONDS)
        self._endpoint = redact_url(endpoint)
        self._said = _Said()
        self._taken: bool | None = None
        self._log = get_logger("traces")
        self.exported_total = 0
        self.failed_total = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._said.first = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # whatever it is, it must not end the thread's counting
            self._said.first = repr(error)
            result = SpanExportResult.FAILURE
        taken = result is SpanExportResult.SUCCESS
        if taken:
            self.exported_total += len(spans)
        else:
            self.failed_total += len(spans)
        self._tell(taken)
        return result

    def _tell(self, taken: bool) -> None:
        """Once, until it changes: what fails once a second would be all that the log says."""
        if taken == self._taken:
            return
        self._taken = taken
        if taken:
            self._log.info("traces_taken", endpoint=self._endpoint)
        else:
            self._log.warning("traces_not_taken", endpoint=self._endpoint, error=self._said.first)

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self._said.forget()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _Said(logging.Filter):
    """The first thing that OpenTelemetry's exporter has said of a batch, in place of its own lines, of which
    there is one for each try."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""
        self._logger = logging.getLogger(OTLPSpanExporter.__module__)
        self._logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        self.first = self.first or record.getMessage()
        return False

    def forget(self) -> None:
        self._logger.removeFilter(self)
