"""`POST /publish`: who may, what is answered, and what is then in the channel."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from publisher import Publisher
from tests.support.gateway_process import GatewayProcess
from tests.support.streams import events_url, metrics, unique

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import StartGateway
    from tests.integration.conftest import Connect

TOKEN = GatewayProcess.PUBLISH_TOKEN
ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def gateway(share_gateway: StartGateway) -> GatewayProcess:
    return share_gateway(
        publish_token=TOKEN,
        max_event_bytes=1000,
        max_publish_body_bytes=20_000,
        max_publish_batch=100,
        allowed_origins=[ORIGIN],
    )


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


def post(
    gateway: GatewayProcess,
    body: object,
    *,
    token: str | None = f"Bearer {TOKEN}",
    content_type: str | None = "application/json",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to `body` (bytes as they are, anything else as JSON)."""
    fields = {"Authorization": token, "Content-Type": content_type, **(headers or {})}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(gateway.host, gateway.port, timeout=10)) as connection:
        connection.request(
            method, "/publish", data, {name: value for name, value in fields.items() if value is not None}
        )
        response = connection.getresponse()
        raw = response.read()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, json.loads(raw) if raw else None)


def problem(answer: Answer, status: int) -> str:
    """The detail of an answer that is a problem document of this status."""
    assert answer.status == status, answer
    assert answer.headers["content-type"].partition(";")[0] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body["status"] == status
    assert {"type", "title", "status", "detail"} <= answer.body.keys()
    return str(answer.body["detail"])


def ndjson(*rows: object) -> bytes:
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


# Who may.


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param(TOKEN, id="no scheme"),
        pytest.param(f"Basic {TOKEN}", id="another scheme"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer wrong", id="wrong"),
        pytest.param(f"Bearer {TOKEN}x", id="longer"),
        pytest.param(f"Bearer {TOKEN[:-1]}", id="shorter"),
        pytest.param(f"Bearer {TOKEN.upper()}", id="upper case"),
        pytest.param("Bearer \xfc", id="not ASCII"),
    ],
)
def test_without_the_token_nothing_is_published(
    gateway: GatewayProcess, shared_publisher: Publisher, channel: str, token: str | None
) -> None:
    answer = post(gateway, {"channel": channel, "data": 1, "idempotency_key": "k"}, token=token)
    assert "Authorization: Bearer" in problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in json.dumps(answer.body)
    assert not shared_publisher.publish(channel, 1, idempotency_key="k").duplicate


def test_the_scheme_is_in_either_case(gateway: GatewayProcess, channel: str) -> None:
    assert post(gateway, {"channel": channel, "data": 1}, token=f"bEARER {TOKEN}").status == 200


def test_without_a_configured_token_publishing_is_off(share_gateway: StartGateway, channel: str) -> None:
    gateway = share_gateway()
    for token in (None, "Bearer ", f"Bearer {TOKEN}"):
        assert "off" in problem(post(gateway, {"channel": channel, "data": 1}, token=token), 403)


# One event.


