"""The inspector's page in Chromium, against real nodes; and what it makes of others' words."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from playwright.async_api import expect

from publisher import Event, Publisher
from tests.support.streams import events_url
from tests.support.wait import aeventually

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

    from tests.conftest import StartGateway
    from tests.support.gateway_process import GatewayProcess
    from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.once]

PATIENT = {"answer_wait_seconds": 10, "max_questions_per_second": 0}
expect.set_options(timeout=30_000)


def answered(node: GatewayProcess) -> int:
    return int(json.loads(node.admin_get("/inspect/snapshot")[1])["answered"])


def follow(node: GatewayProcess, channel: str) -> closing[Any]:
    """A stream that is open until the block ends. Its head comes when the node has it."""
    return closing(urlopen(events_url(node, channel)))


async def test_the_page_shows_nodes_and_channels_and_finds_one(
    page: Page, start_gateway: StartGateway, redis_server: RedisServer, prefix: str
) -> None:
    nodes = [start_gateway(**PATIENT | {"answer_wait_seconds": 1}), start_gateway(**PATIENT)]
    await aeventually(lambda: answered(nodes[0]) == 2)
    with ExitStack() as opened:
        for node, name in ((nodes[0], "orders.1"), (nodes[1], "orders.1"), (nodes[1], "news")):
            opened.enter_context(follow(node, name))
        publisher = opened.enter_context(Publisher(redis_server.url, prefix=prefix))
        publisher.publish_many(Event(channel="orders.1", data=number) for number in range(3))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{nodes[0].admin_url}/inspect")
        await expect(page.locator("#state-word")).to_have_text("2 of 2 nodes answered")
        await expect(page.locator("#node-rows tr:not(.why)")).to_have_count(2)
        first = page.locator("#channel-rows tr").first
        await expect(first.locator("td")).to_contain_text(["orders.1", "2", "3"])
        await expect(page.locator("[data-figure=streams]")).to_have_text("3")
        await expect(page.locator("#changes")).to_contain_text("Redis link made")
        # One more: the page asks again by itself.
        publisher.publish("orders.1", "x")
        await expect(first.locator("td").nth(2)).to_have_text("4")
        await page.fill("#search input[name=name]", "new")
        await page.click("#search button")
        await expect(page.locator("#channel-rows td.name")).to_have_text(["news"])
        assert page.url.endswith("/inspect?prefix=new")
        await page.reload()
        await expect(page.locator("#channel-rows td.name")).to_have_text(["news"])
        await page.check("#search input[name=exact]")
        await expect(page.locator("#channel-rows td.name")).to_have_text(["new"])
    nodes[1].kill()
    await expect(page.locator("#node-rows .word[data-node=gone]")).to_have_count(1)
    nodes[0].kill()
    await expect(page.locator("#state-word")).to_have_text("No answer")
    assert all(url.startswith(f"{nodes[0].admin_url}/inspect") for url in asked), asked


HOSTILE = '<img src=x onerror="window.hurt=1">'


def hostile_snapshot() -> dict[str, Any]:
    link = {
        "connected": False,
        "generation": 1,
        "lost_seconds": 5.0,
        "round_trip_seconds": 0.0,
        "probe_round_trip_seconds": 0.0,
        "last_error": HOSTILE,
    }
    node = {
        "id": HOSTILE,
        "state": "unready",
        "name": HOSTILE,
        "worker": None,
        "version": HOSTILE,
        "uptime_seconds": 1.0,
        "ready": False,
        "why": [HOSTILE],
        "draining": False,
        "streams": 1,
        "max_streams": 2,
        "replaying": 0,
        "channels": 1,
        "ingested": 1,
        "delivered": 1,
        "redis": link,
        "behind_seconds": 0.0,
        "left_seconds": 1.0,
    }
    kept = {"length": 1, "oldest_seconds": 1.0, "expires_seconds": None, "last_id": HOSTILE, "ended": True}
    laggard = {
        "channel": HOSTILE,
        "channels": 2,
        "behind_seconds": 9.0,
        "left_seconds": 1.0,
        "request_id": HOSTILE,
    }
    change = {"kind": HOSTILE, "at_ms": 1, "until_ms": 1, "count": 2, "detail": HOSTILE}
    of = {"node": HOSTILE, "name": HOSTILE, "worker": None}
    return {
        "at_ms": 1_800_000_000_000,
        "asked_by": HOSTILE,
        "asked_others": True,
        "listening": 3,
        "answered": 1,
        "silent": 2,
        "silent_unknown": 1,
        "nodes": [node, {**of, "id": "x", "state": "silent", "version": HOSTILE, "heard_seconds": 3.0}],
        "channels": [{"name": HOSTILE, "subscribers": 1, "kept": kept}],
        "channels_matching": 5,
        "channels_all_known": False,
        "channels_first": False,
        "laggards": [{**of, **laggard}],
        "changes": [{**of, **change}],
    }


async def test_what_others_wrote_is_text(page: Page, start_gateway: StartGateway) -> None:
    node = start_gateway(**PATIENT)

    async def answer(route: Route) -> None:
        await route.fulfill(json=hostile_snapshot())

    await page.route("**/inspect/snapshot*", answer)
    await page.goto(f"{node.admin_url}/inspect")
    await expect(page.locator("#state-word")).to_have_text("1 of 3 nodes answered")
    for part in ("#node-rows", "#channel-rows", "#laggards", "#changes", "#state-text"):
        await expect(page.locator(part)).to_contain_text(HOSTILE)
    assert await page.locator("img").count() == 0
    assert await page.evaluate("window.hurt") is None
    await expect(page.locator("#nodes-told")).to_contain_text("1 more heard the question")
    await expect(page.locator("#channels-told")).to_contain_text("1 of at least 5")


@pytest.mark.parametrize("width", [360, 700, 1400])
async def test_nothing_is_wider_than_the_screen(width: int, page: Page, start_gateway: StartGateway) -> None:
    node = start_gateway(**PATIENT)
    await page.set_viewport_size({"width": width, "height": 900})
    await page.goto(f"{node.admin_url}/inspect")
    await expect(page.locator("#state-word")).to_have_text("1 of 1 node answered")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
