"""Who may subscribe and publish, by which credential, and until when, on real nodes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from publisher import Publisher
from tests.support.gateway_process import GatewayProcess
from tests.support.http import Answer, events_path, request
from tests.support.sse import SseConnection
from tests.support.streams import events_url, metrics, unique
from tests.support.tokens import SECRET, claims, eddsa, es256, hs256, jwks, rs256, token
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.once

CLOSED: dict[str, Any] = {"jwt_secret": SECRET, "anonymous_subscribe": None}
APP = "https://app.example"
COOKIE = "fanlight"
STATIC = GatewayProcess.PUBLISH_TOKEN


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(
        jwt_secret=SECRET,
        anonymous_subscribe="public.*,lobby",
        personal_channel="user.{sub}",
        token_cookie=COOKIE,
        allowed_origins=[APP],
        publish_token=STATIC,
        heartbeat_seconds=1,
        retry_ms=1000,
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def follow(gateway: GatewayProcess, *channels: str, **options: Any) -> Answer:
    """The answer to a request for a stream that is refused."""
    return request(gateway, "GET", events_path(*channels), **options)


async def opened(gateway: GatewayProcess, *channels: str, headers: dict[str, str] | None = None) -> bool:
    """Whether a stream of these channels goes live."""
    async with await SseConnection.open(events_url(gateway, *channels), headers=headers) as connection:
        return connection.status == 200 and (await connection.next_event()).type == "fanlight.open"


# Nobody.


def test_a_node_that_serves_nobody_says_what_is_missing(share_gateway: StartGateway) -> None:
    gateway = share_gateway(anonymous_subscribe=None)
    [record] = [record for record in gateway.log_records if record["event"] == "nobody_may_subscribe"]
    assert record["level"] == "warning"
    answer = follow(gateway, "a")
    assert (answer.status, answer.reason) == (401, "missing")
    for text in (record["hint"], answer.body["detail"]):
        for setting in ("jwt_secret", "jwt_keys_file", "jwks_url", "anonymous_subscribe"):
            assert setting in text
    assert answer.headers["www-authenticate"] == 'Bearer realm="fanlight"'


def test_a_node_that_serves_somebody_warns_of_nothing(gateway: GatewayProcess) -> None:
    assert "nobody_may_subscribe" not in gateway.log


def test_a_token_for_a_node_without_keys_is_refused(share_gateway: StartGateway) -> None:
    """Though everybody may follow everything there."""
    answer = follow(share_gateway(), "a", token=token(["a"]))
    assert (answer.status, answer.reason) == (401, "no_keys")


# Everybody, and the bearer of a token.


@pytest.mark.parametrize("channels", [["lobby"], ["public.a", "public.b"], ["lobby", "public."]])
async def test_what_everybody_may_follow(gateway: GatewayProcess, channels: list[str]) -> None:
    assert await opened(gateway, *channels)
    also = token(["a"])
    assert await opened(gateway, *channels, headers=bearer(also)), "so may who has a token"
    assert await opened(gateway, "a", *channels, headers=bearer(also))


async def test_what_a_token_allows(gateway: GatewayProcess) -> None:
    good = token(["orders.42", "room.*.public"], sub="42")
    for channels in (["orders.42"], ["room.1.public", "orders.42"], ["user.42"]):
        assert await opened(gateway, *channels, headers=bearer(good))


@pytest.mark.parametrize(
    ("channels", "denied"),
    [
        (["orders.43"], "orders.43"),
        (["orders.42", "secret"], "secret"),
        (["orders.42", "room.1.public.x"], "room.1.public.x"),
        (["user.43"], "user.43"),
        (["orders"], "orders"),
    ],
)
def test_what_it_does_not_allow_is_named(gateway: GatewayProcess, channels: list[str], denied: str) -> None:
    answer = follow(gateway, *channels, token=token(["orders.42", "room.*.public"], sub="42"))
    assert (answer.status, answer.reason) == (403, "not_granted")
    assert answer.body["detail"] == f"The token does not allow to subscribe to {denied}."
    assert answer.headers["www-authenticate"].startswith(
        'Bearer realm="fanlight", error="insufficient_scope"'
    )
    assert follow(gateway, denied).reason == "missing"


def test_a_pattern_in_a_url_is_a_bad_name(gateway: GatewayProcess) -> None:
    for pattern in ("*", "public.*", "orders.%2A"):
        assert follow(gateway, pattern, token=token(["*"])).status == 400


WRONG: list[tuple[str, Callable[[], str], str]] = [
    ("expired", lambda: token(["*"], seconds=-1), "expired"),
    ("not yet valid", lambda: token(["*"], nbf=time.time() + 60), "not_yet_valid"),
    ("without exp", lambda: hs256().sign({"fanlight": {"subscribe": ["*"]}}), "claims"),
    ("wrong claims", lambda: token(["*"], fanlight=["*"]), "claims"),
    ("for others", lambda: token(["*"], aud="others"), "audience"),
    ("wrong secret", lambda: hs256("x" * 32).sign(claims(["*"])), "signature"),
    ("another key's", lambda: es256().sign(claims(["*"])), "unknown_key"),
    ("unsigned", lambda: hs256().sign(claims(["*"]), alg="none"), "algorithm"),
    ("with a jku", lambda: hs256().sign(claims(["*"]), jku="https://evil.example"), "header"),
    ("too large", lambda: token(["*"], x="x" * 4000), "too_large"),
    ("no token", lambda: "hello", "malformed"),
    ("nothing", lambda: "", "malformed"),
    ("the publish token", lambda: STATIC, "malformed"),
]


@pytest.mark.parametrize(("make", "reason"), [pytest.param(make, why, id=name) for name, make, why in WRONG])
@pytest.mark.parametrize("carrier", ["header", "cookie"])
def test_a_wrong_token_is_refused_and_never_passed_over(
    gateway: GatewayProcess, make: Callable[[], str], reason: str, carrier: str
) -> None:
    """`lobby` is for everybody: but not for who shows something that is wrong."""
    value = make()
    headers = bearer(value) if carrier == "header" else {"Cookie": f"{COOKIE}={value}"}
    for method in ("GET", "HEAD"):
        answer = request(gateway, method, events_path("lobby"), headers=headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith('Bearer realm="fanlight", error="invalid_token"')
    assert follow(gateway, "lobby", headers=headers).reason == reason


def test_refusals_are_counted_by_reason(gateway: GatewayProcess) -> None:
    before = metrics(gateway)
    for _ in range(3):
        follow(gateway, "lobby", token=token(seconds=-1))
    grown = {name: value - before[name] for name, value in metrics(gateway).items() if "refused" in name}
    assert grown["fanlight_requests_refused_total{expired}"] == 3
    assert sum(grown.values()) == 3


async def test_a_head_is_authorised_too(gateway: GatewayProcess) -> None:
    def head(channel: str, **options: Any) -> tuple[int, str]:
        answer = request(gateway, "HEAD", events_path(channel), **options)
        return answer.status, answer.headers["cache-control"]

    assert head("lobby") == (200, "no-cache, no-transform")
    assert head("a") == (401, "no-store")
    assert head("a", token=token(["a"])) == (200, "no-store, no-transform")


async def test_no_cache_keeps_what_is_for_one_client(gateway: GatewayProcess, connect: Connect) -> None:
    open_to_all = await connect(events_url(gateway, "lobby"))
    own = await connect(events_url(gateway, "lobby"), headers=bearer(token(["a"])))
    assert open_to_all.headers["cache-control"] == "no-cache, no-transform"
    assert own.headers["cache-control"] == "no-store, no-transform"


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Digest x", ""])
async def test_another_scheme_is_somebody_elses(gateway: GatewayProcess, header: str) -> None:
    """That of a proxy in front, for instance."""
    assert await opened(gateway, "lobby", headers={"Authorization": header})
    assert follow(gateway, "a", headers={"Authorization": header}).reason == "missing"


async def test_keys_of_every_kind(share_gateway: StartGateway, tmp_path: Path) -> None:
    signers = [es256("es"), eddsa("ed"), rs256("rs"), hs256("another secret of 32 bytes, or more", "hs")]
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(*signers))
    gateway = share_gateway(jwt_keys_file=path, **CLOSED)
    for signer in (*signers, hs256()):
        assert await opened(gateway, "a", headers=bearer(signer.sign(claims(["a"]))))
    path.write_bytes(signers[0].pem + signers[1].pem)
    gateway = share_gateway(jwt_keys_file=path, jwt_issuer=["me"], jwt_audience=["x", "y"], **CLOSED)
    for signer in signers[:2]:
        good = signer.sign(claims(["a"], iss="me", aud=["y"]))
        assert await opened(gateway, "a", headers=bearer(good))
    assert follow(gateway, "a", token=signers[0].sign(claims(["a"], iss="me"))).reason == "audience"
    assert follow(gateway, "a", token=signers[0].sign(claims(["a"], aud="x"))).reason == "issuer"
    assert (
        follow(gateway, "a", token=signers[2].sign(claims(["a"], iss="me", aud="x"))).reason == "unknown_key"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot read"), (b"nothing", "neither PEM"), (b'{"keys": []}', "no key that can check")],
)
def test_a_file_without_keys_stops_the_start(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    for workers in (1, 2):
        gateway = GatewayProcess(jwt_keys_file=path, workers=workers)
        try:
            with pytest.raises(AssertionError, match="ended with status 2"):
                gateway.start()
            assert f"fanlight: jwt_keys_file: {said}" in gateway.log
        finally:
            gateway.close()


# Cookies.

PAGES: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Origin": APP}, True),
    ({"Origin": APP, "Sec-Fetch-Site": "cross-site"}, True),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, True),  # says the browser itself
    ({"Origin": "null"}, False),
]


@pytest.mark.parametrize(("page", "allowed"), PAGES)
async def test_whose_page_may_use_the_cookie(
    gateway: GatewayProcess, page: dict[str, str], allowed: bool
) -> None:
    headers = {"Cookie": f"a=1; {COOKIE}={token(['a'])}; b=2", **page}
    if allowed:
        assert await opened(gateway, "a", headers=headers)
        return
    # Not as somebody without a credential either: the page would learn what the cookie's owner may not.
    for channel in ("a", "lobby"):
        answer = follow(gateway, channel, headers=headers)
        assert (answer.status, answer.reason) == (403, "origin")
    assert await opened(gateway, "lobby", headers=page)


async def test_a_page_of_the_gateways_own_origin(gateway: GatewayProcess) -> None:
    headers = {"Cookie": f"{COOKIE}={token(['a'])}", "Origin": gateway.url}
    assert await opened(gateway, "a", headers=headers)


async def test_a_header_wins_over_the_cookie(gateway: GatewayProcess) -> None:
    good, other = token(["a"]), token(["b"])
    assert await opened(gateway, "a", headers={**bearer(good), "Cookie": f"{COOKIE}={other}"})
    headers = {**bearer("wrong"), "Cookie": f"{COOKIE}={good}"}
    assert follow(gateway, "a", headers=headers).reason == "malformed"


def test_two_cookies_of_the_name_are_refused(gateway: GatewayProcess) -> None:
    answer = follow(gateway, "a", headers={"Cookie": f"{COOKIE}={token(['a'])}; {COOKIE}={token(['b'])}"})
    assert (answer.status, answer.reason) == (400, "several")


def test_without_the_setting_no_cookie_is_read(share_gateway: StartGateway) -> None:
    gateway = share_gateway(**CLOSED)
    assert follow(gateway, "a", headers={"Cookie": f"{COOKIE}={token(['a'])}"}).reason == "missing"


@pytest.mark.parametrize("path", ["/publish", "/ticket"])
def test_a_cookie_changes_nothing(gateway: GatewayProcess, path: str) -> None:
    """What a browser sends by itself authorises no request that has an effect."""
    for page in ({}, {"Origin": APP}, {"Sec-Fetch-Site": "same-origin"}):
        headers = {"Cookie": f"{COOKIE}={token(['*'], ['*'])}", **page}
        answer = request(gateway, "POST", path, headers=headers, body={"channel": "a", "data": 1})
        assert (answer.status, answer.reason) == (401, "missing")


def test_a_page_elsewhere_can_read_why_it_was_refused(gateway: GatewayProcess) -> None:
    answer = follow(gateway, "a", headers={"Origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, APP)
    assert answer.headers["vary"] == "Origin"


# The end of a token, and a resume.


@pytest.mark.parametrize("way", ["1.1", "1.0", "gzip"])
async def test_a_stream_ends_with_its_token(share_gateway: StartGateway, connect: Connect, way: str) -> None:
    gateway = share_gateway(compression="gzip", heartbeat_seconds=0.2, retry_ms=1000, **CLOSED)
    publisher_token, channel = token([], ["*"]), unique()

    def publish(data: object) -> str:
        body = {"channel": channel, "data": data}
        return str(request(gateway, "POST", "/publish", token=publisher_token, body=body).body["id"])

    headers = {"Accept-Encoding": "gzip"} if way == "gzip" else {}
    version = "1.0" if way == "1.0" else "1.1"
    last_event_id, sent, seen = "", [], []
    for number in range(2):
        expires_at = int(time.time()) + 3
        good = hs256().sign({"exp": expires_at, "fanlight": {"subscribe": [channel]}})
        connection = await connect(
            events_url(gateway, channel),
            live=False,
            headers=headers | bearer(good),
            version=version,
            last_event_id=last_event_id,
        )
        await connection.until(lambda: connection.events[-1:] != [] and connection.parser.comments != [])  # noqa: B023
        sent.append(publish(f"live {number}"))
        await connection.until_end()
        assert 0 <= time.time() - expires_at < 2.5
        assert not connection.cut
        *events, last = connection.events
        assert (last.type, json.loads(last.data)) == ("fanlight.unauthorized", {"reason": "expired"})
        assert connection.body.rstrip().rpartition(b"\n")[2].startswith(b"retry: ")
        # It has no id of its own, so the client goes on from what it has seen.
        assert last.id == events[-1].id == sent[-1]
        seen += [event.id for event in events if event.type == "message"]
        last_event_id = last.id
        sent.append(publish(f"away {number}"))
    assert seen == sent[:-1], "nothing was missed, nothing came twice"
    ended = [record for record in gateway.log_records if record["event"] == "stream_ended"]
    assert [record["reason"] for record in ended] == ["expired", "expired"]
    assert metrics(gateway)["fanlight_streams_closed_total{expired}"] == 2


async def test_the_end_of_one_token_is_not_that_of_others(gateway: GatewayProcess, connect: Connect) -> None:
    soon, later = token(["a"], seconds=2), token(["a"])
    streams = [await connect(events_url(gateway, "a"), headers=bearer(each)) for each in (soon, later)]
    anonymous = await connect(events_url(gateway, "lobby"))
    await streams[0].until_end()
    for stream in (streams[1], anonymous):
        beats = len(stream.parser.comments)
        await stream.until(lambda: len(stream.parser.comments) > beats)  # noqa: B023
        assert not stream.ended


async def test_many_tokens_that_end_together(gateway: GatewayProcess, connect: Connect) -> None:
    expires_at = int(time.time()) + 4
    together = hs256().sign({"exp": expires_at, "fanlight": {"subscribe": ["a"]}})
    streams = [await connect(events_url(gateway, "a"), headers=bearer(together)) for _ in range(100)]
    for stream in streams:
        await stream.until_end()
        assert stream.events[-1].type == "fanlight.unauthorized"
    assert time.time() < expires_at + 4


async def test_who_does_not_read_is_cut_off_when_the_token_is_over(
    share_gateway: StartGateway, connect: Connect, shared_publisher: Publisher, channel: str
) -> None:
    gateway = share_gateway(
        write_buffer_bytes=1000, send_buffer_bytes=4096, heartbeat_seconds=0.1, stall_seconds=1, **CLOSED
    )
    good = token([channel], seconds=3)
    await connect(events_url(gateway, channel), headers=bearer(good), receive_buffer_bytes=4096)
    for _ in range(20):
        shared_publisher.publish(channel, "x" * 50_000)
    await aeventually(lambda: metrics(gateway)["fanlight_streams_open"] == 0)
    closed = {name: value for name, value in metrics(gateway).items() if "streams_closed" in name and value}
    assert closed in (
        {"fanlight_streams_closed_total{expired}": 1},
        {"fanlight_streams_closed_total{stalled}": 1},
    )


async def test_a_token_that_ends_while_its_request_waits_opens_nothing(
    start_gateway: StartGateway, own_redis: RedisServer, prefix: str, channel: str
) -> None:
    """For its channels' floors, that is: as long as Redis may take to answer."""
    gateway = start_gateway(redis_url=own_redis.url, link_deadline_seconds=20, **CLOSED)
    with Publisher(own_redis.url, prefix=prefix) as publisher:
        publisher.publish(channel, "before")
    expires_at = int(time.time()) + 5
    good = hs256().sign({"exp": expires_at, "fanlight": {"subscribe": [channel]}})
    own_redis.pause()
    waiting = asyncio.create_task(
        asyncio.to_thread(request, gateway, "GET", events_path(channel, last="1"), token=good)
    )
    await asyncio.sleep(expires_at + 0.5 - time.time())
    assert not waiting.done()
    own_redis.resume()
    answer = await waiting
    assert (answer.status, answer.raw[:7], answer.raw.count(b"\n")) == (200, b"retry: ", 1), "for now not"
    assert metrics(gateway)["fanlight_streams_opened_total"] == 0


