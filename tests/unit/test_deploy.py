"""What the deployment files say about settings, held against the settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.settings import ENV_PREFIX, Settings
from tests.support.nginx import CONFIGURATION

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = Settings.model_validate({})
FILES = ["Dockerfile", "deploy/compose.yaml"]


@pytest.mark.parametrize("file", FILES)
def test_every_variable_is_a_setting(file: str) -> None:
    names = set(re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)", (ROOT / file).read_text()))
    assert names
    assert names <= {name.upper() for name in Settings.model_fields}


def nginx_seconds(directive: str) -> list[float]:
    text = CONFIGURATION.read_text()
    return [float(value) for value in re.findall(rf"^\s*{directive} (\d+)s;", text, re.MULTILINE)]


def test_the_proxy_outwaits_a_heartbeat() -> None:
    assert max(nginx_seconds("proxy_read_timeout")) > 2 * DEFAULTS.heartbeat_seconds


def test_the_proxy_cuts_no_client_before_the_gateway_would() -> None:
    assert nginx_seconds("send_timeout") == [DEFAULTS.stall_seconds]


def test_the_proxy_passes_the_largest_body() -> None:
    [megabytes] = re.findall(r"client_max_body_size (\d+)m;", CONFIGURATION.read_text())
    assert int(megabytes) * 1024 * 1024 == DEFAULTS.max_publish_body_bytes


def test_a_container_has_more_time_to_stop_than_a_drain_takes() -> None:
    text = (ROOT / "deploy/compose.yaml").read_text()
    [seconds] = re.findall(r"Longer than drain_wait_seconds.*\n\s*stop_grace_period: (\d+)s", text)
    assert float(seconds) >= DEFAULTS.drain_wait_seconds + DEFAULTS.drain_seconds + 5
