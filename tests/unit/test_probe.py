"""The probe, where its PUBLISH does not get through."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from redis.exceptions import RedisError

from gateway.broker.primary import Primary
from gateway.broker.probe import Probe
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from gateway.broker.link import Link


def probe_that_meets(error: Exception, monkeypatch: pytest.MonkeyPatch) -> Probe:
    state = SimpleNamespace(connected=True, generation=1)
    primary = Primary("redis://127.0.0.1:1/0", deadline_seconds=1)
    link = cast("Link", SimpleNamespace(state=state, probe_channel="probe", url="redis://127.0.0.1:1/0"))
    probe = Probe(primary, link, interval_seconds=0.001, deadline_seconds=1)

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(probe, "_publish", fail)
    return probe


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), RedisError()], ids=type)
async def test_a_probe_that_is_not_published_says_nothing(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = probe_that_meets(error, monkeypatch)
    running = asyncio.create_task(probe.run())
    await aeventually(lambda: probe.failed_total > 2 or running.done())
    assert not running.done()
    assert probe.silent_total == 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_error_that_is_no_loss_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="another loop"):
        await probe_that_meets(RuntimeError("another loop"), monkeypatch).run()
