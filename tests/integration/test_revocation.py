"""Revocations on real nodes: what is open ends, and what was issued before does not come back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from publisher import AsyncPublisher, Publisher
from publisher.control import CONTROL
from tests.chaos.proxy import Proxy
from tests.support.gateway_process import GatewayProcess
from tests.support.http import Answer, events_path, request
from tests.support.streams import events_url, metrics, unique
from tests.support.tokens import SECRET, token
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.redis_server import RedisServer
    from tests.support.sse import SseConnection

STATIC = GatewayProcess.PUBLISH_TOKEN
SETTINGS: dict[str, Any] = {
    "jwt_secret": SECRET,
    "anonymous_subscribe": "public.*",
    "publish_token": STATIC,
    "token_cookie": "fanlight",
    "heartbeat_seconds": 0.5,
}
PATIENCE = 30.0


@pytest.fixture(scope="module")
def gateways(share_gateway: StartGateway) -> list[GatewayProcess]:
    return [share_gateway(**SETTINGS) for _ in range(2)]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def old(*channels: str, **claims: Any) -> str:
    """A token that was issued before all that a test revokes."""
    return token(channels, ["*"], **{"iat": int(time.time()) - 3600, **claims})


def new(*channels: str, **claims: Any) -> str:
    """One that is issued afterwards: in the next second."""
    return token(channels, ["*"], **{"iat": int(time.time()) + 2, **claims})


def disconnect(gateway: GatewayProcess, token: str | None = STATIC, **target: object) -> Answer:
    return request(gateway, "POST", "/disconnect", token=token, body=target)


def refused(gateway: GatewayProcess, *channels: str, **options: Any) -> str:
    return request(gateway, "GET", events_path(*channels), **options).reason


async def ends(stream: SseConnection) -> None:
    """It is told why, without another request."""
    await stream.until_end(seconds=PATIENCE)
    last = stream.events[-1]
    assert (last.type, last.data) == ("fanlight.unauthorized", '{"reason":"revoked"}')


async def let_in(gateway: GatewayProcess, count: int) -> None:
    """Until so many tokens were found good."""
    await aeventually(lambda: metrics(gateway)["fanlight_credentials_accepted_total{header}"] == count)


KINDS = ["subject", "token_id", "channel"]


@pytest.mark.parametrize("by", KINDS)
async def test_it_ends_what_is_open_on_every_node_and_keeps_it_closed(
    gateways: list[GatewayProcess], connect: Connect, by: str
) -> None:
    channel, subject, token_id = unique("a"), unique("sub"), unique("jti")
    target = {by: {"subject": subject, "token_id": token_id, "channel": channel}[by]}
    token = old("*", sub=subject, jti=token_id)
    theirs = old("*", sub="other", jti="other")
    streams = [await connect(events_url(node, channel), headers=bearer(token)) for node in gateways]
    others = [await connect(events_url(node, unique()), headers=bearer(theirs)) for node in gateways]
    before = metrics(gateways[0])

    answer = disconnect(gateways[0], **target)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert 43_000 < answer.body["until"] - time.time() < 43_400

    for stream in streams:
        await ends(stream)
    for node in gateways:
        assert refused(node, channel, token=token) == "revoked"
        assert refused(node, channel, headers={"Cookie": f"fanlight={token}"}) == "revoked"
        if by != "channel":
            event = {"channel": channel, "data": 1}
            assert request(node, "POST", "/publish", token=token, body=event).reason == "revoked"
            assert request(node, "POST", "/ticket", token=token).reason == "revoked"
    after = metrics(gateways[0])
    applied = f"fanlight_revocations_applied_total{{{by}}}"
    assert after[applied] > before[applied]
    assert after["fanlight_revocations"] > 0
    assert after["fanlight_revocations_in_sync"] == 1
    assert after["fanlight_streams_closed_total{revoked}"] >= 1
    # Of others nothing has ended, and what is issued afterwards is good.
    again = new("*", sub=subject, jti=unique("jti"))
    await connect(events_url(gateways[1], channel), headers=bearer(again))
    await connect(events_url(gateways[1], unique()), headers=bearer(theirs))
    for stream in others:
        await stream.read()
        assert not stream.ended
    assert disconnect(gateways[1], **target).status == 200, "twice is as good as once"


def test_a_ticket_counts_as_its_token(gateways: list[GatewayProcess]) -> None:
    subject = unique("sub")
    given = request(gateways[0], "POST", "/ticket", token=old("a", sub=subject)).body["ticket"]
    assert disconnect(gateways[0], subject=subject).status == 200
    eventually(lambda: refused(gateways[1], "a", token=old("a", sub=subject)) == "revoked")
    assert refused(gateways[1], f"a&ticket={given}") == "revoked"


async def test_the_stream_of_a_ticket_ends(gateways: list[GatewayProcess], connect: Connect) -> None:
    subject = unique("sub")
    given = request(gateways[0], "POST", "/ticket", token=old("a", sub=subject)).body["ticket"]
    stream = await connect(events_url(gateways[1], "a", ticket=given))
    assert disconnect(gateways[0], subject=subject).status == 200
    await ends(stream)


async def test_a_channel_that_everybody_may_follow_is_ended_once(
    gateways: list[GatewayProcess], connect: Connect
) -> None:
    channel = unique("public.c")
    stream = await connect(events_url(gateways[1], channel))
    assert disconnect(gateways[0], channel=channel).status == 200
    await ends(stream)
    await connect(events_url(gateways[1], channel))


# Who may.


def test_who_may_disconnect(gateways: list[GatewayProcess]) -> None:
    gateway, nobody = gateways[0], unique("sub")
    allowed = token(fanlight={"disconnect": True})
    for good in (STATIC, allowed):
        assert disconnect(gateway, good, subject=nobody).status == 200
    answer = disconnect(gateway, token(["*"], ["*"]), subject=nobody)
    assert (answer.status, answer.reason) == (403, "not_granted")
    assert disconnect(gateway, None, subject=nobody).reason == "missing"
    cookie = request(
        gateway, "POST", "/disconnect", headers={"Cookie": f"fanlight={allowed}"}, body={"subject": nobody}
    )
    assert cookie.reason == "missing"
    itself = unique("sub")
    own = token(fanlight={"disconnect": True}, sub=itself, iat=int(time.time()) - 1)
    assert disconnect(gateway, own, subject=itself).status == 200
    eventually(lambda: disconnect(gateway, own, subject=nobody).status == 401)


def test_what_is_wrong_with_a_request_is_told(gateways: list[GatewayProcess]) -> None:
    for body, told in (
        ({}, "name one of"),
        ({"subject": "a", "channel": "b"}, "name one of"),
        ({"x": 1}, "x"),
    ):
        answer = disconnect(gateways[0], **body)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (
            400,
            "application/problem+json",
        )
        assert told in answer.body["detail"]
    answer = request(
        gateways[0], "POST", "/disconnect", token=STATIC, headers={"Content-Type": "text/plain"}, body={}
    )
    assert answer.status == 415
    answer = request(gateways[0], "GET", "/disconnect")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")


def test_nobody_follows_the_control_channel_or_publishes_to_it(gateways: list[GatewayProcess]) -> None:
    everything = token(["*"], ["*"])
    assert request(gateways[0], "GET", events_path(CONTROL), token=everything).status == 400
    for bearer in (everything, STATIC):
        answer = request(
            gateways[0], "POST", "/publish", token=bearer, body={"channel": CONTROL, "data": "x"}
        )
        assert answer.status in (400, 403)


def test_a_token_that_outlives_a_revocation_is_refused(gateways: list[GatewayProcess]) -> None:
    answer = request(gateways[0], "GET", events_path("a"), token=token(["a"], seconds=43_300))
    assert (answer.status, answer.reason) == (401, "long_lived")
    assert "max_token_life_seconds" in answer.body["detail"]


def test_at_the_bound_it_is_refused_and_nothing_is_dropped(start_gateway: StartGateway) -> None:
    gateway = start_gateway(**SETTINGS | {"max_revocations": 3})
    subjects = [unique("sub") for _ in range(3)]
    for subject in subjects:
        assert disconnect(gateway, subject=subject).status == 200
    answer = disconnect(gateway, subject=unique("sub"))
    assert answer.status == 507
    assert "max_revocations" in answer.body["detail"]
    eventually(lambda: metrics(gateway)["fanlight_revocations"] == 3)
    assert metrics(gateway)["fanlight_revocations_refused_total"] == 1
    for subject in subjects:
        assert refused(gateway, "a", token=old("a", sub=subject)) == "revoked"


# Faults.


async def test_a_node_that_was_cut_off_ends_it_when_it_is_back(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str, connect: Connect
) -> None:
    with Proxy(redis_server.port) as proxy:
        gateway = start_gateway(redis_url=proxy.url, reconnect_max_seconds=0.2, **SETTINGS)
        tokens = {by: old("*", sub=f"s.{by}", jti=f"t.{by}") for by in KINDS}
        streams = {
            by: await connect(events_url(gateway, f"c.{by}"), headers=bearer(tokens[by])) for by in KINDS
        }
        proxy.refuse()
        proxy.cut()
        await aeventually(lambda: metrics(gateway)["fanlight_redis_connected"] == 0)
        assert metrics(gateway)["fanlight_revocations_in_sync"] == 0
        async with AsyncPublisher(redis_server.url, prefix=prefix) as publisher:
            await publisher.revoke(subject="s.subject")
            await publisher.revoke(token_id="t.token_id")
            await publisher.revoke(channel="c.channel")
        proxy.forward()
        for stream in streams.values():
            await ends(stream)
        assert metrics(gateway)["fanlight_revocations_in_sync"] == 1
        for by in KINDS:
            assert refused(gateway, f"c.{by}", token=tokens[by]) == "revoked"
        assert "revocations_missed" not in gateway.log


async def test_a_node_that_is_started_anew_keeps_it_closed(start_gateway: StartGateway) -> None:
    gateway = start_gateway(**SETTINGS)
    for number in range(20):
        assert disconnect(gateway, subject=f"s{number}").status == 200
    gateway.restart(crash=True)
    assert refused(gateway, "a", token=old("a", sub="s0")) == "revoked"
    assert refused(gateway, "a", token=old("a", sub="s19")) == "revoked"
    assert metrics(gateway)["fanlight_revocations"] == 20
    assert "revocations_missed" not in gateway.log


async def test_a_request_that_was_let_in_just_before_opens_no_stream(
    start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    """It has been authorised, and waits for its channel, when the revocation comes."""
    delay_seconds = 1.5  # each way, and in order
    with Proxy(redis_server.port) as proxy, Publisher(redis_server.url, prefix=prefix) as publisher:
        gateway = start_gateway(redis_url=proxy.url, link_deadline_seconds=60, probe_seconds=600, **SETTINGS)
        proxy.delay(1000 * delay_seconds)
        for number in range(1, 9):
            asked_at = time.monotonic()
            asking = asyncio.create_task(
                asyncio.to_thread(refused, gateway, unique(), token=old("*", sub=f"s{number}"))
            )
            await let_in(gateway, number)
            publisher.revoke(subject=f"s{number}")
            # Else Redis was asked for the channel before it was told, and the stream may have been opened.
            in_time = time.monotonic() - asked_at < delay_seconds
            [outcome] = await asyncio.gather(asking, return_exceptions=True)
            if in_time:
                assert outcome == "revoked"
                return
    pytest.fail("this machine is too slow to tell")


async def test_a_wiped_redis_is_told_and_what_is_known_stays(
    start_gateway: StartGateway, own_redis: RedisServer, connect: Connect
) -> None:
    gateway = start_gateway(redis_url=own_redis.url, reconnect_max_seconds=0.2, **SETTINGS)
    assert disconnect(gateway, subject="42").status == 200
    stream = await connect(events_url(gateway, "a"), headers=bearer(old("a", sub="43")))
    eventually(lambda: metrics(gateway)["fanlight_revocations"] == 1)
    own_redis.client().flushall()
    await aeventually(lambda: metrics(gateway).get("fanlight_revocations_missed_total{epoch}"))
    [record] = [record for record in gateway.log_records if record["event"] == "revocations_missed"]
    assert (record["level"], record["reason"]) == ("warning", "epoch")
    await aeventually(lambda: metrics(gateway)["fanlight_revocations_in_sync"] == 1)
    assert refused(gateway, "a", token=old("a", sub="42")) == "revoked"
    later = start_gateway(redis_url=own_redis.url, **SETTINGS)
    served = await connect(events_url(later, "a"), headers=bearer(old("a", sub="42")))
    with Publisher(own_redis.url, prefix=gateway.settings["prefix"]) as publisher:
        publisher.revoke(subject="43")
        publisher.revoke(subject="42")  # once more, as docs/security.md says
    await ends(stream)
    await ends(served)
    assert refused(later, "a", token=old("a", sub="42")) == "revoked"