async def test_a_resume_is_authorised_anew_for_every_channel(
    gateway: GatewayProcess, connect: Connect, shared_publisher: Publisher
) -> None:
    a, b = unique(), unique()
    both = await connect(events_url(gateway, a, b), headers=bearer(token([a, b])))
    shared_publisher.publish(a, "seen")
    cursor = (await both.next_event()).id
    await both.close()
    missed = [shared_publisher.publish(channel, "missed").id for channel in (a, b)]
    fewer = bearer(token([a]))
    for headers in (fewer, {}, bearer(token([b], seconds=-1))):
        refused = request(gateway, "GET", events_path(a, b), headers={**headers, "Last-Event-ID": cursor})
        assert refused.status in (401, 403)
        assert b"missed" not in refused.raw
    resumed = await connect(
        events_url(gateway, a, last_event_id="0-0-000000"), live=False, headers=fewer, last_event_id=cursor
    )
    assert (await resumed.next_event()).id == missed[0]
    assert (await resumed.next_event()).type == "fanlight.open"


async def test_the_end_of_a_channel_is_told_to_those_who_may_read_it(
    gateway: GatewayProcess, shared_publisher: Publisher, channel: str
) -> None:
    end = shared_publisher.close(channel).id
    path = events_path(channel, last_event_id=end)
    assert request(gateway, "GET", path).status == 401
    assert request(gateway, "GET", path, token=token(["other"])).status == 403
    assert request(gateway, "GET", path, token=token([channel])).status == 204