async def test_one_event(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    connection = await connect(events_url(gateway, channel))
    answer = post(gateway, {"channel": channel, "data": "Grüße\n", "type": "greeting"})
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    event = await connection.next_event()
    assert (event.type, event.data) == ("greeting", "Grüße\n")
    assert answer.body == {"channel": channel, "id": event.id, "duplicate": False}


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("text", "text"),
        ("", ""),
        (None, "null"),
        (17, "17"),
        ({"ü": [1.5, True]}, '{"ü":[1.5,true]}'),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
async def test_data_is_text_as_it_is_or_json(
    gateway: GatewayProcess, channel: str, connect: Connect, data: object, wanted: str
) -> None:
    connection = await connect(events_url(gateway, channel))
    assert post(gateway, {"channel": channel, "data": data}).status == 200
    assert (await connection.next_event()).data == wanted


async def test_one_event_to_several_channels(gateway: GatewayProcess, connect: Connect) -> None:
    a, b = unique(), unique()
    connection = await connect(events_url(gateway, a, b))
    answer = post(gateway, {"channels": [a, "bad name", b], "data": "x"})
    assert answer.status == 200
    events = [await connection.next_event() for _ in range(2)]
    first, bad, second = answer.body["results"]
    assert [first, second] == [
        {"channel": name, "id": event.id, "duplicate": False}
        for name, event in zip((a, b), events, strict=True)
    ]
    assert bad["error"]["type"] == "InvalidChannel"
    assert (answer.body["published"], answer.body["failed"]) == (2, 1)


def test_an_idempotency_key_publishes_once(
    gateway: GatewayProcess, shared_publisher: Publisher, channel: str
) -> None:
    item = {"channel": channel, "data": 1, "idempotency_key": "order-17"}
    first, second = post(gateway, item), post(gateway, item)
    assert first.body["duplicate"] is False
    assert second.body == {**first.body, "duplicate": True}
    # Publisher and gateway share the keys, whichever way the event came.
    assert shared_publisher.publish(channel, 1, idempotency_key="order-17").id == first.body["id"]
    third, fourth = post(gateway, [item, {**item, "idempotency_key": "order-18"}]).body["results"]
    assert (third["id"], third["duplicate"]) == (first.body["id"], True)
    assert fourth["duplicate"] is False


REFUSED: list[Any] = [
    pytest.param({"channel": "bad name", "data": 1}, 400, "1 to 128 characters", id="channel"),
    pytest.param({"channel": "fanlight.x", "data": 1}, 400, "reserved", id="reserved channel"),
    pytest.param({"channel": "a", "data": 1, "type": "fanlight.x"}, 400, "reserved", id="reserved type"),
    pytest.param({"channel": "a", "data": 1, "type": "a\nb"}, 400, "line break", id="type"),
    pytest.param({"channel": "a", "data": "\0"}, 400, "NUL", id="NUL"),
    pytest.param(b'{"channel": "a", "data": "\\ud800"}', 400, "surrogate", id="half a pair"),
    pytest.param(b'{"channel": "a", "data": NaN}', 400, "JSON", id="NaN"),
    pytest.param({"channel": "a", "data": 1, "idempotency_key": "a b"}, 400, "visible ASCII", id="key"),
    pytest.param({"channel": "a", "data": 1, "idempotency_key": ""}, 400, "visible ASCII", id="empty key"),
    pytest.param({"channel": "a", "data": "x" * 1001}, 413, "1001 bytes", id="too large"),
    pytest.param({"channel": "a"}, 400, "data is missing", id="no data"),
    pytest.param({"channel": "a", "data": 1, "event": "x"}, 400, "'event'", id="unknown field"),
    pytest.param(b"{", 400, "not JSON", id="no JSON"),
    pytest.param(b"", 400, "not JSON", id="empty body"),
    pytest.param(b"\xff", 400, "UTF-8", id="not UTF-8"),
    pytest.param(["x"] * 101, 400, "at most 100", id="too many"),
    pytest.param({"channels": ["x"] * 101, "data": 1}, 400, "at most 100", id="too many channels"),
    pytest.param(b" " * 20_001, 413, "several requests", id="body too large"),
]


@pytest.mark.parametrize(("body", "status", "said"), REFUSED)
def test_what_is_refused(gateway: GatewayProcess, body: object, status: int, said: str) -> None:
    before = metrics(gateway)["fanlight_published_total"]
    assert said in problem(post(gateway, body), status)
    assert metrics(gateway)["fanlight_published_total"] == before


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "*/*", ""]
)
def test_an_unknown_content_type_is_refused(
    gateway: GatewayProcess, channel: str, content_type: str | None
) -> None:
    answer = post(gateway, {"channel": channel, "data": 1}, content_type=content_type)
    assert "application/x-ndjson" in problem(answer, 415)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
)
def test_spellings_of_the_content_type(gateway: GatewayProcess, channel: str, content_type: str) -> None:
    assert post(gateway, {"channel": channel, "data": "ü"}, content_type=content_type).status == 200


def test_a_body_at_the_bound_is_taken(gateway: GatewayProcess, channel: str) -> None:
    body = json.dumps({"channel": channel, "data": "x" * 1000}).encode().ljust(20_000)
    assert post(gateway, body).status == 200


def test_data_counts_once_for_each_channel(gateway: GatewayProcess, channel: str) -> None:
    """What is beyond the bound of a request is told, and the rest published."""
    channels = [f"{channel}.{number}" for number in range(25)]
    results = post(gateway, [{"channels": channels, "data": ["x" * 996]}]).body["results"]
    assert ["id" in result for result in results] == [True] * 20 + [False] * 5
    assert results[-1]["error"]["type"] == "BadItem"
    assert "another" in results[-1]["error"]["detail"]


def test_the_connection_serves_the_next_request(gateway: GatewayProcess, channel: str) -> None:
    with closing(http.client.HTTPConnection(gateway.host, gateway.port, timeout=10)) as connection:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        for body, status in (
            (b"{}", 400),
            (b"{", 400),
            (b'{"channel":"%b","data":1}' % channel.encode(), 200),
        ):
            connection.request("POST", "/publish", body, headers)
            response = connection.getresponse()
            response.read()
            assert response.status == status


# Batches.


