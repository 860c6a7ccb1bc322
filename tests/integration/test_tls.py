"""rediss://: everything works with the right authorities, and nothing with others. There is no fallback.

On an installed server that speaks TLS, which Debian's redis-server does and the bundled Valkey does not.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from publisher import AsyncPublisher, Publisher, RedisUnreachable
from tests.support.certificates import Authority
from tests.support.fork_server import ROOT
from tests.support.gateway_process import GatewayProcess
from tests.support.http import events_path, request
from tests.support.processes import free_port
from tests.support.redis_server import RedisServer
from tests.support.sentinels import SERVICE, Sentinel
from tests.support.streams import metrics
from tests.support.tokens import SECRET, token
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect

pytestmark = pytest.mark.once
CANARY = "CaNaRy-of-redis"
HOST = "127.0.0.1"


class Tls:
    """A server with a certificate for 127.0.0.1, a user with a password, and authorities good and bad."""

    def __init__(self, binary: str, directory: Path) -> None:
        good, other = Authority(directory / "ca.pem"), Authority(directory / "other.pem")
        certificate = str(good.issue(directory / "server.pem", HOST))
        self.good, self.other = str(good.file), str(other.file)
        self.port = free_port()
        options = {"tls-port": str(self.port), "tls-cert-file": certificate, "tls-key-file": certificate}
        options |= {"tls-ca-cert-file": self.good, "tls-auth-clients": "no"}
        self.server = RedisServer(binary=binary, options=options)
        self.sentinel = Sentinel(binary, directory / "sentinel", free_port(), secrets.token_hex(20))
        self.sentinel.login = "someone", CANARY
        self.sentinel.options = {**options, "tls-port": str(free_port()), "tls-replication": "yes"}

    def url(self, host: str = HOST, port: int = 0) -> str:
        return f"rediss://someone:{CANARY}@{host}:{port or self.port}/0"

    def sentinel_url(self, host: str = HOST) -> str:
        port = self.sentinel.options["tls-port"]
        return f"rediss+sentinel://someone:{CANARY}@{host}:{port}/{SERVICE}"

    def plain_client(self) -> redis.Redis:
        """Who says neither HELLO nor a password."""
        return self.server.client(decode_responses=True, protocol=2)

    def asked_for_a_password(self) -> bool:
        """Whether any client has come as far as to say its password: only then has it trusted the server."""
        info = self.plain_client().info("commandstats")
        return bool({"cmdstat_auth", "cmdstat_hello"} & info.keys())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        pytest.skip("no redis-server or valkey-server on PATH; the bundled one does not speak TLS")
    prepared = Tls(binary, tmp_path_factory.mktemp("tls"))
    with closing(prepared.server) as server:
        try:
            server.start()
        except AssertionError as error:
            if "tls-port" not in str(error):
                raise
            pytest.skip(f"{binary} does not speak TLS")
        server.client().execute_command(  # type: ignore[no-untyped-call]
            "ACL SETUSER", "someone", "on", f">{CANARY}", "~*", "&*", "+@all"
        )
        with closing(prepared.sentinel):
            prepared.sentinel.configure(prepared.port, [], [])
            prepared.sentinel.start()
            yield prepared


@pytest.mark.parametrize("named", [False, True], ids=["one server", "named by a sentinel"])
async def test_everything_goes_over_tls(
    tls: Tls, start_gateway: StartGateway, connect: Connect, prefix: str, channel: str, named: bool
) -> None:
    """The link, the reads, the probe, tickets, both publishers, POST /publish and the command."""
    url, ca_file = tls.sentinel_url() if named else tls.url(), tls.good
    gateway = start_gateway(
        redis_url=url, redis_ca_file=ca_file, jwt_secret=SECRET, anonymous_subscribe=None, probe_seconds=0.1
    )
    with Publisher(url, prefix=prefix, ca_file=ca_file) as publisher:
        publisher.publish(channel, "missed")
    everything = token(["*"], ["*"])
    ticket = request(gateway, "POST", "/ticket", token=everything).body["ticket"]
    stream = await connect(gateway.url + events_path(channel, last="1", ticket=ticket), live=False)
    await stream.until(lambda: any(event.type == "fanlight.open" for event in stream.events))
    async with AsyncPublisher(url, prefix=prefix, ca_file=ca_file) as publisher:
        await publisher.publish(channel, "async")
    body = {"channel": channel, "data": "http"}
    assert request(gateway, "POST", "/publish", token=everything, body=body).status == 200
    flags = [f"--redis-url={url}", f"--redis-ca-file={ca_file}", f"--prefix={prefix}"]
    program = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
    command = [*program, "publish", channel, "command", *flags]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    await stream.until(lambda: stream.events[-1].data == "command")
    wanted = ["missed", "async", "http", "command"]
    assert [event.data for event in stream.events if event.type == "message"] == wanted
    await aeventually(lambda: metrics(gateway)["fanlight_redis_probes_total{heard}"] > 0)
    assert CANARY not in gateway.log


NOT_TRUSTED = [
    pytest.param(
        HOST, "other", "not trusted: certificate signature failure", id="the authority of somebody else"
    ),
    pytest.param(HOST, None, "not trusted: self-signed", id="the system's authorities"),
    pytest.param("localhost", "good", "not trusted: Hostname mismatch", id="another name"),
    pytest.param("plain", "good", "no hand-shake within", id="a server that speaks no TLS"),
]


@pytest.mark.parametrize(("host", "authority", "said"), NOT_TRUSTED)
async def test_who_is_not_trusted_is_told_nothing(
    tls: Tls, prefix: str, host: str, authority: str | None, said: str
) -> None:
    plain = host == "plain"
    url = tls.url(HOST, tls.server.port) if plain else tls.url(host)
    ca_file = {"good": tls.good, "other": tls.other}.get(authority or "")
    tls.plain_client().config_resetstat()
    with (
        Publisher(url, prefix=prefix, ca_file=ca_file, deadline_seconds=0.1) as publisher,
        pytest.raises(RedisUnreachable) as sync_error,
    ):
        publisher.publish("a", "x")
    async with AsyncPublisher(url, prefix=prefix, ca_file=ca_file, deadline_seconds=0.1) as async_publisher:
        with pytest.raises(RedisUnreachable) as async_error:
            await async_publisher.publish("a", "x")
    gateway = GatewayProcess(
        redis_url=url,
        redis_ca_file=ca_file,
        prefix=prefix,
        link_deadline_seconds=0.5 if plain else 3,
        publish_token=GatewayProcess.PUBLISH_TOKEN,
        log_level="debug",
    )
    with closing(gateway):
        gateway.start(wait=False)

        def lost() -> list[str]:
            records = (record for record in gateway.log_records if record["event"] == "redis_lost")
            return [record["error"] for record in records if said in record["error"]]

        told = eventually(lost)[0]
        body = {"channel": "a", "data": "x"}
        answer = request(gateway, "POST", "/publish", token=GatewayProcess.PUBLISH_TOKEN, body=body)
        status, ready = gateway.admin_get("/readyz")
        shed = request(gateway, "GET", events_path("a"))
        exposition = gateway.admin_get("/metrics")[1]
        values, log = metrics(gateway), gateway.log
    assert plain or "redis_ca_file" in told
    assert (answer.status, status, shed.raw[:7]) == (503, 503, b"retry: ")
    assert values["fanlight_redis_generations_total"] == 0
    assert not tls.asked_for_a_password(), "and nothing was sent"
    for text in (
        str(sync_error.value),
        str(async_error.value),
        log,
        answer.raw.decode(),
        ready.decode(),
        exposition.decode(),
    ):
        assert CANARY not in text
    assert HOST not in answer.body["detail"]
