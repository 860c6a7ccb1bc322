"""What tests of event streams share: URLs, the gateway's metrics, and the look of a good stream."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.gateway_process import GatewayProcess
    from tests.support.sse import SseConnection
    from tests.support.sse_parser import Event


def unique(stem: str = "c") -> str:
    """A channel name that no other test has."""
    return f"{stem}.{uuid.uuid4().hex[:12]}"


def events_url(gateway: GatewayProcess, *channels: str, **query: object) -> str:
    """`/events` of these channels, with further parameters."""
    pairs = [("channel", channel) for channel in channels] + [(k, str(v)) for k, v in query.items()]
    return f"{gateway.events_url}?{urlencode(pairs)}"


def metrics(gateway: GatewayProcess) -> dict[str, float]:
    """The gateway's own metrics; a labelled sample is named `name{value}`."""
    status, body = gateway.admin_get("/metrics")
    assert status == 200, body
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return values


def gaps(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The data of the gaps among these events."""
    return [json.loads(event.data) for event in events if event.type == "fanlight.gap"]


def assert_clean(*connections: SseConnection) -> None:
    """Nothing on these streams trips a careless client, and ids never fall."""
    for connection in connections:
        parser = connection.parser
        assert (parser.carriage_returns, parser.blocks_without_data, parser.unknown_fields) == (0, 0, [])
        ids = [position(event.id) for event in connection.events if event.id]
        assert ids == sorted(ids), f"ids fall on {connection!r}"


def position(id_: str) -> tuple[int, int]:
    """An id's place in the order."""
    ms, seq, _ = id_.split("-")
    return int(ms), int(seq)