# Publishing.


def publish(gateway: GatewayProcess, body: object, token: str | None) -> Answer:
    return request(gateway, "POST", "/publish", token=token, body=body)


def test_a_token_publishes_to_its_channels(gateway: GatewayProcess, channel: str) -> None:
    good = token(["*"], [f"{channel}.*", "chat"])
    assert publish(gateway, {"channel": f"{channel}.1", "data": 1}, good).status == 200
    answer = publish(gateway, {"channel": channel, "data": 1}, good)
    assert answer.status == 403
    assert answer.body["detail"] == f"The token does not allow to publish to {channel!r}."


def test_in_a_batch_each_channel_is_refused_by_itself(gateway: GatewayProcess, channel: str) -> None:
    good, ours, theirs = token([], [f"{channel}.*"]), f"{channel}.a", unique()
    answer = publish(
        gateway,
        [
            {"channel": ours, "data": 1},
            {"channel": theirs, "data": 1},
            {"channels": [ours, theirs, "bad name"], "data": 2},
            {"channel": theirs, "close": True},
            {"channel": ours, "close": True},
            {"channel": f"{channel}. bad", "data": 1},
        ],
        good,
    )
    errors = [item.get("error", {}).get("type") for item in answer.body["results"]]
    denied = "NotGranted"
    assert errors == [None, denied, None, denied, denied, denied, None, "InvalidChannel"]
    assert (answer.body["published"], answer.body["failed"]) == (3, 5)
    assert publish(gateway, {"channel": theirs, "data": 1}, STATIC).status == 200, "it was not closed"


