"""Users of Redis with few rights: exactly those that docs/security.md gives, on a real server."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

import pytest
import redis

from publisher import AsyncPublisher, ChannelClosed, Event, Publisher, RedisRefused, RevocationsFull
from tests.support.acl import documented_users, each_without_a_right
from tests.support.gateway_process import GatewayProcess
from tests.support.http import events_path, request
from tests.support.streams import events_url, metrics
from tests.support.tokens import SECRET, token
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.redis_server import RedisServer

PREFIX = "few"
PASSWORD = "S3CRET-of-redis"
TAG = f"{{{PREFIX}:0}}"
USERS = documented_users(PREFIX, PASSWORD)
GATEWAY, PUBLISHER = "fanlight-gateway", "fanlight-publisher"
Words = list[str]
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_OURS = frozenset({"ACL", "CLIENT", "DEL", "ECHO", "HELLO", "SCRIPT"})
"""What these tests ask themselves. Everybody may say HELLO."""


class Monitor:
    """What a server is asked, by clients and by scripts, while the block runs."""

    def __init__(self, server: RedisServer) -> None:
        self.commands: list[Words] = []
        self._server = server
        self._end = f"end-of-monitor-{id(self)}"

    def __enter__(self) -> Self:
        self._socket = socket.create_connection((self._server.host, self._server.port))
        self._socket.sendall(b"MONITOR\r\n")
        self._lines = self._socket.makefile(encoding="utf-8", errors="replace")
        assert self._lines.readline() == "+OK\n"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def _listen(self) -> None:
        for line in self._lines:
            words = [_ESCAPE.sub(r"\1", word) for word in _QUOTED.findall(line)]
            if words[-1] == self._end:
                return
            self.commands.append(words)

    def __exit__(self, *_: object) -> None:
        self._server.client().echo(self._end)
        self._thread.join(30)
        self._lines.close()
        self._socket.close()


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    """A server with the documented users."""
    for name in (GATEWAY, PUBLISHER):  # the third is one of sentinels
        ask(own_redis, "ACL SETUSER", name, *USERS[name])
    return own_redis


def ask(server: RedisServer, *words: str) -> Any:
    """What it answers to who may do everything."""
    client: Any = server.client(decode_responses=True)
    return client.execute_command(*words)


def url_of(server: RedisServer, user: str) -> str:
    return f"redis://{user}:{PASSWORD}@{server.host}:{server.port}/0"


def refused(server: RedisServer) -> list[str]:
    """What the users were refused, by the server's own account."""
    entries = ask(server, "ACL LOG")
    fields = [dict(zip(e[::2], e[1::2], strict=True)) if isinstance(e, list) else e for e in entries]
    return [f"{e['username']}: {e['reason']} {e['object']} ({e['context']})" for e in fields]


def needless_rights(server: RedisServer, name: str, asked: list[Words]) -> list[str]:
    """The rights of a user without which all that it asked would be allowed just the same."""
    distinct = {tuple(words) for words in asked}
    needless = []
    for right, rest in each_without_a_right(USERS[name]):
        ask(server, "ACL SETUSER", f"less-{name}", "reset", *rest)
        answers = [ask(server, "ACL DRYRUN", f"less-{name}", *words) for words in distinct]
        if all(answer == "OK" for answer in answers):
            needless.append(right)
    return needless


async def publish_all_ways(server: RedisServer) -> None:
    with Publisher(url_of(server, PUBLISHER), prefix=PREFIX, deadline_seconds=30) as publisher:
        publisher.publish("a", "one", idempotency_key="k")
        assert publisher.publish("a", "one", idempotency_key="k").duplicate
        publisher.publish_many([Event(channel=name, data=n) for n, name in enumerate("abc")])
        publisher.close("closed")
        with pytest.raises(ChannelClosed):
            publisher.publish("closed", "late")
        server.client().script_flush()
        publisher.publish("b", "brings the script along")
    async with AsyncPublisher(url_of(server, PUBLISHER), prefix=PREFIX, deadline_seconds=30) as publisher:
        await publisher.publish("a", "two")
        await publisher.publish_many([Event(channel="a", data=n) for n in range(3)])


async def test_the_publisher_has_the_rights_that_it_needs_and_no_other(server: RedisServer) -> None:
    with Monitor(server) as monitor:
        await publish_all_ways(server)
        url = url_of(server, PUBLISHER)
        with Publisher(url, prefix=PREFIX, deadline_seconds=30, max_revocations=1) as publisher:
            publisher.revoke(subject="42")
            with pytest.raises(RevocationsFull):
                publisher.revoke(subject="43")
    assert refused(server) == []
    asked = [words for words in monitor.commands if words[0].upper() not in _OURS]
    asked.append(["SCRIPT", "LOAD", "x"])
    assert needless_rights(server, PUBLISHER, asked) == []