@pytest.mark.parametrize("lines", [False, True])
async def test_bad_items_cost_no_good_ones(
    gateway: GatewayProcess, channel: str, connect: Connect, lines: bool
) -> None:
    items: list[Any] = [
        {"channel": channel, "data": "first"},
        {"channel": "bad name", "data": 1},
        {"channel": channel, "data": {"n": 2}, "type": "t"},
        "not an object",
        {"channel": channel, "data": "x" * 1001},
        {"channel": channel, "data": "\0"},
        {"channel": channel},
        {"channel": channel, "data": "last"},
    ]
    errors = {
        1: "InvalidChannel",
        3: "BadItem",
        4: "DataTooLarge",
        5: "InvalidData",
        6: "BadItem",
    }
    before = metrics(gateway)
    connection = await connect(events_url(gateway, channel))
    if lines:
        answer = post(gateway, ndjson(*items, b"{", b""), content_type="application/x-ndjson")
        errors[8] = "BadItem"
    else:
        answer = post(gateway, items)
    assert answer.status == 200
    assert (answer.body["published"], answer.body["failed"]) == (3, len(errors))
    results = answer.body["results"]
    assert {n: item["error"]["type"] for n, item in enumerate(results) if "error" in item} == errors
    assert all(item["error"]["detail"] for item in results if "error" in item)
    events = [await connection.next_event() for _ in range(3)]
    assert [(event.type, event.data) for event in events] == [
        ("message", "first"),
        ("t", '{"n":2}'),
        ("message", "last"),
    ]
    assert [item for item in results if "error" not in item] == [
        {"channel": channel, "id": event.id, "duplicate": False} for event in events
    ]
    after = metrics(gateway)
    assert after["fanlight_published_total"] - before["fanlight_published_total"] == 3
    assert after["fanlight_publish_refused_total"] - before["fanlight_publish_refused_total"] == len(errors)


def test_an_empty_batch(gateway: GatewayProcess) -> None:
    for answer in (post(gateway, []), post(gateway, b"", content_type="application/x-ndjson")):
        assert (answer.status, answer.body) == (200, {"results": [], "published": 0, "failed": 0})


async def test_a_full_batch_keeps_its_order(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    connection = await connect(events_url(gateway, channel))
    answer = post(
        gateway,
        ndjson(*({"channel": channel, "data": n} for n in range(100))),
        content_type="application/x-ndjson",
    )
    assert answer.body["published"] == 100
    await connection.until(lambda: len(connection.events) == 101)
    assert [event.data for event in connection.events[1:]] == [str(n) for n in range(100)]
    assert [event.id for event in connection.events[1:]] == [item["id"] for item in answer.body["results"]]


# Ends of channels.


async def test_close_ends_a_channel(gateway: GatewayProcess, channel: str, connect: Connect) -> None:
    connection = await connect(events_url(gateway, channel))
    answer = post(gateway, {"channel": channel, "close": True})
    assert answer.status == 200
    event = await connection.next_event()
    assert (event.type, json.loads(event.data)) == ("fanlight.end", {"channel": channel})
    assert answer.body == {"channel": channel, "id": event.id, "duplicate": False}
    await connection.until_end()
    assert post(gateway, {"channel": channel, "close": True}).body == {**answer.body, "duplicate": True}
    assert event.id in problem(post(gateway, {"channel": channel, "data": 1}), 409)
    [refused] = post(gateway, [{"channel": channel, "data": 1}]).body["results"]
    assert refused["error"]["type"] == "ChannelClosed"


async def test_close_within_a_batch_keeps_its_place(gateway: GatewayProcess, connect: Connect) -> None:
    a, b = unique(), unique()
    connection = await connect(events_url(gateway, a, b))
    answer = post(
        gateway,
        [
            {"channel": a, "data": 1},
            {"channel": b, "data": 2},
            {"channel": a, "close": True},
            {"channel": a, "data": 3},
            {"channel": b, "data": 4},
            {"channels": [a, b], "close": True},
            {"channel": "bad name", "close": True},
        ],
    )
    results = answer.body["results"]
    assert [item.get("error", {}).get("type") for item in results] == [
        *[None] * 3,
        "ChannelClosed",
        *[None] * 3,
        "InvalidChannel",
    ]
    assert results[5]["duplicate"] is True  # a's end, the second time
    assert (answer.body["published"], answer.body["failed"]) == (6, 2)
    await connection.until_end()
    assert [(event.type, event.data) for event in connection.events[1:]] == [
        ("message", "1"),
        ("message", "2"),
        ("fanlight.end", f'{{"channel":"{a}"}}'),
        ("message", "4"),
        ("fanlight.end", f'{{"channel":"{b}"}}'),
    ]


# Other origins.


@pytest.mark.parametrize("origin", [ORIGIN, "https://evil.example"])
def test_an_allowed_origin_may_read_every_answer(gateway: GatewayProcess, channel: str, origin: str) -> None:
    headers = {"Origin": origin}
    answers = [
        post(gateway, {"channel": channel, "data": 1}, headers=headers),
        post(gateway, [], headers=headers),
        post(gateway, {}, headers=headers),
        post(gateway, {}, token=None, headers=headers),
        post(gateway, {}, content_type="text/plain", headers=headers),
        post(gateway, b" " * 20_001, headers=headers),
    ]
    assert [answer.status for answer in answers] == [200, 200, 400, 401, 415, 413]
    wanted = origin if origin == ORIGIN else None
    assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {wanted}
    assert {answer.headers["vary"] for answer in answers} == {"Origin"}


def test_a_preflight_for_a_publish(gateway: GatewayProcess) -> None:
    answer = post(
        gateway,
        b"",
        method="OPTIONS",
        token=None,
        content_type=None,
        headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"},
    )
    assert answer.status == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert "authorization" in allowed
    assert "content-type" in allowed