def test_the_publish_token_publishes_to_all_channels_beside_it(gateway: GatewayProcess, channel: str) -> None:
    assert publish(gateway, {"channel": channel, "data": 1}, STATIC).status == 200


@pytest.mark.parametrize(
    ("make", "status", "reason"),
    [
        (lambda: None, 401, "missing"),
        (lambda: "", 401, "malformed"),
        (lambda: STATIC + "x", 401, "malformed"),
        (lambda: token([], ["*"], seconds=-1), 401, "expired"),
        (lambda: hs256("x" * 32).sign(claims([], ["*"])), 401, "signature"),
        (lambda: token(["*"], []), 403, "not_granted"),
        (lambda: token(["*"], sub="42"), 403, "not_granted"),
    ],
)
def test_who_may_not_publish(
    gateway: GatewayProcess, make: Callable[[], str | None], status: int, reason: str
) -> None:
    """Found out before the body is read."""
    answer = publish(gateway, {"channel": "user.42", "data": 1}, make())
    assert (answer.status, answer.reason) == (status, reason)


def test_a_token_that_ends_before_the_body_does_publishes_nothing(
    gateway: GatewayProcess, channel: str
) -> None:
    expires_at = int(time.time()) + 3
    good = hs256().sign({"exp": expires_at, "fanlight": {"publish": [channel]}})
    body = json.dumps({"channel": channel, "data": 1}).encode()

    def slowly() -> Iterator[bytes]:
        yield body[:1]
        time.sleep(max(0.0, expires_at + 0.1 - time.time()))
        yield body[1:]

    with closing(HTTPConnection(gateway.host, gateway.port, timeout=15)) as connection:
        headers = bearer(good) | {"Content-Type": "application/json", "Content-Length": str(len(body))}
        connection.request("POST", "/publish", slowly(), headers)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["reason"]) == (401, "expired")