async def test_the_gateway_has_the_rights_that_it_needs_and_no_other(
    server: RedisServer, start_gateway: StartGateway, connect: Connect
) -> None:
    """From the start on: replays, tickets, the probe, a lost link, an empty partition."""
    await publish_all_ways(server)
    admin = server.client()
    with Monitor(server) as monitor:
        gateway = start_gateway(
            redis_url=url_of(server, GATEWAY),
            prefix=PREFIX,
            jwt_secret=SECRET,
            anonymous_subscribe=None,
            probe_seconds=0.1,
            position_read_seconds=0.1,
            heartbeat_seconds=0.2,
            linger_seconds=0,
        )
        ticket = request(gateway, "POST", "/ticket", token=token(["*"])).body["ticket"]
        stream = await connect(gateway.url + events_path("a", last="2", ticket=ticket), live=False)
        await stream.until(lambda: any(event.type == "fanlight.open" for event in stream.events))
        bearer = {"Authorization": f"Bearer {token(['*'])}"}
        other = await connect(events_url(gateway, "b"), headers=bearer)
        await other.close()
        await aeventually(lambda: metrics(gateway)["fanlight_channels"] == 1)  # `b` was unsubscribed
        await aeventually(lambda: metrics(gateway)["fanlight_redis_probes_total{heard}"] > 0)
        await aeventually(lambda: inspected(gateway)["answered"] == 1)
        # The server forgets all: the node begins the partition anew, as it may when it starts.
        admin.delete(f"{TAG}:meta")
        await aeventually(lambda: metrics(gateway)["fanlight_redis_generations_total"] == 2)
        await aeventually(lambda: metrics(gateway)["fanlight_redis_connected"] == 1)
    await publish_all_ways(server)
    await stream.until(lambda: "two" in [event.data for event in stream.events])
    assert refused(server) == []
    assert metrics(gateway)["fanlight_tickets_redeemed_total"] == 1
    asked = [words for words in monitor.commands if words[0].upper() not in _OURS]
    asked.append(["CLIENT", "INFO"])  # once a minute
    asked += [["XINFO", "STREAM", f"{TAG}:stream:a"], ["PTTL", f"{TAG}:stream:a"]]  # while a client lags
    assert needless_rights(server, GATEWAY, asked) == []


