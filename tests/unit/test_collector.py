"""A stop that waits for nobody: spans that are left are not worth it."""

from __future__ import annotations

import asyncio
import threading

import pytest
from opentelemetry.sdk.resources import Resource

from gateway.tracing import collector
from gateway.tracing.collector import Collector
from tests.support.otlp import NOWHERE


async def test_a_stop_leaves_a_collector_that_hangs_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_LAST_SECONDS", 0.01)
    hung, released = Collector(NOWHERE, Resource({}), 10), threading.Event()
    shut_down = hung.provider.shutdown
    monkeypatch.setattr(hung.provider, "shutdown", lambda: released.wait(60) and shut_down())
    try:
        async with asyncio.timeout(30):
            await hung.aclose()
    finally:
        released.set()


async def test_a_stop_with_nothing_left_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "_LAST_SECONDS", 1000.0)
    async with asyncio.timeout(30):
        await Collector(NOWHERE, Resource({}), 10).aclose()
