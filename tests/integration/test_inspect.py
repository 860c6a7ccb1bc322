"""Nodes that ask each other: the inspector of the admin port, and presence on the public one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from publisher import Event, Publisher
from publisher.channels import Partition
from tests.support.gateway_process import GatewayProcess
from tests.support.http import Answer, request
from tests.support.streams import assert_clean, events_url, metrics
from tests.support.tokens import SECRET, claims, hs256
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.redis_server import RedisServer
    from tests.support.sse import SseConnection

pytestmark = pytest.mark.once

PATIENT = {"jwt_secret": SECRET, "answer_wait_seconds": 10, "max_questions_per_second": 0}
"""A node that is there answers in time, however slow the machine is, and as often as a test asks."""


def snapshot(gateway: GatewayProcess, query: str = "") -> dict[str, Any]:
    answer = admin_request(gateway, f"/inspect/snapshot?{query}")
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.body
    return found


def states(gateway: GatewayProcess) -> list[str]:
    return sorted(node["state"] for node in snapshot(gateway)["nodes"])


def followed(gateway: GatewayProcess, query: str = "") -> dict[str, int]:
    return {channel["name"]: channel["subscribers"] for channel in snapshot(gateway, query)["channels"]}


def presence(gateway: GatewayProcess, *channels: str, allowed: list[str] | None = None) -> Answer:
    own = {"presence": ["*"] if allowed is None else allowed}
    token = hs256().sign({**claims(), "fanlight": own})
    query = "&".join(f"channel={channel}" for channel in channels)
    return request(gateway, "GET", f"/presence?{query}", token=token)


@pytest.fixture
def nodes(start_gateway: StartGateway) -> list[GatewayProcess]:
    """Two, each of which has heard of the other."""
    return meet(*(start_gateway(**PATIENT) for _ in range(2)))


@pytest.fixture
def pair(start_gateway: StartGateway) -> list[GatewayProcess]:
    """The same, but the first doesn't wait long for the second."""
    return meet(start_gateway(**PATIENT | {"answer_wait_seconds": 0.5}), start_gateway(**PATIENT))


def meet(*nodes: GatewayProcess) -> list[GatewayProcess]:
    for node in nodes:
        eventually(lambda: states(node) == ["ready"] * len(nodes))  # noqa: B023
    return list(nodes)


async def test_any_node_tells_of_all_nodes_and_of_what_is_followed_on_them(
    nodes: list[GatewayProcess], connect: Connect, redis_server: RedisServer, prefix: str
) -> None:
    for node, channels in zip([*nodes, nodes[0]], [["news", "a"], ["news", "b"], ["news"]], strict=True):
        await connect(events_url(node, *channels))
    with Publisher(redis_server.url, prefix=prefix, retention_seconds=100) as publisher:
        ids = [publisher.publish("news", number).id for number in range(3)]
        publisher.close("b")
    assert followed(nodes[1]) == {"news": 3, "a": 1, "b": 1}
    for node in nodes:
        found = snapshot(node)
        assert (found["listening"], found["answered"], found["silent"]) == (2, 2, 0)
        assert sorted(seen["streams"] for seen in found["nodes"]) == [1, 2]
        assert all(seen["redis"]["connected"] for seen in found["nodes"])
        assert found["channels_first"]
        assert found["channels_all_known"]
        kept = found["channels"][0]["kept"]
        assert (kept["length"], kept["last_id"], kept["ended"]) == (3, ids[-1], False)
        assert 0 < kept["expires_seconds"] <= 100
        assert "redis_connected" in {change["kind"] for change in found["changes"]}
    assert followed(nodes[0], "prefix=ne") == {"news": 3}
    assert followed(nodes[0], "limit=1") == {"news": 3}
    assert followed(nodes[0], "prefix=x") == {}
    [ended] = snapshot(nodes[0], "channel=b")["channels"]
    assert (ended["name"], ended["subscribers"], ended["kept"]["ended"]) == ("b", 1, True)
    [unknown] = snapshot(nodes[0], "channel=nobody")["channels"]
    assert (unknown["subscribers"], unknown["kept"]["length"], unknown["kept"]["last_id"]) == (0, 0, None)


def test_a_node_that_hangs_is_silent_and_one_that_was_killed_has_gone(pair: list[GatewayProcess]) -> None:
    here, there = pair
    there.pause()
    found = eventually(lambda: (seen := snapshot(here))["answered"] == 1 and seen)
    assert (found["listening"], found["silent"], found["silent_unknown"]) == (2, 1, 0)
    assert states(here) == ["ready", "silent"]
    there.kill()
    eventually(lambda: states(here) == ["gone", "ready"])
    [gone] = [node for node in snapshot(here)["nodes"] if node["state"] == "gone"]
    assert gone["name"].endswith(f":{there.port}")
    assert metrics(here)["fanlight_answers_missed_total"] >= 1