def test_a_gateway_that_takes_post_publish_needs_the_rights_of_both(
    server: RedisServer, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(
        redis_url=url_of(server, GATEWAY), prefix=PREFIX, publish_token=GatewayProcess.PUBLISH_TOKEN
    )

    def publish() -> int:
        body = {"channel": "a", "data": 1}
        return request(gateway, "POST", "/publish", token=GatewayProcess.PUBLISH_TOKEN, body=body).status

    assert publish() == 507
    told = [record for record in gateway.log_records if record["event"] == "publish_failed"]
    assert len(told) == 1
    assert "permission" in told[0]["error"]
    of_publisher = [rule for rule in USERS[PUBLISHER] if rule[0] in "~&+"]
    ask(server, "ACL SETUSER", GATEWAY, *of_publisher)
    assert publish() == 200


def inspected(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.admin_get("/inspect/snapshot")[1])
    return found


def test_a_gateway_that_may_not_ask_others_serves_streams_and_says_why(
    server: RedisServer, start_gateway: StartGateway
) -> None:
    """As after an upgrade, before its user was given the new rights."""
    without = [rule.replace("&{few:0}:inspect:*", "").strip() for rule in USERS[GATEWAY]]
    ask(server, "ACL SETUSER", GATEWAY, *(rule for rule in without if rule))
    gateway = start_gateway(redis_url=url_of(server, GATEWAY), prefix=PREFIX)
    told = eventually(lambda: [r for r in gateway.log_records if r["event"] == "inspection_off"])
    assert "permission" in told[0]["error"]
    found = inspected(gateway)
    assert (found["asked_others"], found["answered"], found["nodes"][0]["state"]) == (False, 1, "ready")
    assert metrics(gateway)["fanlight_redis_generations_total"] == 1
    ask(server, "ACL SETUSER", GATEWAY, *USERS[GATEWAY])
    eventually(lambda: inspected(gateway)["asked_others"], seconds=90)


REFUSED = re.compile(r"(?i)no permissions|The user executing the script can't|can't run this command")
# In every line, a command that is refused. Each is one that a stolen password would be used for.
OF_NOBODY = [
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "DBSIZE",
    "CONFIG GET *",
    "CONFIG SET maxmemory 1",
    "ACL LIST",
    "ACL SETUSER x on",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "MONITOR",
    "SHUTDOWN",
    "SAVE",
    "REPLICAOF no one",
    "SCRIPT FLUSH",
    "FUNCTION LIST",
    "PUBSUB CHANNELS",
    "SLOWLOG GET",
    "PSUBSCRIBE *",
    "SSUBSCRIBE x",
    "DEL TAG:stream:a",
    "UNLINK TAG:meta",
    "RENAME TAG:meta TAG:x",
    "XTRIM TAG:stream:a MAXLEN 0",
    "XDEL TAG:stream:a 1-1",
    "DUMP TAG:stream:a",
    "EXPIRE TAG:meta 1",
    "GET other",
    "GET {other:0}:tail:a",
    "SET TAG:else x",
    "HGETALL TAG:meta",
    "SUBSCRIBE {other:0}:live:a",
    "PUBLISH {other:0}:live:a x",
    "EVAL x 1 {other:0}:meta",
]
OF_GATEWAY = [
    "PUBLISH TAG:live:a x",
    "PUBLISH TAG:inspected:a x",
    "XADD TAG:stream:a * m x",
    "SET TAG:tail:a x",
    "SET TAG:meta x",
    "SET TAG:once:a#k x",
    "GETDEL TAG:tail:a",
    "GETDEL TAG:meta",
    "HSET TAG:tail:a position 1",
    "PEXPIRE TAG:stream:a 1",
    "EVALSHA 0 1 TAG:meta",
    "EVAL x 1 TAG:stream:a",
    "EVAL return_redis.call('publish','TAG:live:a','x') 1 TAG:meta",
    "EVAL return_redis.call('xadd','TAG:stream:a','*','m','x') 1 TAG:meta",
    "MGET TAG:ticket:x",
    "MGET TAG:once:a#k",
]
OF_PUBLISHER = [
    "SUBSCRIBE TAG:live:a",
    "SUBSCRIBE TAG:probe:x",
    "PUBLISH TAG:probe:x x",
    "SUBSCRIBE TAG:inspect:ask",
    "PUBLISH TAG:inspect:ask x",
    "GET TAG:ticket:x",
    "SET TAG:ticket:x x",
    "GETDEL TAG:ticket:x",
    "XRANGE TAG:stream:a - +",
    "MGET TAG:tail:a",
    "CLIENT INFO",
    "EVAL return_redis.call('set','TAG:ticket:x','x') 1 TAG:meta",
    "EVAL return_redis.call('flushall') 1 TAG:meta",
]


@pytest.mark.parametrize(
    ("user", "commands"), [(GATEWAY, OF_NOBODY + OF_GATEWAY), (PUBLISHER, OF_NOBODY + OF_PUBLISHER)]
)
def test_what_the_users_may_not(server: RedisServer, user: str, commands: list[str]) -> None:
    with redis.Redis.from_url(url_of(server, user), driver_info=None, protocol=2) as client:
        for command in commands:
            words = [w.replace("return_redis", "return redis").replace("TAG", TAG) for w in command.split()]
            with pytest.raises(redis.ResponseError, match=REFUSED):
                client.execute_command(*words)
    assert server.client().ping()


def test_a_publisher_without_rights_says_so_at_once(server: RedisServer) -> None:
    with (
        Publisher(url_of(server, GATEWAY), prefix=PREFIX, deadline_seconds=30) as publisher,
        pytest.raises(RedisRefused, match="permission") as caught,
    ):
        publisher.publish("a", "x")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        (PUBLISHER, PASSWORD, "permission"),
        (GATEWAY, "wrong-canary", "WRONGPASS"),
        ("nobody", "a-canary", "WRONGPASS"),
    ],
)
def test_a_gateway_without_rights_says_so_in_its_log(
    server: RedisServer, user: str, password: str, said: str
) -> None:
    url = f"redis://{user}:{password}@{server.host}:{server.port}/0"
    with closing(GatewayProcess(redis_url=url, prefix=PREFIX)) as gateway:
        gateway.start(wait=False)
        told = eventually(lambda: [r for r in gateway.log_records if r["event"] == "redis_lost"])[0]
        assert said.lower() in told["error"].lower()
        assert password not in gateway.log + str(gateway.admin_get("/readyz"))
