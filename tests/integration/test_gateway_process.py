"""The process that the other tests start, kill and restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.processes import free_port

if TYPE_CHECKING:
    from tests.conftest import StartGateway

pytestmark = pytest.mark.once


def test_a_restart_keeps_the_ports(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    urls = (gateway.events_url, gateway.admin_url)
    pid = gateway.pid
    gateway.restart()
    assert gateway.pid != pid
    assert (gateway.events_url, gateway.admin_url) == urls
    assert gateway.admin_get("/livez")[0] == 200


def test_it_ends_in_order_and_by_force(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    assert gateway.terminate() == 0
    with pytest.raises(OSError):
        gateway.admin_get("/livez")
    gateway.start()
    assert gateway.kill() == -9
    assert not gateway.alive()


def test_its_log_is_json(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    assert gateway.log_records
    assert len(gateway.log_records) == len(gateway.log.splitlines())


def test_a_gateway_that_does_not_start_shows_its_log() -> None:
    with (
        pytest.raises(AssertionError, match=r"no[-_]such[-_]setting"),
        GatewayProcess(no_such_setting=1),
    ):
        pass


def test_a_gateway_without_redis_is_not_ready_and_says_why() -> None:
    gateway = GatewayProcess(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    try:
        gateway.start(wait=False)
        with pytest.raises(AssertionError, match="is not ready"):
            gateway.wait_ready(seconds=2)
    finally:
        gateway.close()
