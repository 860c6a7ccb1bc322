"""SIGHUP: settings change, streams stay."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.http import events_path, request
from tests.support.issuer import Issuer
from tests.support.sse import SseClient
from tests.support.streams import events_url, metrics
from tests.support.tokens import Signer, claims, eddsa, es256, hs256, jwks
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect

pytestmark = pytest.mark.once

SECRETS = ["canary-a-" + "a" * 32, "canary-b-" + "b" * 32]
TOKENS = ["canary-publish-a", "canary-publish-b"]


class Configured:
    """A node with a file of settings, which can be written anew."""

    def __init__(self, file: Path, start_gateway: StartGateway, **flags: Any) -> None:
        self._file = file
        self._flags = flags
        self._start = start_gateway

    def start(self, **values: object) -> GatewayProcess:
        self.write(**values)
        self.node = self._start(config=self._file, anonymous_subscribe=None, **self._flags)
        return self.node

    def write(self, **values: object) -> None:
        self._file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))

    def hang_up(self, **values: object) -> dict[str, Any]:
        """Write the file, send the signal; return the log record of what came of it."""
        self.write(**values)
        return self.send()

    def send(self) -> dict[str, Any]:
        before = len(self.outcomes)
        os.kill(self.node.pid, signal.SIGHUP)
        eventually(lambda: len(self.outcomes) > before, what="the reload")
        return self.outcomes[-1]

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        outcomes = {"reloaded", "reload_refused", "reload_failed"}
        return [record for record in self.node.log_records if record["event"] in outcomes]


@pytest.fixture
def configured(tmp_path: Path, start_gateway: StartGateway) -> Callable[..., Configured]:
    return lambda **flags: Configured(tmp_path / "fanlight.toml", start_gateway, **flags)


def accepted(node: GatewayProcess, signer: Signer) -> bool:
    """Whether its tokens are good: one allows a channel, and not the other that is asked for.

    Where the issuer may not be asked again so soon, the answer to others is to come back (200).
    """
    answer = request(node, "GET", events_path("b"), token=signer.sign(claims(["a"])))
    assert answer.status in (200, 401, 403), answer
    return answer.status == 403


def all_ready(node: GatewayProcess) -> bool:
    """Whether each of its workers is."""
    return all(worker["status"] == "ok" for worker in json.loads(node.admin_get("/readyz")[1])["workers"])


def publish(node: GatewayProcess, token: str) -> int:
    return request(node, "POST", "/publish", token=token, body={"channel": "a", "data": "x"}).status


async def test_secrets_change_and_streams_stay(
    configured: Callable[..., Configured], connect: Connect
) -> None:
    subject = configured(log_level="info")
    node = subject.start(jwt_secret=SECRETS[0], publish_token=TOKENS[0])
    old, new = map(hs256, SECRETS)
    token = old.sign(claims(["a"], seconds=600))
    stream = await connect(events_url(node, "a"), headers={"Authorization": f"Bearer {token}"})
    record = subject.hang_up(jwt_secret=SECRETS[1], publish_token=TOKENS[1])
    assert (record["event"], record["changed"]) == ("reloaded", ["jwt_secret", "publish_token"])
    # A key that was withdrawn lets nobody in; who is in stays.
    assert (accepted(node, old), accepted(node, new)) == (False, True)
    assert (publish(node, TOKENS[0]), publish(node, TOKENS[1])) == (401, 200)
    assert (await stream.next_event()).data == "x"
    values = metrics(node)
    assert values["fanlight_reloads_total{applied}"] == 1
    assert values["fanlight_reloads_total{refused}"] == 0
    assert values["fanlight_streams_open"] == 1
    assert "canary" not in node.log


async def test_limits_and_the_log_level_count_at_once(
    configured: Callable[..., Configured], connect: Connect
) -> None:
    subject = configured()
    node = subject.start(jwt_secret=SECRETS[0], max_channels_per_stream=1, max_last_events=1)
    token = hs256(SECRETS[0]).sign(claims(["*"], seconds=600))
    bearer = {"Authorization": f"Bearer {token}"}

    def status(*channels: str, **query: str) -> int:
        """Of what is answered without a stream: a bad method of asking, or a channel too many."""
        return request(node, "HEAD", events_path(*channels, **query), token=token).status

    assert (status("a", "b"), status("a", last="2")) == (400, 400)
    many = [f"channel-{number:04}-{'x' * 100}" for number in range(300)]
    await connect(events_url(node, "a"), headers=bearer)
    record = subject.hang_up(
        jwt_secret=SECRETS[0],
        max_channels_per_stream=300,
        max_last_events=2,
        max_upload_bytes=0,
        max_streams=2,
        log_level="debug",
        heartbeat_seconds=1,
    )
    names = ["log_level", "max_channels_per_stream", "max_last_events", "max_streams"]
    assert sorted(record["changed"]) == sorted([*names, "max_upload_bytes"])
    [warning] = [r for r in node.log_records if r["event"] == "settings_need_restart"]
    assert warning["settings"] == ["heartbeat_seconds"]
    assert status("a", "b") == 200
    assert status("a", last="2") == 200
    assert status(*many) == 200, "there is room for them in the request's line"
    # Debug lines are there now.
    with socket.create_connection((node.host, node.port), timeout=30) as sock:
        sock.sendall(b"not http\r\n\r\n")
        assert sock.recv(20).startswith(b"HTTP/1")
    eventually(lambda: [r for r in node.log_records if r["event"] == "not_http"])
    # Two streams, and no third one; and one that sends anything is closed.
    with socket.create_connection((node.host, node.port), timeout=30) as sock:
        sock.sendall(
            f"GET /events?channel=a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        await aeventually(lambda: metrics(node)["fanlight_streams_open"] == 2)
        answer = request(node, "GET", events_path("a"), token=token)
        assert (answer.status, answer.raw[:6]) == (200, b"retry:")
        sock.sendall(b"x")
        await aeventually(lambda: metrics(node)["fanlight_streams_closed_total{uploaded}"] == 1)
    subject.hang_up(jwt_secret=SECRETS[0], header_seconds=0.2)
    with socket.create_connection((node.host, node.port), timeout=30) as silent:
        assert silent.recv(1) == b"", "no headers came within header_seconds"


def test_what_anybody_may_take_counts_at_once(configured: Callable[..., Configured]) -> None:
    """The limits of `gateway.http.admission` and `gateway.http.connection`: raised, and lowered again."""
    subject = configured()
    wide = {"jwt_secret": SECRETS[0], "publish_token": TOKENS[0], "max_connections": 50}
    node = subject.start(**wide)
    signer = hs256(SECRETS[0])
    token = signer.sign(claims(["a"], publish=["a"], sub="ann"))
    good = {"authorization": f"Bearer {token}"}

    def status(method: str, path: str, **headers: str) -> int:
        return request(node, method, path, headers=good | headers).status

    def published() -> int:
        return publish(node, token)

    def heads() -> list[int]:
        """Of a request with one large header, and of one whose headers are large together."""
        paddings = {"x-padding": "x" * 2000}, {f"x-padding-{n}": "x" * 600 for n in range(3)}
        return [status("HEAD", events_path("a"), **padding) for padding in paddings]

    assert heads() == [200, 200]
    assert [published() for _ in range(3)] == [200] * 3
    assert [status("POST", "/ticket") for _ in range(3)] == [200] * 3
    narrow = {"max_header_bytes": 1024, "max_publish_per_second": 0.001, "max_tickets_per_second": 0.001}
    record = subject.hang_up(**wide, **narrow)
    assert sorted(record["changed"]) == sorted(narrow)
    assert heads() == [431, 431]
    assert [published() for _ in range(3)] == [200, 429, 429]
    assert [status("POST", "/ticket") for _ in range(3)] == [200, 429, 429]
    subject.hang_up(**wide)
    assert heads() == [200, 200]
    assert published() == 200
    assert status("POST", "/ticket") == 200
    subject.hang_up(**wide, max_header_bytes=65_536, body_seconds=0.2)
    assert status("HEAD", events_path("a"), **{"x-padding": "x" * 30_000}) == 200
    for path in ("/publish", "/disconnect"):
        fields = f"Host: x\r\nAuthorization: Bearer {TOKENS[0]}\r\nContent-Type: application/json\r\n"
        with socket.create_connection((node.host, node.port), timeout=30) as slow:
            slow.sendall(f"POST {path} HTTP/1.1\r\n{fields}Content-Length: 9\r\n\r\n".encode())
            assert slow.recv(12) == b"HTTP/1.1 408"
    # No connection but those that are open, and room again.
    subject.hang_up(**wide | {"max_connections": 1})
    with socket.create_connection((node.host, node.port), timeout=30):
        eventually(lambda: metrics(node)["fanlight_connections"] == 1)
        with socket.create_connection((node.host, node.port), timeout=30) as second:
            assert second.recv(1) == b""
        assert metrics(node)["fanlight_limits_hit_total{connections}"] == 1
        subject.hang_up(**wide)
        assert published() == 200


@pytest.mark.parametrize("limit", ["max_streams_per_address", "max_streams_per_subject"])
async def test_the_streams_of_one_client_count_at_once(
    configured: Callable[..., Configured], connect: Connect, limit: str
) -> None:
    subject = configured(trusted_proxies="127.0.0.1")
    one = {"jwt_secret": SECRETS[0], limit: 1}
    node = subject.start(**one)
    token = hs256(SECRETS[0]).sign(claims(["a"], sub="ann", seconds=600))
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.1"}
    hits = f"fanlight_limits_hit_total{{{limit.removeprefix('max_')}}}"

    def turned_away() -> bool:
        """Whether a further stream is told to come back, and ended at once."""
        before = metrics(node)[hits]
        accept = {"Accept": "text/event-stream"}
        answer = request(node, "GET", events_path("a"), headers=headers | accept)
        assert (answer.status, answer.raw[:6]) == (200, b"retry:")
        return metrics(node)[hits] == before + 1

    await connect(events_url(node, "a"), headers=headers)
    assert turned_away()
    subject.hang_up(**one | {limit: 2})
    await connect(events_url(node, "a"), headers=headers)
    assert turned_away()
    subject.hang_up(**one)
    assert turned_away()
    assert metrics(node)["fanlight_streams_open"] == 2, "a lower limit puts nobody out"


async def test_a_reload_that_is_wrong_changes_nothing(configured: Callable[..., Configured]) -> None:
    subject = configured()
    good = {"jwt_secret": SECRETS[0], "max_last_events": 1}
    node = subject.start(**good)
    wrong: list[tuple[dict[str, object], str]] = [
        ({"max_streams": 0}, "max_streams: key max_streams in"),
        ({"max_stream": 5}, "did you mean max_streams?"),
        ({"jwt_secret": "canary-short"}, "jwt_secret: "),
        ({"jwt_keys_file": "/nowhere"}, "jwt_keys_file: cannot read /nowhere"),
        ({"retention_seconds": 100}, "max_stream_age_seconds"),
    ]
    for number, (values, told) in enumerate(wrong, 1):
        record = subject.hang_up(**{**good, "max_last_events": 2, **values})
        assert record["event"] == "reload_refused"
        assert told in "\n".join(record["faults"]), record
        assert metrics(node)["fanlight_reloads_total{refused}"] == number
    signer = hs256(SECRETS[0])
    answer = request(node, "HEAD", events_path("a", last="2"), token=signer.sign(claims(["a"])))
    assert answer.status == 400
    assert accepted(node, signer)
    assert "canary" not in node.log
    assert subject.hang_up(**good)["changed"] == []


def test_keys_of_a_file_and_of_an_issuer_are_read_anew(
    configured: Callable[..., Configured], tmp_path: Path
) -> None:
    in_file, issued = [es256("a"), es256("b")], [eddsa("c"), eddsa("d")]
    keys = tmp_path / "keys.json"
    keys.write_bytes(jwks(in_file[0]))
    with Issuer(tmp_path) as issuer:
        issuer.publish(issued[0])
        subject = configured(jwks_ca_file=issuer.ca_file, jwks_pause_seconds=3600, jwks_refresh_seconds=3600)
        node = subject.start(jwt_keys_file=str(keys), jwks_url=issuer.url)
        eventually(lambda: metrics(node)["fanlight_jwks_keys"] == 1)
        assert all(accepted(node, signer) for signer in (in_file[0], issued[0]))
        keys.write_bytes(jwks(in_file[1]))
        issuer.publish(issued[1])
        record = subject.send()
        assert record["changed"] == ["jwt_keys_file"]
        eventually(lambda: metrics(node)["fanlight_jwks_fetches_total{succeeded}"] == 2)
        assert [accepted(node, signer) for signer in (*in_file, *issued)] == [False, True, False, True]


async def test_all_workers_change_and_those_that_are_replaced_have_the_new_settings(
    configured: Callable[..., Configured], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    a, b = es256("a"), es256("b")
    keys.write_bytes(jwks(a))
    subject = configured(workers=2, retry_ms=20)
    node = subject.start(jwt_keys_file=str(keys), max_streams=4)
    eventually(lambda: all_ready(node))
    bearer = {"Authorization": f"Bearer {a.sign(claims(['a'], seconds=600))}"}
    async with SseClient(events_url(node, "a"), headers=bearer) as client:
        await client.opened()
        keys.write_bytes(jwks(b))
        assert subject.hang_up(jwt_keys_file=str(keys), max_streams=4)["changed"] == ["jwt_keys_file"]
        # The kernel deals connections out: ask until both must have been asked.
        await aeventually(lambda: all(accepted(node, b) and not accepted(node, a) for _ in range(8)))
        assert len(client.connections) == 1
        assert metrics(node)["fanlight_reloads_total{applied}"] == 1
    keys.write_bytes(b"half a file")
    [pid, *_] = [record["pid"] for record in node.log_records if record["event"] == "worker_started"]
    os.kill(pid, signal.SIGHUP)  # is the supervisor's: a worker goes on
    assert accepted(node, b)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len([r for r in node.log_records if r["event"] == "worker_started"]) == 3)
    eventually(lambda: all_ready(node))
    assert all(accepted(node, b) for _ in range(8))
    assert subject.send()["event"] == "reload_refused"
    assert all(accepted(node, b) for _ in range(8))
