"""The password of Redis is told nowhere, in whatever state the link to it is.

A canary in the URL, looked for in the log, the metrics, `/readyz`, the answers of the public port, and what
the commands print. What is told to a server that is not trusted is in test_tls.py: nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cli import main
from tests.support.gateway_process import GatewayProcess
from tests.support.http import events_path, request
from tests.support.tokens import SECRET, token
from tests.support.wait import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartGateway
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once
CANARY = "CaNaRy"
PASSWORD = f"{CANARY}/1"
ENCODED = f"{CANARY}%2F1"
OTHER = "another-password"


def give(server: RedisServer, password: str = PASSWORD, *rules: str) -> None:
    execute: Any = server.client().execute_command
    execute("ACL SETUSER", "someone", "reset", "on", f">{password}", "~*", "&*", "+@all", *rules)


STATES = {
    "connected": ("redis://someone:{}@{}/0", PASSWORD, ()),
    "connected, by the query": ("redis://{1}/0?username=someone&password={0}", PASSWORD, ()),
    "without rights": ("redis://someone:{}@{}/0", PASSWORD, ("-@all",)),
    "a wrong password": ("redis://someone:{}@{}/0", OTHER, ()),
    "no such user": ("redis://nobody:{}@{}/0", PASSWORD, ()),
    "no TLS": ("rediss://someone:{}@{}/0", PASSWORD, ()),
    "away": ("redis://someone:{}@127.0.0.1:1/0", PASSWORD, ()),
    "lost": ("redis://someone:{}@{}/0", PASSWORD, ()),
}


def said_by(gateway: GatewayProcess) -> dict[str, bytes]:
    """All that can be had of it."""
    everything = token(["*"], ["*"], sub="s", jti="t")
    answers = [
        request(gateway, "GET", events_path("a"), headers={"Accept": "application/json"}),
        request(gateway, "POST", "/ticket", token=everything),
        request(gateway, "POST", "/publish", token=everything, body={"channel": "a", "data": 1}),
        request(gateway, "POST", "/publish", token=everything, body=[{"channel": "a", "data": 1}]),
        request(
            gateway, "POST", "/disconnect", token=GatewayProcess.PUBLISH_TOKEN, body={"subject": "somebody"}
        ),
    ]
    told = {path: gateway.admin_get(path)[1] for path in ("/readyz", "/livez", "/metrics")}
    return told | {"answers": b"\n".join(answer.raw for answer in answers), "log": gateway.log.encode()}


def printed_by_commands(url: str, capsys: pytest.CaptureFixture[str]) -> dict[str, bytes]:
    flags = [f"--redis-url={url}", "--port=0", "--admin-port=0", "--link-deadline-seconds=0.5"]
    told = {}
    for words in (["check", *flags], ["check", "--json", *flags]):
        main(words)
        told[" ".join(words[:2])] = "".join(capsys.readouterr()).encode()
    return told


@pytest.mark.parametrize("state", STATES)
def test_a_password_is_told_nowhere(
    state: str,
    own_redis: RedisServer,
    start_gateway: StartGateway,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("FANLIGHT_")]:
        monkeypatch.delenv(name)
    template, password, rules = STATES[state]
    give(own_redis, password, *rules)
    url = template.format(ENCODED, f"{own_redis.host}:{own_redis.port}")
    gateway = GatewayProcess(
        redis_url=url,
        prefix="canary",
        jwt_secret=SECRET,
        publish_token=GatewayProcess.PUBLISH_TOKEN,
        anonymous_subscribe=None,
        link_deadline_seconds=0.5,
        probe_seconds=0.1,
        log_level="debug",
    )
    try:
        gateway.start(wait=state.startswith(("connected", "lost")))
        if state == "lost":
            own_redis.kill()
        if not state.startswith("connected"):
            eventually(lambda: "redis_lost" in gateway.log)
        told = said_by(gateway) | printed_by_commands(url, capsys)
    finally:
        gateway.close()
    assert [place for place, text in told.items() if not text] == []
    assert [place for place, text in told.items() if CANARY.encode() in text] == []


@pytest.mark.parametrize(
    "url",
    [
        f"redis://someone:{CANARY}#1@127.0.0.1:1/0",
        f"redis://someone:{CANARY}/1@127.0.0.1:1/0",
        f"redis://someone:{CANARY}@127.0.0.1:x/0",
        f"redis://someone:{CANARY}@127.0.0.1:1/7",
        f"redis://someone:{CANARY}@[::1/0",
        f"http://someone:{CANARY}@127.0.0.1/0",
        f"redis://127.0.0.1:1/0?password={CANARY}&socket_timeout=never",
    ],
)
def test_a_url_that_is_no_good_is_not_quoted(
    url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a flag, a variable and a file."""
    file = tmp_path / "fanlight.toml"
    file.write_text(f'redis_url = "{url}"\n')
    for words in (["serve", f"--redis-url={url}"], ["check", f"--redis-url={url}"], [f"--config={file}"]):
        assert main(words if words[0] != f"--config={file}" else ["serve", *words]) != 0
    monkeypatch.setenv("FANLIGHT_REDIS_URL", url)
    for words in (["serve"], ["publish", "a", "x"], ["disconnect", "--subject=s"]):
        assert main(words) != 0
    printed = "".join(capsys.readouterr())
    assert "redis_url" in printed.lower().replace("-", "_")
    assert CANARY not in printed
