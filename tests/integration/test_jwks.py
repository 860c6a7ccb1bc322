"""The issuer's keys, over https from a real server: rotating, down, slow, lying."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import issuer as issuers
from tests.support.gateway_process import GatewayProcess
from tests.support.http import Answer, events_path, request
from tests.support.issuer import Issuer
from tests.support.sse import SseConnection
from tests.support.streams import events_url, metrics
from tests.support.tokens import SECRET, Signer, claims, compact, eddsa, es256, hs256, jwks, rs256
from tests.support.wait import aeventually, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import StartGateway

pytestmark = pytest.mark.once

A, B = es256("a"), eddsa("b")
HOUR = 3600


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with Issuer(tmp_path) as server:
        server.publish(A)
        yield server


@pytest.fixture
def start(start_gateway: StartGateway, issuer: Issuer) -> Callable[..., GatewayProcess]:
    """A node that trusts the issuer, after its first fetch."""

    def start_node(**settings: Any) -> GatewayProcess:
        own = {"jwks_url": issuer.url, "jwks_ca_file": issuer.ca_file, "jwks_refresh_seconds": HOUR}
        node = start_gateway(anonymous_subscribe=None, retry_ms=100, **{**own, **settings})
        eventually(lambda: sum(fetches(node)), what="the first fetch")
        return node

    return start_node


def fetches(node: GatewayProcess) -> tuple[float, float]:
    """Those that succeeded, and those that failed."""
    values = metrics(node)
    return values["fanlight_jwks_fetches_total{succeeded}"], values["fanlight_jwks_fetches_total{failed}"]


def signed(signer: Signer, **header: object) -> str:
    return signer.sign(claims(["a"], ["a"]), **header)


def accepted(node: GatewayProcess, token: str) -> bool:
    """Whether the token is good: it allows one channel, and not the other that is asked for."""
    answer = request(node, "GET", events_path("b"), token=token)
    return answer.status == 403 and answer.reason == "not_granted"


def follow(node: GatewayProcess, token: str) -> Answer:
    return request(node, "GET", events_path("a"), token=token)


def refused(node: GatewayProcess, token: str) -> str | None:
    """Why, where the answer is final; None if the client is to come back."""
    answer = follow(node, token)
    return answer.reason if answer.status == 401 else None


async def test_keys_of_an_issuer(start: Callable[..., GatewayProcess], issuer: Issuer) -> None:
    signers = [A, B, rs256("r")]
    issuer.publish(*signers, hs256(key_id="h"))
    node = start(workers=1)
    for signer in signers:
        headers = {"Authorization": f"Bearer {signed(signer)}"}
        async with await SseConnection.open(events_url(node, "a"), headers=headers) as stream:
            assert (await stream.next_event()).type == "fanlight.open"
    assert refused(node, signed(hs256(key_id="h"))) == "unknown_key", "a secret is not published"
    assert (issuer.paths, metrics(node)["fanlight_jwks_keys"]) == (["/jwks"], 3)
    assert [record["keys"] for record in node.log_records if record["event"] == "keys_fetched"] == [3]


def test_a_new_key_is_fetched_when_a_token_names_it(
    start: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    node = start(jwks_pause_seconds=0.05)
    issuer.publish(A, B)
    eventually(lambda: accepted(node, signed(B)))
    assert accepted(node, signed(A))
    assert issuer.fetches == 2
    # And an old one is forgotten, with the next fetch.
    issuer.publish(B)
    assert accepted(node, signed(A))
    eventually(lambda: refused(node, signed(es256("c"))) == "unknown_key")
    eventually(lambda: refused(node, signed(A)) == "unknown_key")
    assert accepted(node, signed(B))


async def asking(node: GatewayProcess, issuer: Issuer) -> list[asyncio.Task[Answer]]:
    """Ask with a new key until the issuer's second fetch is under way: between two there is a pause."""
    tasks: list[asyncio.Task[Answer]] = []
    while issuer.fetches < 2:
        tasks.append(asyncio.create_task(asyncio.to_thread(follow, node, signed(B))))
        await aeventually(lambda: tasks[-1].done() or issuer.fetches == 2)
    return tasks


