"""`fanlight check` against servers that are misconfigured, one way each."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from gateway.check.findings import Finding, Severity
from gateway.check.rights import Denial, rights
from gateway.check.server import Reached, Server
from gateway.cli import main
from gateway.settings import Settings
from gateway.survey import survey
from gateway.survey.server import look_at_server
from publisher import Publisher
from tests.support.fake_redis import FakeRedis
from tests.support.issuer import Issuer
from tests.support.processes import free_port
from tests.support.streams import events_url
from tests.support.tokens import SECRET, es256

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer

PASSWORD = "canary-of-a-password"
USER = "gateway"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("FANLIGHT_"):
            monkeypatch.delenv(name)


def look(url: str, **values: Any) -> Server:
    return look_at_server(Settings(redis_url=url, **values))


def findings(url: str, **values: Any) -> dict[str, Finding]:
    """By subject."""
    own = {"port": 0, "admin_port": 0, "jwt_secret": SECRET}
    return {finding.subject: finding for finding in survey(Settings(redis_url=url, **{**own, **values}))}


def give_rights(server: RedisServer, prefix: str, *more: str) -> str:
    """A user with what the table names, and nothing else; its URL."""
    commands = [f"+{right.command}" for right in rights(prefix)]
    tag = f"{{{prefix}:0}}:*"
    words = ["reset", "on", f">{PASSWORD}", f"~{tag}", f"&{tag}", "-@all", *commands, *more]
    execute: Any = server.client().execute_command
    execute("ACL SETUSER", USER, *words)
    return server.url.replace("redis://", f"redis://{USER}:{PASSWORD}@")


def test_a_server_that_is_as_it_should_be(own_redis: RedisServer) -> None:
    client = own_redis.client()
    client.config_set("maxmemory", "100mb")
    found = findings(own_redis.url)
    assert found["redis"].text.startswith(f"{own_redis.url} is ")
    others = {name: finding for name, finding in found.items() if finding.severity is not Severity.OK}
    assert "redis persistence" in others, "it keeps nothing"
    machine = {"descriptors", "somaxconn", "tcp_max_syn_backlog", "ip_local_port_range", "nf_conntrack_max"}
    assert others.keys() <= machine | {"tcp_mem", "wmem_max", "redis persistence", "redis latency"}, others
    assert client.keys() == [], "nothing was written"


def test_what_a_configuration_does(own_redis: RedisServer) -> None:
    client, limit = own_redis.client(), "client-output-buffer-limit"
    wrong: list[tuple[dict[str, str], str, Severity, str]] = [
        ({"maxmemory": "0"}, "redis memory", Severity.WARNING, "no maxmemory"),
        ({"maxmemory": "100mb"}, "redis memory", Severity.OK, "of 100.0 MiB"),
        ({"maxmemory-policy": "volatile-ttl"}, "redis eviction", Severity.FAULT, "volatile-ttl"),
        ({"maxmemory-policy": "noeviction"}, "redis eviction", Severity.OK, "noeviction"),
        ({limit: "pubsub 0 0 0"}, "redis output buffer", Severity.WARNING, "no limit"),
        ({limit: "pubsub 1mb 1mb 9"}, "redis output buffer", Severity.WARNING, "1.0 MiB"),
        ({"timeout": "7"}, "redis timeout", Severity.WARNING, "after 7 s"),
        ({"maxclients": "30"}, "redis clients", Severity.WARNING, "of 30 connected"),
        ({"appendonly": "yes"}, "redis persistence", Severity.OK, "append-only"),
        ({"appendonly": "no", "save": "3600 1"}, "redis persistence", Severity.NOTE, "snapshots only"),
        ({"maxmemory": "1"}, "redis memory", Severity.FAULT, "events are refused"),
    ]  # fmt: skip
    for options, subject, severity, told in wrong:
        for name, value in options.items():
            client.config_set(name, value)
        found = findings(own_redis.url)[subject]
        assert (found.severity, told in found.text) == (severity, True), (options, found)
    # Full: the rights can be told all the same, and nothing is written.
    assert findings(own_redis.url)["redis rights"].severity is Severity.OK
    client.replicaof(own_redis.host, free_port())
    assert "replica" in findings(own_redis.url)["redis role"].text


def test_each_right_that_is_missing_is_named(own_redis: RedisServer, prefix: str) -> None:
    url = give_rights(own_redis, prefix)
    assert look(url, prefix=prefix).denied == ()
    for right in rights(prefix):
        give_rights(own_redis, prefix, f"-{right.command}")
        server = look(url, prefix=prefix)
        assert server.reached is Reached.YES
        assert {(found.command, why) for found, why in server.denied} == {(right.command, Denial.COMMAND)}
    tag = f"{{{prefix}:0}}:"
    for rules, kind, expected in (
        (["resetkeys", f"~{tag}[^m]*"], Denial.KEY, {"hmget", "hset"}),
        (["resetkeys", f"~{tag}[^t]*"], Denial.KEY, {"get", "mget", "set", "getdel"}),
        (
            ["resetchannels", f"&{tag}live:*", f"&{tag}inspect:*"],
            Denial.CHANNEL,
            {"publish", "subscribe"},
        ),
    ):
        give_rights(own_redis, prefix, *rules)
        denied = look(url, prefix=prefix).denied
        assert {(right.command, why) for right, why in denied} == {(name, kind) for name in expected}
    found = findings(url, prefix=prefix, publish_token="x")
    assert found["redis rights"].severity is Severity.FAULT
    assert found["redis rights"].advice == f"ACL SETUSER {USER} '&{tag}probe:*'"
    give_rights(own_redis, prefix, "resetchannels", f"&{tag}live:*", f"&{tag}probe:*")
    told = findings(url, prefix=prefix)["redis rights"]  # it can't ask other nodes, and serves all the same
    assert (told.severity, told.advice) == (Severity.WARNING, f"ACL SETUSER {USER} '&{tag}inspect:*'")
    # What it may not ask is told as not known.
    assert found["redis output buffer"].severity is Severity.NOTE
    assert own_redis.client().keys() == []


def test_a_user_that_only_follows_is_no_fault_where_nobody_publishes_by_the_gateway(
    own_redis: RedisServer, prefix: str
) -> None:
    url = give_rights(own_redis, prefix, "-xadd", "-evalsha")
    assert findings(url, prefix=prefix)["redis rights"].severity is Severity.NOTE
    assert findings(url, prefix=prefix, publish_token="x")["redis rights"].severity is Severity.FAULT


async def test_the_rights_that_are_tried_are_all_that_is_needed(
    own_redis: RedisServer, prefix: str, start_gateway: StartGateway, connect: Connect
) -> None:
    url = give_rights(own_redis, prefix)
    node = start_gateway(redis_url=url, prefix=prefix)
    stream = await connect(events_url(node, "a"))
    with Publisher(url, prefix=prefix) as publisher:
        publisher.publish("a", "one", idempotency_key="k")
        assert (await stream.next_event()).data == "one"
        late = await connect(events_url(node, "a", last=1), live=False)
        assert (await late.next_event()).data == "one"
        publisher.close("a")
    assert (await stream.next_event()).type == "fanlight.end"
    assert "NOPERM" not in node.log


def test_a_server_that_can_not_be_used(own_redis: RedisServer, tmp_path: Path, prefix: str) -> None:
    own = give_rights(own_redis, prefix)
    host = f"{own_redis.host}:{own_redis.port}"
    with Issuer(tmp_path) as tls:
        cases = [
            (f"redis://127.0.0.1:{free_port()}/0", Reached.AWAY),
            (f"unix://{tmp_path}/no.sock", Reached.AWAY),
            (own.replace(PASSWORD, "canary-wrong"), Reached.PASSWORD),
            (f"redis://nobody:{PASSWORD}@{host}/0", Reached.PASSWORD),
            (f"rediss://u:{PASSWORD}@{host}/0", Reached.TLS),
            (f"rediss://127.0.0.1:{tls.port}/0", Reached.TLS),
            (f"redis://127.0.0.1:{tls.port}/0", Reached.AWAY),
        ]
        for url, expected in cases:
            server = look(url, link_deadline_seconds=1)
            assert server.reached is expected, (url, server)
            assert "canary" not in repr(server)
    own_redis.client().config_set("requirepass", PASSWORD)
    assert look(own_redis.url).reached is Reached.PASSWORD


@pytest.mark.once
def test_a_server_that_is_too_old() -> None:
    with FakeRedis(redis_version="6.2.14", role="master") as old:
        found = findings(old.url)
        assert found["redis"].severity is Severity.FAULT
        assert found["redis"].text == f"{old.url} is Redis 6.2.14"
        assert found["clock"].severity is Severity.WARNING, "it is 1970 there"
    with FakeRedis(redis_version="7.2.4", redis_mode="cluster", rdb_last_bgsave_status="err") as cluster:
        found = findings(cluster.url)
        assert "Cluster" in found["redis role"].text
        assert found["redis persistence"].severity is Severity.FAULT


@pytest.mark.once
def test_keys_issuer_and_certificates(redis_server: RedisServer, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    with Issuer(tmp_path) as issuer:
        issuer.publish(es256("a"), es256("b"))
        url = f"{issuer.url}?key=canary"
        own = {"jwks_url": url, "jwt_keys_file": str(bad), "jwks_ca_file": str(issuer.ca_file)}
        found = findings(redis_server.url, **own)
        assert found["jwks_url"].text == f"2 keys from {issuer.url}"
        assert found["keys"].text.startswith("jwt_keys_file: ")
        assert found["jwks_ca_file"].severity is Severity.WARNING, "it is good for a day"
    found = findings(redis_server.url, **own)
    assert found["jwks_url"].severity is Severity.FAULT
    assert "canary" not in repr(found)


@pytest.mark.once
def test_ports(redis_server: RedisServer, gateway_process: GatewayProcess) -> None:
    ports = {"port": gateway_process.port, "admin_port": gateway_process.admin_port}
    found = findings(redis_server.url, host=gateway_process.host, **ports)
    assert {found[name].severity for name in ports} == {Severity.NOTE}
    found = findings(redis_server.url, admin_host="127.0.0.1", admin_port=redis_server.port)
    assert found["admin_port"].severity is Severity.FAULT
    assert "Address already in use" in found["admin_port"].text


@pytest.mark.once
def test_the_command(own_redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    own_redis.client().config_set("maxmemory", "100mb")
    flags = ["--port=0", "--admin-port=0", "--max-streams=100", f"--jwt-secret=canary-{SECRET}"]
    url = [f"--redis-url={own_redis.url}"]
    assert main(["check", *flags, *url]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith("ok       redis")
    assert shown.splitlines()[-1].endswith(" 0 fault")
    own_redis.client().config_set("timeout", "7")
    assert main(["check", "--strict", *flags, *url]) == 1
    capsys.readouterr()
    away = [f"--redis-url=redis://user:{PASSWORD}@127.0.0.1:{free_port()}/0"]
    assert main(["check", "--json", *flags, *away]) == 1
    told = capsys.readouterr().out
    assert json.loads(told)["counts"]["fault"] == 1
    assert main(["check", "--max-streams=none", "--retention-seconds=7"]) == 1
    shown += told + capsys.readouterr().out
    assert "fault    settings max_streams: flag --max-streams: expected a whole number" in shown
    assert "canary" not in shown