async def test_a_node_that_is_killed_while_it_is_asked_costs_the_asker_a_bounded_wait(
    pair: list[GatewayProcess],
) -> None:
    here, there = pair
    there.pause()
    before = metrics(here)["fanlight_questions_asked_total"]
    asked = asyncio.create_task(asyncio.to_thread(snapshot, here))
    await aeventually(lambda: metrics(here)["fanlight_questions_asked_total"] > before)
    there.kill()
    found = await asked
    assert found["answered"] == 1
    assert [node["state"] for node in found["nodes"] if "redis" not in node] == ["silent"]


async def test_workers_are_nodes_and_the_supervisor_tells_of_all(
    start_gateway: StartGateway, connect: Connect
) -> None:
    single = start_gateway(**PATIENT)
    node = start_gateway(workers=2, **PATIENT)
    await aeventually(lambda: states(node) == ["ready"] * 3)
    for _ in range(3):
        await connect(events_url(node, "a"))
    await aeventually(lambda: followed(node) == {"a": 3})
    for at in (single, node):
        workers = [seen["worker"] for seen in snapshot(at)["nodes"] if seen["name"].endswith(f":{node.port}")]
        assert workers == [0, 1]
    pids = [record["pid"] for record in node.log_records if record["event"] == "worker_started"]
    os.kill(pids[0], signal.SIGSTOP)
    try:
        status, body = await asyncio.to_thread(node.admin_get, "/inspect/snapshot?channel=no%20name")
        assert (status, json.loads(body)["status"]) == (400, 400)  # of the other worker
    finally:
        os.kill(pids[0], signal.SIGCONT)
    status, page = node.admin_get("/inspect")
    assert (status, b"inspect/inspect.js" in page) == (200, True)


async def test_a_node_without_redis_tells_of_itself(
    start_gateway: StartGateway, connect: Connect, own_redis: RedisServer
) -> None:
    node = start_gateway(redis_url=own_redis.url, reconnect_max_seconds=0.2, **PATIENT)
    await connect(events_url(node, "a"))
    await aeventually(lambda: snapshot(node)["answered"] == 1)
    own_redis.stop()
    await aeventually(lambda: not snapshot(node)["asked_others"])
    await aeventually(lambda: snapshot(node)["nodes"][0]["redis"]["last_error"])
    found = snapshot(node)
    assert [seen["redis"]["connected"] for seen in found["nodes"]] == [False]
    assert (found["channels"][0]["subscribers"], found["channels"][0]["kept"]) == (1, None)
    assert not found["channels_first"]
    await aeventually(lambda: "redis_lost" in {change["kind"] for change in snapshot(node)["changes"]})
    own_redis.start()
    await aeventually(lambda: snapshot(node)["asked_others"])


def test_a_new_link_has_a_new_line(start_gateway: StartGateway, own_redis: RedisServer) -> None:
    """The link may be at another server by now, and a question must not be put to the old one."""
    node = start_gateway(redis_url=own_redis.url, **PATIENT)
    eventually(lambda: snapshot(node)["asked_others"])
    redis: Any = own_redis.client(decode_responses=True)

    def connection(name: str) -> list[str]:
        return [client["id"] for client in redis.client_list() if client["name"] == name]

    [line], [link] = connection("fanlight-inspect"), connection("fanlight-gateway")
    redis.client_kill_filter(_id=link)
    eventually(lambda: connection("fanlight-inspect") not in ([], [line]))
    eventually(lambda: snapshot(node)["asked_others"])


async def test_a_stream_that_lags_is_shown_with_its_request_id(
    start_gateway: StartGateway, connect: Connect, redis_server: RedisServer, prefix: str
) -> None:
    node = start_gateway(
        max_questions_per_second=0, write_buffer_bytes=1000, send_buffer_bytes=4096, hot_tail_bytes=0
    )
    slow = await connect(events_url(node, "a"), receive_buffer_bytes=4096)
    with Publisher(redis_server.url, prefix=prefix, retention_events=100) as publisher:

        def lags() -> list[dict[str, Any]]:
            publisher.publish_many(Event(channel="a", data="x" * 10_000) for _ in range(3))
            found: list[dict[str, Any]] = snapshot(node)["laggards"]
            return [laggard for laggard in found if laggard["left_seconds"] is not None]

        [laggard] = await aeventually(lags)
    assert laggard["channel"] == "a"
    assert laggard["request_id"] == slow.headers["x-request-id"]
    assert laggard["behind_seconds"] >= 0
    assert snapshot(node)["nodes"][0]["replaying"] == 1
    assert "slow_streams" in {change["kind"] for change in snapshot(node)["changes"]}