async def test_those_who_wait_for_a_new_key_share_one_fetch(
    start: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    node = start(jwks_pause_seconds=0.05)
    issuer.answer = issuers.after(issuer.released, jwks(A, B))
    await asking(node, issuer)
    before = metrics(node)["fanlight_tasks"]
    waiting = [asyncio.create_task(asyncio.to_thread(accepted, node, signed(B))) for _ in range(5)]
    await aeventually(lambda: metrics(node)["fanlight_tasks"] >= before + 5)
    issuer.released.set()
    assert await asyncio.gather(*waiting) == [True] * 5
    assert issuer.fetches == 2


def test_keys_are_fetched_again_by_their_age(start: Callable[..., GatewayProcess], issuer: Issuer) -> None:
    node = start(jwks_refresh_seconds=1)
    issuer.publish(B)
    eventually(lambda: issuer.fetches >= 3)
    assert accepted(node, signed(B))
    assert not accepted(node, signed(A))
    assert metrics(node)["fanlight_jwks_age_seconds"] < 5


async def test_a_flood_of_made_up_keys_costs_the_issuer_a_fetch(
    start: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    node = start(jwks_pause_seconds=HOUR)
    flood = [
        compact({"alg": alg, "kid": f"{alg}{number}"}, claims(["a"]))
        for number in range(150)
        for alg in ("ES256", "RS256", "EdDSA", "HS256")
    ]
    started = time.monotonic()

    async def attack(tokens: list[str]) -> set[str | None]:
        return {await asyncio.to_thread(refused, node, token) for token in tokens}

    outcomes = await asyncio.gather(*(attack(flood[part::4]) for part in range(4)))
    assert set.union(*outcomes) == {None, "unknown_key"}
    assert metrics(node)["fanlight_streams_opened_total"] == 0
    assert issuer.fetches == 1, "the first one: an hour lies between two"
    assert time.monotonic() - started < 100
    assert accepted(node, signed(A))


def test_a_flood_within_short_intervals_is_bounded_by_them(
    start: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    node = start(jwks_pause_seconds=0.5)
    started = time.monotonic()
    for number in range(300):
        assert refused(node, compact({"alg": "ES256", "kid": str(number)}, claims(["a"]))) in (
            None,
            "unknown_key",
        )
    assert issuer.fetches <= 2 + (time.monotonic() - started) / 0.5


LYING: list[tuple[str, Callable[[Issuer], issuers.Answer]]] = [
    ("not found", lambda _: issuers.status(404)),
    ("broken", lambda _: issuers.status(500)),
    ("a redirect to itself", lambda issuer: issuers.status(302, issuer.url)),
    ("a redirect elsewhere", lambda issuer: issuers.status(307, f"{issuer.url}/elsewhere")),
    ("no content", lambda _: issuers.status(204)),
    ("not JSON", lambda _: issuers.body(b"<html>")),
    ("no keys", lambda _: issuers.body(b'{"keys": []}')),
    ("nothing of use", lambda _: issuers.body(jwks(hs256(key_id="a")))),
    ("nested deep", lambda _: issuers.body(b'{"keys":' + b"[" * 50_000)),
    ("huge", lambda _: issuers.body(json.dumps({"keys": [A.jwk], "x": "x" * 100_000}).encode())),
    ("endless", lambda _: issuers.endless()),
    ("slow", lambda issuer: issuers.after(issuer.released, jwks(A))),
]


@pytest.mark.parametrize("answer", [pytest.param(answer, id=name) for name, answer in LYING])
def test_while_the_issuer_talks_nonsense_its_keys_stay(
    start: Callable[..., GatewayProcess], issuer: Issuer, answer: Callable[[Issuer], issuers.Answer]
) -> None:
    node = start(jwks_pause_seconds=0.05, jwks_timeout_seconds=0.5, max_jwks_bytes=50_000)
    issuer.answer = answer(issuer)
    # A key that is not known: it may be new, and the issuer can't be asked. No browser gives up for that.
    while not fetches(node)[1]:
        unknown = follow(node, signed(B))
        assert (unknown.status, unknown.raw[:7]) == (200, b"retry: ")
    assert accepted(node, signed(A))
    publishing = request(node, "POST", "/publish", token=signed(B), body={"channel": "a", "data": 1})
    assert (publishing.status, publishing.headers["retry-after"]) == (503, "1")
    assert request(node, "POST", "/ticket", token=signed(B)).status == 503
    assert set(issuer.paths) == {"/jwks"}, "no redirect was followed"
    issuer.publish(A, B)
    eventually(lambda: accepted(node, signed(B)))
    told = [record for record in node.log_records if record["event"] in ("keys_fetched", "keys_not_fetched")]
    assert [record["event"] for record in told] == ["keys_fetched", "keys_not_fetched", "keys_fetched"]
    assert told[1]["error"]


def test_a_node_starts_while_the_issuer_is_down(start: Callable[..., GatewayProcess], issuer: Issuer) -> None:
    issuer.answer = issuers.status(503)
    node = start(jwks_pause_seconds=0.05, jwt_secret=SECRET)
    assert fetches(node)[0] == 0
    shed = follow(node, signed(A))
    assert (shed.status, shed.raw[:7]) == (200, b"retry: ")
    assert accepted(node, signed(hs256())), "its own secret needs nobody"
    assert refused(node, signed(hs256(), kid="x", alg="none")) == "algorithm"
    issuer.publish(A)
    eventually(lambda: accepted(node, signed(A)))


async def test_other_requests_do_not_wait_for_the_issuer(
    start: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    node = start(jwks_pause_seconds=0.05, jwks_timeout_seconds=30)
    issuer.answer = issuers.after(issuer.released, jwks(A, B))
    await asking(node, issuer)
    waiting = asyncio.create_task(asyncio.to_thread(accepted, node, signed(B)))
    for _ in range(20):
        assert await asyncio.to_thread(accepted, node, signed(A))
    assert not waiting.done()
    issuer.released.set()
    assert await waiting


async def test_made_up_keys_and_a_slow_issuer_do_not_fill_the_node(
    start: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    node = start(jwks_pause_seconds=0.05, jwks_timeout_seconds=30, max_streams=20)
    issuer.answer = issuers.after(issuer.released, jwks(A))
    await asking(node, issuer)

    async def opened(token: str) -> bool:
        headers = {"Authorization": f"Bearer {token}"}
        async with await SseConnection.open(events_url(node, "a"), headers=headers) as stream:
            await stream.until(lambda: stream.ended or stream.events != [])
            return stream.events != []

    forged = [compact({"alg": "ES256", "kid": str(number)}, claims(["a"])) for number in range(30)]
    before = metrics(node)["fanlight_streams_shed_total"]
    waiting = [asyncio.create_task(opened(token)) for token in forged]
    await aeventually(lambda: metrics(node)["fanlight_streams_shed_total"] >= before + 10)
    assert await opened(signed(A))
    issuer.released.set()
    assert not any(await asyncio.gather(*waiting))


def test_a_certificate_that_nobody_vouches_for_is_refused(
    start: Callable[..., GatewayProcess], issuer: Issuer
) -> None:
    node = start(jwks_ca_file=None)
    assert fetches(node) == (0, 1)
    assert issuer.fetches == 0
    [record] = [record for record in node.log_records if record["event"] == "keys_not_fetched"]
    assert "certificate" in record["error"].lower()


def test_a_query_of_the_address_is_in_no_log(start: Callable[..., GatewayProcess], issuer: Issuer) -> None:
    issuer.publish(A)
    node = start(jwks_url=f"{issuer.url}?api-key=canary")
    eventually(lambda: accepted(node, signed(A)))
    assert issuer.paths == ["/jwks?api-key=canary"]
    [record] = [record for record in node.log_records if record["event"] == "keys_fetched"]
    assert record["url"] == issuer.url
    assert "canary" not in node.log


def test_the_name_in_the_certificate_counts(start: Callable[..., GatewayProcess], issuer: Issuer) -> None:
    node = start(jwks_url=issuer.url.replace("127.0.0.1", "localhost"))
    assert fetches(node) == (0, 1)
    assert issuer.fetches == 0


def test_two_sources_may_use_one_name_for_their_keys(
    start: Callable[..., GatewayProcess], issuer: Issuer, tmp_path: Path
) -> None:
    other = es256("a")
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(other))
    node = start(jwt_keys_file=path)
    assert accepted(node, signed(A))
    assert accepted(node, signed(other))
    assert follow(node, signed(es256("a"))).reason == "signature"
    assert issuer.fetches == 1


@pytest.mark.parametrize("settings", [{"jwks_ca_file": "/nowhere/ca.pem"}])
def test_certificates_that_are_not_there_stop_the_start(settings: dict[str, Any]) -> None:
    node = GatewayProcess(jwks_url="https://id.example/jwks", **settings)
    try:
        with pytest.raises(AssertionError, match="ended with status 2"):
            node.start()
        assert "fanlight: jwks_ca_file: cannot use /nowhere/ca.pem" in node.log
    finally:
        node.close()