def test_with_tokens_alone_publishing_is_on(share_gateway: StartGateway, channel: str) -> None:
    gateway = share_gateway(**CLOSED)
    assert publish(gateway, {"channel": channel, "data": 1}, token([], ["*"])).status == 200
    assert publish(gateway, {"channel": channel, "data": 1}, STATIC).status == 401


# Secrets.


def test_nothing_of_a_credential_is_told_anywhere(start_gateway: StartGateway) -> None:
    """A canary, in every place where a credential may be, in whatever state, also where HTTP is broken."""
    gateway = start_gateway(
        jwt_secret=SECRET,
        token_cookie=COOKIE,
        publish_token=STATIC,
        log_level="debug",
        anonymous_subscribe=None,
    )
    canary = "CaNaRy0123456789"
    signed = hs256().sign(claims([f"{canary}.*"], sub=canary, jti=canary), kid=canary)
    forged = hs256("x" * 32).sign(claims([canary], sub=canary), kid=canary, jku=canary)
    parts = [part for made in (signed, forged) for part in made.split(".")]
    needles = [canary, *parts]
    answers: list[bytes] = []
    for value in (signed, forged, canary, signed + canary, signed[:-3], f"{signed} {canary}", signed * 20):
        for headers in (
            {"Authorization": f"Bearer {value}"},
            {"Authorization": f"bearer\t{value}"},
            {"Cookie": f"{COOKIE}={value}"},
            {"Cookie": f"{COOKIE}={value}; {COOKIE}={value}"},
        ):
            for method, path in (
                ("GET", events_path("a")),
                ("HEAD", events_path("a")),
                ("POST", "/ticket"),
                ("POST", "/publish"),
            ):
                answers.append(request(gateway, method, path, headers=headers, body={}).raw)
        quoted = value.replace(" ", "%20")
        answers.append(request(gateway, "GET", events_path("a", ticket=quoted)).raw)
        answers.append(request(gateway, "GET", events_path("a", ticket=quoted, access_token=quoted)).raw)
        answers.append(request(gateway, "GET", f"/{quoted}").raw)
    unreadable = [
        b"GET /events?channel=a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\x01\r\n\r\n",
        b"GET /events?channel=a HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer %b\r\n\r\n",
        b"GET /events?channel=a&ticket=%b HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /events?ticket=%b\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"B@D%b /events HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /events HTTP/1.1\r\nHost: a\r\nCookie: %b" + b"x" * 20_000 + b"\r\n\r\n",
        b"POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: x%b\r\n\r\n",
    ]
    refused = [raw(gateway, broken % signed.encode()) for broken in unreadable]
    assert [answer.split(b" ")[1] for answer in refused] == [b"400"] * 5 + [b"431", b"400"]
    assert all(b"application/problem+json" in answer for answer in refused)
    answers += refused
    issued = request(gateway, "POST", "/ticket", token=signed).body["ticket"]
    answers.append(request(gateway, "GET", events_path("a", ticket=issued)).raw)
    needles.append(issued)
    _, exposition = gateway.admin_get("/metrics")
    _, ready = gateway.admin_get("/readyz")
    assert gateway.log.count('"event": "not_http"') >= len(unreadable)
    for place, text in {
        "an answer": b"\n".join(answers),
        "the metrics": exposition,
        "the readiness": ready,
        "the log": gateway.log.encode(),
    }.items():
        assert [needle for needle in needles if needle.encode() in text] == [], place


def raw(gateway: GatewayProcess, data: bytes) -> bytes:
    """What is answered to these bytes."""
    import socket

    with socket.create_connection((gateway.host, gateway.port), timeout=10) as sock:
        sock.sendall(data)
        answer = b""
        try:
            while piece := sock.recv(65_536):
                answer += piece
        except ConnectionError:
            pass
    return answer
