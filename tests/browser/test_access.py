"""The native EventSource of Chromium with credentials: a cookie, a ticket, and what comes when they end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from publisher import AsyncPublisher
from tests.browser.page_source import CLOSED, CONNECTING, OPEN, PageSource
from tests.support.http import request
from tests.support.streams import metrics
from tests.support.tokens import SECRET, token
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.browser.conftest import ServePage
    from tests.conftest import StartGateway
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

COOKIE = "fanlight"
SETTINGS: dict[str, Any] = {
    "jwt_secret": SECRET,
    "anonymous_subscribe": None,
    "token_cookie": COOKIE,
    "retry_ms": 40,
}


@pytest.fixture
def publisher(redis_server: RedisServer, prefix: str) -> AsyncPublisher:
    return AsyncPublisher(redis_server.url, prefix=prefix)


async def set_cookie(page: Page, url: str, value: str) -> None:
    """As a login would: out of reach of scripts."""
    await page.context.add_cookies(
        [{"name": COOKIE, "value": value, "url": url, "httpOnly": True, "sameSite": "Lax"}]
    )


def url_of(gateway: GatewayProcess, *channels: str, **query: str) -> str:
    pairs = [*(("channel", channel) for channel in channels), *query.items()]
    return f"{gateway.events_url}?{'&'.join(f'{name}={value}' for name, value in pairs)}"


_EMBED = """
(url) => new Promise((done) => {
  const image = new Image();
  image.onerror = done;
  image.src = url;
})
"""


async def test_a_cookie_on_the_gateways_own_origin(
    page: Page, start_gateway: StartGateway, publisher: AsyncPublisher
) -> None:
    gateway = start_gateway(**SETTINGS)
    await page.goto(gateway.url)
    refused = await PageSource.follow(page, url_of(gateway, "a"))
    await refused.until(lambda: refused.ready_state == CLOSED, what="the end of who shows nothing")
    await set_cookie(page, gateway.url, token(["a"]))
    assert await page.evaluate("document.cookie") == ""
    source = await PageSource.follow(page, url_of(gateway, "a"))
    await source.live()
    async with publisher:
        sent = await publisher.publish("a", "for you")
    await source.until(lambda: source.messages)
    assert [(event.data, event.id) for event in source.messages] == [("for you", sent.id)]
    foreign = await PageSource.follow(page, url_of(gateway, "b"))
    await foreign.until(lambda: foreign.ready_state == CLOSED)
    assert foreign.events == []


async def test_a_cookie_is_for_pages_of_allowed_origins(
    page: Page, serve_page: ServePage, start_gateway: StartGateway
) -> None:
    """Ports make origins, not sites: the browser sends the cookie from both pages."""
    friend, stranger = await serve_page(), await serve_page()
    gateway = start_gateway(allowed_origins=friend, **SETTINGS)
    await set_cookie(page, gateway.url, token(["a"]))
    await page.goto(friend)
    source = await PageSource.follow(page, url_of(gateway, "a"), with_credentials=True)
    await source.live()
    without = await PageSource.follow(page, url_of(gateway, "a"))
    await without.until(lambda: without.ready_state == CLOSED, what="the end of who sends no cookie")
    await page.goto(stranger)
    source = await PageSource.follow(page, url_of(gateway, "a"), with_credentials=True)
    await source.until(lambda: source.ready_state == CLOSED)
    assert source.opens == 0
    # Embedded, as an image: no Origin, and no way to read an answer. It gets no stream to hold either.
    await page.evaluate(_EMBED, url_of(gateway, "a"))
    values = metrics(gateway)
    assert values["fanlight_requests_refused_total{origin}"] == 2
    await aeventually(lambda: metrics(gateway)["fanlight_streams_open"] == 0)
    assert metrics(gateway)["fanlight_streams_opened_total"] == 1


async def test_a_cookie_that_is_renewed_in_time_goes_on_without_a_hole(
    page: Page, start_gateway: StartGateway, publisher: AsyncPublisher
) -> None:
    gateway = start_gateway(**SETTINGS)
    await page.goto(gateway.url)
    await set_cookie(page, gateway.url, token(["a"], seconds=3))
    source = await PageSource.follow(page, url_of(gateway, "a"), types=["fanlight.unauthorized"])
    await source.live()
    await set_cookie(page, gateway.url, token(["a"], seconds=6))
    async with publisher:
        sent: list[str] = []
        deadline = time.monotonic() + 60
        while len(source.of_type("fanlight.unauthorized")) < 2 and time.monotonic() < deadline:
            sent.append((await publisher.publish("a", len(sent))).id)
            await source.refresh()
        assert [json.loads(event.data) for event in source.of_type("fanlight.unauthorized")] == [
            {"reason": "expired"}
        ] * 2
        # The second end is for good: nobody renewed the cookie again.
        await source.until(lambda: source.ready_state == CLOSED)
    ids = [event.id for event in source.messages]
    assert ids == sent[: len(ids)]
    assert len(source.of_type("fanlight.open")) == 2
    assert json.loads(source.of_type("fanlight.open")[1].data) == {"resumed": True}
    assert source.of_type("fanlight.gap") == []
    # The event has no id of its own.
    for event in source.of_type("fanlight.unauthorized"):
        before = source.events[source.events.index(event) - 1]
        assert event.id == before.id


# What docs/protocol.md shows, with counters.
_FOLLOW_WITH_TICKETS = """
([url, getTicket]) => {
  const record = { events: [], tickets: 0, states: [] };
  async function follow(lastEventId) {
    const ticket = await window[getTicket]();
    record.tickets++;
    const query = new URLSearchParams({ ticket });
    if (lastEventId) query.set("last_event_id", lastEventId);
    const events = new EventSource(`${url}&${query}`);
    record.source = events;
    const seen = (event) => {
      lastEventId = event.lastEventId || lastEventId;
      record.events.push([event.type, event.data, event.lastEventId]);
    };
    events.onmessage = seen;
    for (const type of ["open", "gap", "unauthorized"]) events.addEventListener(`fanlight.${type}`, seen);
    events.onerror = () => {
      record.states.push(events.readyState);
      if (events.readyState !== EventSource.CLOSED) return;
      setTimeout(() => follow(lastEventId), 50);
    };
  }
  follow("");
  return record;
}
"""


async def test_a_page_with_tickets_goes_on_over_cuts_and_ends_without_a_hole(
    page: Page, serve_page: ServePage, start_gateway: StartGateway, publisher: AsyncPublisher
) -> None:
    """Of another origin, without cookies. Each connection takes a new ticket, which its backend gets."""
    origin = await serve_page()
    nodes = [start_gateway(allowed_origins=origin, **SETTINGS) for _ in range(2)]
    seconds = 60.0

    def get_ticket() -> str:
        # Of the other node: any may make one.
        answer = request(nodes[1], "POST", "/ticket", token=token(["a"], seconds=seconds))
        return str(answer.body["ticket"])

    await page.expose_function("getTicket", get_ticket)
    await page.goto(origin)
    record = await page.evaluate_handle(_FOLLOW_WITH_TICKETS, [url_of(nodes[0], "a"), "getTicket"])

    async def state() -> tuple[list[list[str]], int, list[int]]:
        found: tuple[list[list[str]], int, list[int]] = await record.evaluate(
            "(record) => [record.events, record.tickets, record.states]"
        )
        return found

    async def of_type(type_: str) -> list[list[str]]:
        return [event for event in (await state())[0] if event[0] == type_]

    async def live(times: int) -> bool:
        return len(await of_type("fanlight.open")) >= times

    await aeventually(lambda: live(1))
    sent = []
    async with publisher:
        for number in range(3):
            sent.append((await publisher.publish("a", f"live {number}")).id)

            async def arrived() -> bool:
                return [event[2] for event in await of_type("message")] == sent

            await aeventually(arrived)
            if number == 1:
                seconds = 3.0  # the token of the next ticket is over soon
            nodes[0].restart(crash=True)
            sent.append((await publisher.publish("a", f"away {number}")).id)
            await aeventually(lambda: live(number + 2))  # noqa: B023
            await aeventually(arrived)

        async def ended() -> bool:
            return bool(await of_type("fanlight.unauthorized"))

        seconds = 60.0
        await aeventually(ended)
        sent.append((await publisher.publish("a", "after the end")).id)
        await aeventually(arrived)
    events, tickets, states = await state()
    assert not [event for event in events if event[0] == "fanlight.gap"]
    assert tickets == states.count(CLOSED) + 1 >= 5
    assert set(states) <= {CONNECTING, CLOSED}
    assert await record.evaluate("(record) => record.source.readyState") == OPEN