# Presence.


async def test_presence_counts_streams_over_all_nodes(nodes: list[GatewayProcess], connect: Connect) -> None:
    streams = [await connect(events_url(node, "a", "b")) for node in nodes]
    await connect(events_url(nodes[0], "a"))
    answer = presence(nodes[1], "a", "b", "nobody", "a")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body == {
        "channels": {"a": 3, "b": 2, "nobody": 0},
        "complete": True,
        "nodes": {"listening": 2, "answered": 2},
    }
    for stream in streams:
        await stream.close()
    await aeventually(lambda: presence(nodes[1], "a", "b").body["channels"] == {"a": 1, "b": 0})


def test_presence_is_for_tokens_that_allow_it(nodes: list[GatewayProcess]) -> None:
    node = nodes[0]
    assert presence(node, "a.1", allowed=["a.*"]).status == 200
    assert presence(node, "a.1", "b", allowed=["a.*"]).reason == "not_granted"
    assert presence(node, "a", allowed=[]).reason == "not_granted"
    assert request(node, "GET", "/presence?channel=a").reason == "missing"
    may_follow = hs256().sign(claims(["*"], ["*"]))
    assert request(node, "GET", "/presence?channel=a", token=may_follow).reason == "not_granted"
    for query in (
        "",
        "channel=fanlight.control",
        "channel=%FF",
        "&".join(f"channel=c{n}" for n in range(101)),
    ):
        answer = request(node, "GET", f"/presence?{query}", token=hs256().sign(claims()))
        assert answer.status == 400, query


async def test_presence_that_is_not_complete_says_so(pair: list[GatewayProcess], connect: Connect) -> None:
    here, there = pair
    await connect(events_url(here, "a"))
    there.pause()
    answer = await asyncio.to_thread(presence, here, "a")
    assert answer.body == {
        "channels": {"a": 1},
        "complete": False,
        "nodes": {"listening": 2, "answered": 1},
    }
    there.kill()


def test_presence_without_redis_is_for_later(start_gateway: StartGateway, own_redis: RedisServer) -> None:
    node = start_gateway(redis_url=own_redis.url, **PATIENT)
    eventually(lambda: presence(node, "a").status == 200)
    own_redis.stop()
    answer = eventually(lambda: (found := presence(node, "a")).status == 503 and found)
    assert answer
    assert answer.headers["retry-after"] == "1"


# Presence events.

TELLS = PATIENT | {"presence_seconds": 0.1}


def told(stream: SseConnection) -> list[tuple[str, int]]:
    """The counts that a stream was told, in order: those that all nodes have answered."""
    data = [json.loads(event.data) for event in stream.events if event.type == "fanlight.presence"]
    return [(told["channel"], told["streams"]) for told in data if told["complete"]]


def may(subscribe: list[str], presence: list[str]) -> dict[str, str]:
    token = hs256().sign({**claims(), "fanlight": {"subscribe": subscribe, "presence": presence}})
    return {"Authorization": f"Bearer {token}"}


async def test_streams_that_ask_are_told_how_many_there_are_on_all_nodes(
    start_gateway: StartGateway, connect: Connect, redis_server: RedisServer, prefix: str
) -> None:
    nodes = meet(start_gateway(**TELLS), start_gateway(**TELLS))
    asked = may(["*"], ["*"])
    first = await connect(events_url(nodes[0], "a", presence="counts"), headers=asked)
    await first.until(lambda: told(first) == [("a", 1)])
    quiet = await connect(events_url(nodes[0], "a"))
    others = [await connect(events_url(nodes[1], "a", "b", presence="counts"), headers=asked)]
    await first.until(lambda: told(first)[-1] == ("a", 3))
    await others[0].until(lambda: {("a", 3), ("b", 1)} <= set(told(others[0])))
    nodes[1].kill()  # nobody says goodbye: the count is right all the same
    await first.until(lambda: told(first)[-1] == ("a", 2))
    another = await connect(events_url(nodes[0], "a", presence="counts"), headers=asked)
    await another.until(lambda: told(another) == [("a", 3)])
    await another.close()
    await first.until(lambda: told(first)[-2:] == [("a", 3), ("a", 2)])
    with Publisher(redis_server.url, prefix=prefix) as publisher:
        id_ = publisher.publish("a", "x").id
    for stream in (first, quiet):
        await stream.until(lambda: stream.events[-1].id == id_)  # noqa: B023
    assert told(quiet) == []
    counts = [count for _, count in told(first)]  # what has not changed is not told again
    assert all(before != after for before, after in pairwise(counts))
    assert_clean(first, quiet)


async def test_presence_events_are_for_tokens_that_allow_them_and_for_tickets_of_these(
    start_gateway: StartGateway, connect: Connect
) -> None:
    node = start_gateway(**TELLS)
    path = "/events?channel=a&presence=counts"
    assert request(node, "GET", path).reason == "missing"
    assert request(node, "GET", path, headers=may(["*"], ["b"])).reason == "not_granted"
    assert request(node, "GET", f"{path}&presence=counts", headers=may(["*"], ["*"])).status == 400
    ticket = request(node, "POST", "/ticket", headers=may(["a"], ["a"])).body["ticket"]
    stream = await connect(events_url(node, "a", presence="counts", ticket=ticket))
    await stream.until(lambda: told(stream) == [("a", 1)])


def test_presence_events_are_off_unless_they_are_set(start_gateway: StartGateway) -> None:
    answer = request(
        start_gateway(**PATIENT), "GET", "/events?channel=a&presence=counts", headers=may(["*"], ["*"])
    )
    assert answer.status == 400
    assert "presence_seconds" in answer.body["detail"]


# Limits, and what is not ours.


def test_questions_and_answers_have_a_limit(start_gateway: StartGateway) -> None:
    asker = start_gateway(jwt_secret=SECRET, max_questions_per_second=1, max_answers_per_second=1)
    eventually(lambda: presence(asker, "a").status == 429)
    assert presence(asker, "a").headers["retry-after"] == "1"
    assert asker.admin_get("/inspect/snapshot")[0] == 429
    assert metrics(asker)["fanlight_limits_hit_total{questions_per_second}"] >= 3


def test_more_questions_than_may_be_are_left_unanswered(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    node = start_gateway(max_answers_per_second=5)
    eventually(lambda: snapshot(node)["asked_others"])
    question = {"v": 1, "id": "0" * 16, "from": "1" * 16, "ask": "overview", "channels": [], "prefix": ""}
    for _ in range(50):
        redis_server.client().publish(Partition(prefix).inspect("ask"), json.dumps({**question, "most": 1}))
    eventually(lambda: metrics(node)["fanlight_limits_hit_total{answers_per_second}"] > 30)
    assert 1 <= metrics(node)["fanlight_questions_answered_total"] < 20


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"{}", b"[" * 200_000, b'{"v":1,"id":"' + b"x" * 500_000 + b'"}']
)
def test_what_is_not_ours_is_counted_and_harms_nobody(
    raw: bytes, nodes: list[GatewayProcess], redis_server: RedisServer, prefix: str
) -> None:
    own = snapshot(nodes[0])["asked_by"]
    for name in ("ask", own):
        assert redis_server.client().publish(Partition(prefix).inspect(name), raw) > 0
    eventually(lambda: metrics(nodes[0])["fanlight_inquiries_invalid_total"] >= 1)
    assert states(nodes[0]) == ["ready", "ready"]
    assert metrics(nodes[0])["fanlight_redis_generations_total"] == 1


# The page's files and the command.


def test_the_page_is_of_known_files_and_asks_nobody_else(start_gateway: StartGateway) -> None:
    node = start_gateway()
    answer = admin_request(node, "/inspect")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    for name in ("inspect.js", "inspect.css", "theme.css", "demo.css", "panes.js", "views.js", "words.js"):
        assert admin_request(node, f"/inspect/{name}").status == 200, name
    for name in ("x.js", "demo.js", "..%2f..%2fapp.py", "%2e%2e%2fpages.py", "index.html"):
        assert admin_request(node, f"/inspect/{name}").status == 404, name


def admin_request(node: GatewayProcess, path: str) -> Answer:
    class Admin:
        host, port = node.host, node.admin_port

    return request(Admin, "GET", path)  # type: ignore[arg-type]


async def test_the_command_shows_the_same(nodes: list[GatewayProcess], connect: Connect) -> None:
    node = nodes[0]
    await connect(events_url(node, "orders.42"))
    status, out, err = await inspect("--url", node.admin_url)
    assert (status, err) == (0, "")
    assert "2 of 2 nodes have answered" in out
    assert "orders.42" in out
    status, out, err = await inspect("--url", node.admin_url, "--json", "--prefix", "orders.")
    assert [channel["name"] for channel in json.loads(out)["channels"]] == ["orders.42"]
    for flags, code, said in (
        (["--url", node.url], 1, "is it the admin port"),
        (["--url", "http://127.0.0.1:1"], 1, "nobody answers"),
        (["--url", "ftp://x"], 2, "--url"),
        (["--channel", "no spaces"], 2, "bad channel name"),
        (["--limit", "101"], 2, "limit"),
    ):
        status, out, err = await inspect(*flags)
        assert (status, out) == (code, "")
        assert said in err


async def inspect(*flags: str) -> tuple[int | None, str, str]:
    command = [sys.executable, "-m", "gateway.cli", "inspect", *flags]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()
